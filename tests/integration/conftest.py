"""The registries that the same tests run against, and a client of the index for each."""

import uuid
from collections.abc import Callable, Iterator

import pytest
import requests

from tests.integration.index_client import IndexClient
from tests.integration.oci_client import OCIClient
from tests.registries import RunningRegistry

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
def namespace() -> str:
    """A namespace that no other test uses."""
    return f"ns-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def http() -> Iterator[requests.Session]:
    """A session that neither proxies nor .netrc of the machine reach."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


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
