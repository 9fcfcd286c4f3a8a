"""Reading the versions of projects, for those who only look."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from pyoci_flask.index.allowance import Allowance
from pyoci_flask.index.fetch import FetchPool
from pyoci_flask.index.listing import list_files
from pyoci_flask.index.project import Project
from pyoci_flask.index.repository import (
    Candidates,
    ProjectRepository,
    Skipped,
    VersionFiles,
    VersionIndex,
    find_version,
    tell_skipped,
)

Found = tuple[ProjectRepository, VersionFiles | VersionIndex]
"""A version and the repository that holds it."""


class VersionReader:
    """Reads versions from the registry, each time anew. `CachedReader` remembers them."""

    def __init__(self, pool: FetchPool) -> None:
        self.pool = pool

    def close(self) -> None:
        """Stop the threads."""
        self.pool.close()

    def project(
        self,
        repository: ProjectRepository,
        tags: Sequence[str],
        limit: int,
        held: ExitStack | None = None,
        failures: int = 0,
    ) -> Project:
        """List a project of which the tags were just read; `limit` as in `list_files`.

        So many `failures` leave their versions out; one more is raised. A worker works on few
        large listings at once: this one counts until `held` is closed.

        Raises:
            BusyError: other large listings take too long.
        """
        with ExitStack() as own:
            allowance = Allowance(repository, self.pool, own if held is None else held, failures)
            return self._project(repository, tags, limit, allowance)

    def _project(
        self,
        repository: ProjectRepository,
        tags: Sequence[str],
        limit: int,
        allowance: Allowance,
    ) -> Project:
        def read(wanted: Sequence[str]) -> Mapping[str, VersionFiles | Skipped | None]:
            found = allowance.read(wanted)
            skipped = {tag: one for tag, one in found.items() if isinstance(one, Skipped)}
            tell_skipped(repository, skipped)
            return found

        return list_files(repository, tags, read, limit)

    def recall(
        self,
        candidates: Candidates,  # noqa: ARG002 - there is nothing to recall here
        version: str,  # noqa: ARG002
    ) -> Found | None:
        """Give what is remembered of a version, which may be `PYOCI_CACHE_TTL` seconds old."""
        return None

    def find(self, candidates: Candidates, version: str) -> Found | None:
        """Ask the registry for a version; None = there is none."""
        return find_version(candidates, version)

    @contextmanager
    def changing(
        self,
        candidates: Candidates,  # noqa: ARG002
        version: str,  # noqa: ARG002
    ) -> Iterator[None]:
        """Forget the version when the context ends, however it ends: it may have been changed."""
        yield
