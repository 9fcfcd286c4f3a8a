"""Fixtures of the core's tests."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.names import ProjectName
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.reference import Registry, Repository
from pyoci_flask.transport.auth import Authenticator
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.request import Credentials
from pyoci_flask.transport.session import Transport
from tests.patience import PATIENCE
from tests.servers import self_signed
from tests.unit.doubles import http_double
from tests.unit.tag_double import Tags

# On a busy machine a single example may take long, which says nothing about the code.
hypothesis.settings.register_profile("unit", database=None, deadline=None, max_examples=60)
hypothesis.settings.load_profile("unit")


@pytest.fixture
def transport() -> Iterator[Transport]:
    made = Transport(
        network=Network(), pool_size=16, connect_timeout=PATIENCE, read_timeout=PATIENCE
    )
    yield made
    made.close()


@dataclasses.dataclass(frozen=True, slots=True)
class Callers:
    """Makes callers of repositories that share one transport and one memory of tokens."""

    transport: Transport
    authenticator: Authenticator

    def __call__(
        self, url: str, name: str = "acme/hello", credentials: Credentials | None = None
    ) -> RepositoryCaller:
        registry = Registry.parse(url)
        assert registry is not None
        return RepositoryCaller(
            self.transport, self.authenticator, Repository(registry, name), credentials
        )


CallerOf = Callable[..., RepositoryCaller]


@pytest.fixture
def caller_of(transport: Transport) -> Callers:
    return Callers(transport, Authenticator(transport))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_caller_of(certificate: tuple[Path, Path]) -> Iterator[Callers]:
    """Callers that trust the certificate."""
    network = Network(ca_bundle=str(certificate[0]))
    made = Transport(network=network, pool_size=4, connect_timeout=PATIENCE, read_timeout=PATIENCE)
    yield Callers(made, Authenticator(made))
    made.close()


@pytest.fixture
def authenticator(transport: Transport) -> Authenticator:
    return Authenticator(transport)


@pytest.fixture
def locks(tmp_path: Path) -> VersionLocks:
    """Locks that are not waited for long."""
    return VersionLocks(tmp_path / "locks", deadline=0.2)


@pytest.fixture
def tags() -> Iterator[Tags]:
    """A registry that answers as the test says."""
    made = Tags()
    with http_double(made.answer) as server:
        made.url = server.url
        yield made


@pytest.fixture
def tagged(tags: Tags, caller_of: Callers) -> ProjectRepository:
    """The repository in it."""
    return ProjectRepository(ProjectName("hello"), caller_of(tags.url))
