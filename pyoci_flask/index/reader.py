"""Read the versions of projects."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from packaging.utils import NormalizedName

from pyoci_flask.index.fetch import Allowance, Failures, FetchPool
from pyoci_flask.index.listing import (
    find_project,
    first_tags,
    limits_of,
    list_files,
    merged,
)
from pyoci_flask.index.newest import Found, newest_tags, read_newest
from pyoci_flask.index.project import Project
from pyoci_flask.index.project_repository import (
    Candidates,
    ProjectRepository,
    Tagged,
    with_tags,
)
from pyoci_flask.index.releases import Release
from pyoci_flask.index.versions import (
    Skipped,
    VersionFiles,
    VersionIndex,
    find_versions,
    log_skipped,
    read_version,
)
from pyoci_flask.oci.reference import Repository, Tag
from pyoci_flask.transport.request import Credentials

Enough = Callable[[Found], bool]


Later = Callable[[Callable[[], None]], object]
"""Takes a function that is to be called after the response."""


def at_once(function: Callable[[], None]) -> None:
    """Call a function immediately."""
    function()


def any_part(_: Found) -> bool:
    """Accept any part of a version. Nearly all versions have only one part."""
    return True


class VersionReader:
    """Reads versions from the registry each time, unlike `CachedReader`."""

    def __init__(self, pool: FetchPool) -> None:
        self.pool = pool

    def close(self) -> None:
        """Stop the threads."""
        self.pool.close()

    def find_project(
        self, candidates: Candidates, *, empty_is_found: bool = True
    ) -> tuple[ProjectRepository, list[str]]:
        """Find the project's repository and its tags; see `listing.find_project`."""
        return find_project(candidates, empty_is_found=empty_is_found)

    def was_read(self, repository: ProjectRepository) -> bool:  # noqa: ARG002 - as below
        """Return whether this caller has read a version from a repository lately.

        The registry is not called.
        """
        return False

    def project(
        self,
        repository: ProjectRepository,
        tags: Sequence[str],
        limit: int,
        held: ExitStack | None = None,
        failures: Failures | None = None,
        later: Later = at_once,
    ) -> Project:
        """List a project with these tags and the files of `limit` versions (0 means all).

        The tags must have been read just before. Versions whose errors `failures` accepts are left
        out. The first error beyond its limit is raised. A worker builds only a few large listings
        at the same time. This one counts as one of them until `held` is closed. `later` is called
        with what remains to be done after the response.

        Raises:
            BusyError: other large listings take too long.
        """
        with ExitStack() as own:
            share = self.pool.share(repository.caller.repository.registry)
            allowance = Allowance(share, self.pool, own if held is None else held, failures)
            project = self._project(repository, tags, limit, allowance, later)
            others = with_tags(repository.others, project.files)
            if not others:
                return project
            parts: list[Tagged] = [
                (repository, tags),
                *((other, first_tags(other, its_tags)) for other, its_tags in others),
            ]
            limits = limits_of([tags for _, tags in parts], limit)

            def part_of(part: ProjectRepository, tags: Sequence[str], most: int) -> Project:
                if part is repository and (most == limit or most >= len(tags)):
                    return project  # reading it again would count it twice
                if limit and not most:
                    return list_files(part, tags, lambda _: {}, 0)  # list none of its files
                return self._project(part, tags, most, allowance, later)

            return merged([part_of(*part, most) for part, most in zip(parts, limits, strict=True)])

    def _project(
        self,
        repository: ProjectRepository,
        tags: Sequence[str],
        limit: int,
        allowance: Allowance,
        later: Later,  # noqa: ARG002 - only `CachedReader` uses it
    ) -> Project:
        def read(wanted: Sequence[str]) -> Mapping[str, VersionFiles | Skipped | None]:
            found = allowance.read(repository, wanted, {})
            log_skipped(repository, found)
            return found

        return list_files(repository, tags, read, limit)

    def recall(
        self,
        candidates: Candidates,  # noqa: ARG002 - only `CachedReader` uses it
        version: str,  # noqa: ARG002 - as above
        enough: Enough = any_part,  # noqa: ARG002 - as above
    ) -> Found | None:
        """Return the first cached part of a version that is `enough`, or None.

        It may be up to `PYOCI_CACHE_TTL` seconds old.
        """
        return None

    def find(self, candidates: Candidates, version: str, enough: Enough = any_part) -> Found | None:
        """Read a version from the registry; return its first part that is `enough`, or None."""
        parts: Iterator[Found] = find_versions(candidates, version, self.read_tag)
        return next((part for part in parts if enough(part)), None)

    def newest(self, candidates: Candidates) -> Release | None:
        """Return the version that pages show first, or None if there is none that can be read.

        This reads the tags and one version, or up to three if the newest ones were yanked.

        Raises:
            PyOCIError: the project does not exist or cannot be read.
        """
        repository, tags = self.find_project(candidates)
        return read_newest(repository, newest_tags(tags), self.read_tag)

    def known_below(
        self,
        namespace: Repository,  # noqa: ARG002 - only `CachedReader` uses it
        credentials: Credentials | None,  # noqa: ARG002 - as above
    ) -> dict[NormalizedName, Release]:
        """Return the version that pages show first for each known project of a namespace.

        These are the projects that the cache may show to a caller with these credentials. The
        registry is not called.
        """
        return {}

    def read_tag(
        self, repository: ProjectRepository, version: str, tag: Tag
    ) -> VersionFiles | VersionIndex | None:
        """Read a version from a tag; return None if the tag does not contain a package."""
        return read_version(repository, version, tag)

    @contextmanager
    def changing(
        self,
        candidates: Candidates,  # noqa: ARG002 - only `CachedReader` uses it
        version: str,  # noqa: ARG002 - as above
    ) -> Iterator[None]:
        """Drop the version from the cache when the block ends, as it may have been changed."""
        yield
