"""The objects that the views use. They are created once, in `app.py`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

from flask import Response, after_this_request, current_app, request

from pyoci_flask.errors import InvalidRequestError, NotFoundError
from pyoci_flask.index.artifact import KnownConfigs
from pyoci_flask.index.core_metadata import CoreMetadataReader
from pyoci_flask.index.fetch import Failures
from pyoci_flask.index.listing import PROBE
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.names import ProjectName
from pyoci_flask.index.project import File, Project
from pyoci_flask.index.project_repository import Candidates, Guesses, ProjectRepository
from pyoci_flask.index.reader import VersionReader
from pyoci_flask.index.verified import VerifiedBlobs
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.reference import Repository
from pyoci_flask.oci.shares import Share, Shares
from pyoci_flask.settings import Settings
from pyoci_flask.transport.auth import Authenticator
from pyoci_flask.transport.request import Credentials
from pyoci_flask.transport.session import Transport
from pyoci_flask.web.address import Base
from pyoci_flask.web.conditional import ProjectPages
from pyoci_flask.web.gate import MAY_POSTPONE, RegistryGate
from pyoci_flask.web.incoming import caller_credentials, visit
from pyoci_flask.web.links import PublicOrigin
from pyoci_flask.web.paths import AddressParser

EXTENSION = "pyoci"


@dataclass(frozen=True, slots=True)
class Services:
    """The objects of one worker."""

    settings: Settings
    addresses: AddressParser
    origin: PublicOrigin
    transport: Transport
    authenticator: Authenticator
    versions: VersionReader
    pages: ProjectPages
    locks: VersionLocks
    configs: KnownConfigs
    metadata: CoreMetadataReader
    gate: RegistryGate
    verified: VerifiedBlobs = field(default_factory=VerifiedBlobs)
    shares: Shares = field(default_factory=Shares)
    guesses: Guesses = field(default_factory=Guesses)

    def enter_namespace(self, base: Base) -> RepositoryCaller:
        """Take a place at the gate, and return a caller for the namespace itself.

        The caller uses the credentials of the request.

        Raises:
            BusyError: too many requests are waiting for this registry.
            InvalidRequestError: the Authorization header is not valid.
        """
        credentials = self._enter(base)
        repository = Repository(base.registry, base.namespace)
        return RepositoryCaller(self.transport, self.authenticator, repository, credentials)

    def enter_project(self, base: Base, project: ProjectName) -> Candidates:
        """Take a place at the gate, and return the repositories that may contain the project.

        Calls to them use the credentials of the request.

        Raises:
            BusyError: too many requests are waiting for this registry.
            InvalidRequestError: the Authorization header or the project's name is not valid.
            NotFoundError: it is the probe of `check`, which can be changed but not read.
        """
        if project.normalized == PROBE.normalized and request.method in {"GET", "HEAD"}:
            raise NotFoundError(
                f"{PROBE} is what `pyoci-flask check --write` publishes to test a registry, and is "
                "not shown",
                advice="Use another name",
            )
        credentials = self._enter(base)
        found: list[ProjectRepository] = []
        for segment in project.spellings:
            try:
                repository = Repository(base.registry, f"{base.namespace}/{segment}")
            except InvalidRequestError:
                if found:
                    continue  # a dotted spelling that is not a valid repository name
                raise
            caller = RepositoryCaller(self.transport, self.authenticator, repository, credentials)
            guesses = self.guesses if found else None
            found.append(ProjectRepository(project, caller, guesses))
        return found

    def read_project(
        self,
        repository: ProjectRepository,
        tags: Sequence[str],
        failures: Failures | None = None,
    ) -> Project:
        """Read the files of a project.

        A large listing counts as being built until the response begins. `failures` collects the
        errors of single versions, whose files are then left out. An error that exceeds its limit
        is raised.
        """
        held = visit().listing
        held.close()
        return self.versions.project(
            repository, tags, self.settings.max_versions, held, failures, _after_response
        )

    def find_announced(
        self, repository: ProjectRepository, files: Sequence[File]
    ) -> frozenset[str]:
        """Return the names of the wheels whose core metadata the project page announces."""
        announced: frozenset[str] = frozenset()
        for part in (repository, *repository.others):
            its_files = [file for file in files if file.segment == part.segment]
            if its_files:
                announced |= self.metadata.announced(part, its_files)
        return announced

    def _enter(self, base: Base) -> Credentials | None:
        """Count this request as waiting for the registry, and return its credentials.

        It counts until its response begins.
        """
        now = visit()
        now.base = base
        if now.share is None:
            share = self.shares(base.registry)
            self.gate.enter(share, may_postpone=request.environ.get(MAY_POSTPONE))
            now.share = share
        return caller_credentials(self.settings.bearer_username)

    def leave(self) -> Share | None:
        """Release what the request holds. Return the share if it had a place at the gate."""
        now = visit()
        now.listing.close()
        share, now.share = now.share, None
        if share is not None:
            self.gate.leave(share)
        return share


def services() -> Services:
    """Return the services of the application that serves this request."""
    return cast("Services", current_app.extensions[EXTENSION])


def _after_response(function: Callable[[], None]) -> None:
    """Call a function when the response to this request has been sent."""

    def closing(response: Response) -> Response:
        response.call_on_close(function)
        return response

    after_this_request(closing)
