"""What the views work with: made once in `app.py`, found through the application."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import cast

from flask import current_app, g, request

from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.index.allowance import Failures
from pyoci_flask.index.artifact import KnownConfigs
from pyoci_flask.index.callers import Guesses
from pyoci_flask.index.core_metadata import CoreMetadataReader
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.names import ProjectName
from pyoci_flask.index.project import File, Project
from pyoci_flask.index.project_repository import Candidates, ProjectRepository
from pyoci_flask.index.reader import VersionReader
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.reference import Repository
from pyoci_flask.oci.shares import Share, Shares
from pyoci_flask.settings import Settings
from pyoci_flask.transport.auth import Authenticator
from pyoci_flask.transport.credentials import Credentials
from pyoci_flask.transport.session import Transport
from pyoci_flask.web.address import AddressParser, Base
from pyoci_flask.web.conditional import PageCache
from pyoci_flask.web.credentials import read_credentials
from pyoci_flask.web.gate import MAY_POSTPONE, RegistryGate

EXTENSION = "pyoci"


@dataclass(frozen=True, slots=True)
class Services:
    """The objects of one worker."""

    settings: Settings
    addresses: AddressParser
    transport: Transport
    authenticator: Authenticator
    versions: VersionReader
    pages: PageCache
    locks: VersionLocks
    configs: KnownConfigs
    metadata: CoreMetadataReader
    gate: RegistryGate
    shares: Shares = field(default_factory=Shares)
    guesses: Guesses = field(default_factory=Guesses)

    def caller(self, base: Base) -> RepositoryCaller:
        """Calls about the namespace itself, with the credentials of the request."""
        self._enter(base)
        repository = Repository(base.registry, base.namespace)
        return RepositoryCaller(self.transport, self.authenticator, repository, self._credentials())

    def candidates(self, base: Base, project: ProjectName) -> Candidates:
        """The project's repositories, with the credentials of the request that is served."""
        self._enter(base)
        credentials = self._credentials()
        found: list[ProjectRepository] = []
        for segment in project.spellings:
            try:
                repository = Repository(base.registry, f"{base.namespace}/{segment}")
            except InvalidRequestError:
                if found:
                    continue  # a dotted spelling that no registry can hold
                raise
            caller = RepositoryCaller(self.transport, self.authenticator, repository, credentials)
            guesses = self.guesses if found else None
            found.append(ProjectRepository(project, caller, guesses))
        return found

    def project(
        self,
        repository: ProjectRepository,
        tags: Sequence[str],
        failures: Failures | None = None,
    ) -> Project:
        """List a project; if it is large, it counts as such until the answer begins.

        `failures` leave their versions out; one too many is raised.
        """
        self._forget_listing()
        g.listing = held = ExitStack()
        return self.versions.project(repository, tags, self.settings.max_versions, held, failures)

    def announced(self, repository: ProjectRepository, files: Sequence[File]) -> frozenset[str]:
        """Return the names of the wheels whose core metadata is announced, see `announced`."""
        segments = {file.segment for file in files}
        announced: frozenset[str] = frozenset()
        for part in (repository, *repository.others):
            if part.segment in segments:
                its_files = [file for file in files if file.segment == part.segment]
                announced |= self.metadata.announced(part, its_files)
        return announced

    def _enter(self, base: Base) -> None:
        """Count this request among those that wait for the registry, until its answer begins."""
        g.registry = base.registry
        if "share" not in g:
            share = self.shares(base.registry)
            self.gate.enter(share, may_postpone=request.environ.get(MAY_POSTPONE))
            g.share = share

    def leave(self) -> Share | None:
        """Count this request out, if it was in; return the share of its registry."""
        self._forget_listing()
        share: Share | None = g.pop("share", None)
        if share is not None:
            self.gate.leave(share)
        return share

    def _forget_listing(self) -> None:
        held = g.pop("listing", None)
        if held is not None:
            held.close()

    def _credentials(self) -> Credentials | None:
        header = request.headers.get("Authorization")
        return read_credentials(header, self.settings.bearer_username)


def services() -> Services:
    """The services of the application that serves this request."""
    return cast("Services", current_app.extensions[EXTENSION])


def raw_path() -> str | None:
    """The path as the client sent it, where the WSGI server tells (gunicorn, Werkzeug)."""
    value = request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI")
    return value if isinstance(value, str) else None
