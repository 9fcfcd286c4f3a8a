"""Reading the versions of projects, for those who only look."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from pyoci_flask.index.fetch import FetchPool
from pyoci_flask.index.listing import list_files
from pyoci_flask.index.names import version_of
from pyoci_flask.index.project import Project
from pyoci_flask.index.repository import (
    Candidates,
    ProjectRepository,
    VersionIndex,
    find_version,
    read_version,
)
from pyoci_flask.oci.reference import Tag


class VersionReader:
    """Reads versions from the registry, each time anew. `CachedReader` remembers them."""

    def __init__(self, pool: FetchPool) -> None:
        self.pool = pool

    def close(self) -> None:
        """Stop the threads."""
        self.pool.close()

    def project(self, repository: ProjectRepository, tags: Sequence[str], limit: int) -> Project:
        """List a project of which the tags were just read; `limit` as in `list_files`."""

        def read(wanted: Sequence[str]) -> Mapping[str, VersionIndex | None]:
            share = self.pool.share(repository.caller.repository.registry)
            found = self.pool.map(
                share, lambda tag: read_version(repository, version_of(tag), Tag(tag)), wanted
            )
            return dict(zip(wanted, found, strict=True))

        return list_files(repository, tags, read, limit)

    def recall(
        self,
        candidates: Candidates,  # noqa: ARG002 - there is nothing to recall here
        version: str,  # noqa: ARG002
    ) -> tuple[ProjectRepository, VersionIndex] | None:
        """Give what is remembered of a version, which may be `PYOCI_CACHE_TTL` seconds old."""
        return None

    def find(
        self, candidates: Candidates, version: str
    ) -> tuple[ProjectRepository, VersionIndex] | None:
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
