"""Fixtures of the tests with real clients: servers of the application and indexes in registries."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registries import RunningRegistry
from tests.run_lab import RunLab, run_lab
from tests.servers import RunningServer, gunicorn


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The application with only one setting: a larger upload limit."""
    tmp = tmp_path_factory.mktemp("app")
    with gunicorn(tmp, {"PYOCI_MAX_BODY": str(1 << 30)}) as running:
        yield running


@pytest.fixture
def open_index(app: RunningServer, docker_open: RunningRegistry, namespace: str) -> str:
    """A new index in a registry that asks for no credentials."""
    return f"{app.url}/{docker_open.address}/{namespace}/"


@pytest.fixture
def closed_index(app: RunningServer, docker_htpasswd: RunningRegistry, namespace: str) -> str:
    """A new index in a registry that asks for a password."""
    return f"{app.url}/{docker_htpasswd.address}/{namespace}/"


@pytest.fixture
def auth(docker_htpasswd: RunningRegistry) -> tuple[str, str]:
    """User and password for that registry."""
    assert docker_htpasswd.auth is not None
    return docker_htpasswd.auth


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[RunLab]:
    """A registry that wants a password, and a home with the login for it."""
    with run_lab(tmp_path) as running:
        yield running
