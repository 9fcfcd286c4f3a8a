"""The registries that the same tests run against, and a client of the index for each."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from pyoci_flask.registry import create_registry
from pyoci_flask.settings import Settings
from tests.conftest import AppServer
from tests.doubles import Recorder, wsgi_server
from tests.integration.index_client import IndexClient
from tests.integration.oci_client import OCIClient
from tests.integration.upload_lab import Lab, upload_lab
from tests.otlp_collector import OTLPCollector
from tests.registries import RunningRegistry
from tests.telemetry_app import telemetry_settings

OFTEN = ("docker_htpasswd", "zuul", "embedded_in_process")
"""One for each way to authenticate, and one for each program."""
SELDOM = ("docker_open", "embedded_socket")


@pytest.fixture(
    params=[*OFTEN, *(pytest.param(name, marks=pytest.mark.acceptance) for name in SELDOM)]
)
def registry(request: pytest.FixtureRequest) -> RunningRegistry:
    """Each kind of registry in turn."""
    running: RunningRegistry = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def index(
    shared_app: str, registry: RunningRegistry, namespace: str, http: requests.Session
) -> IndexClient:
    """The index for `registry` and `namespace`, with the registry's credentials."""
    return IndexClient(f"{shared_app}/{registry.address}/{namespace}", registry.auth, http)


@pytest.fixture
def repository(
    registry: RunningRegistry, namespace: str, http: requests.Session
) -> Callable[[str], OCIClient]:
    """The registry's own view of a repository below `namespace`."""
    return lambda name: OCIClient(registry, f"{namespace}/{name}", http)


@pytest.fixture
def registry_calls(tmp_path: Path) -> Recorder:
    """The embedded registry, which remembers its calls."""
    return Recorder(create_registry(tmp_path / "registry"))


@pytest.fixture
def registry_url(registry_calls: Recorder) -> Iterator[str]:
    """Where that registry is served."""
    with wsgi_server(registry_calls) as url:
        yield url


@pytest.fixture
def lab(app_server: AppServer, http: requests.Session, tmp_path: Path) -> Iterator[Lab]:
    """An index to upload to, with the default settings."""
    with upload_lab(app_server, http, tmp_path, {}) as running:
        yield running


@pytest.fixture
def collector() -> Iterator[OTLPCollector]:
    """A collector of telemetry."""
    with OTLPCollector() as running:
        yield running


@pytest.fixture
def exporting(collector: OTLPCollector) -> Settings:
    """Settings of an application that sends its telemetry to `collector`."""
    return telemetry_settings(collector.url)
