from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyoci_flask.registry import create_registry
from pyoci_flask.registry.wsgi import EmbeddedRegistry
from tests.unit.registry.client import RegistryClient, in_process, over_wsgi


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "storage"


@pytest.fixture(params=[in_process, over_wsgi], ids=["in_process", "over_wsgi"])
def connect(request: pytest.FixtureRequest) -> Callable[[EmbeddedRegistry], RegistryClient]:
    """Both ways into the registry, which must answer in the same way."""
    way: Callable[[EmbeddedRegistry], RegistryClient] = request.param
    return way


@pytest.fixture
def registry(
    storage: Path, connect: Callable[[EmbeddedRegistry], RegistryClient]
) -> Iterator[RegistryClient]:
    client = connect(create_registry(storage))
    with client.session:
        yield client
