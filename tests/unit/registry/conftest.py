from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci_flask.registry import create_registry
from tests.unit.registry.client import RegistryClient, in_process


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "storage"


@pytest.fixture
def registry(storage: Path) -> Iterator[RegistryClient]:
    client = in_process(create_registry(storage))
    with client.session:
        yield client
