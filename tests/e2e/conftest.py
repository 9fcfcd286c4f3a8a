"""Fixtures of the tests with real clients: servers of the application and indexes in registries."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages import make_wheel
from tests.registries import RunningRegistry
from tests.run_lab import PublicIndex, RunLab, public_index, run_lab
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


@pytest.fixture(scope="session")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicIndex]:
    """A public index that also has newer packages with the names of private ones."""
    folder = tmp_path_factory.mktemp("public")
    files = [make_wheel(folder, name, "99.0") for name in ("acme-app", "acme-lib", "team-lib")]
    with public_index(folder, *files, make_wheel(folder, "common-lib", "2.0")) as running:
        yield running


@pytest.fixture(scope="session")
def _stocked_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunLab]:
    folder = tmp_path_factory.mktemp("acme")
    with run_lab(folder) as lab:
        lab.publish(
            make_wheel(folder, "acme-lib", "1.0"),
            make_wheel(folder, "acme-app", "1.0", requires=["acme-lib", "common-lib"]),
        )
        team = dataclasses.replace(lab, namespace="team")
        team.publish(make_wheel(folder, "acme-lib", "5.0"), make_wheel(folder, "team-lib", "1.0"))
        yield lab


@pytest.fixture
def acme(_stocked_registry: RunLab, tmp_path: Path) -> RunLab:
    """Two namespaces with packages, and new homes and projects for each test.

    `acme-app` needs the private `acme-lib` and the public `common-lib`.
    """
    return dataclasses.replace(_stocked_registry, folder=tmp_path)
