"""The version of each project that lists show, read with as few calls as possible."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import takewhile

from packaging.utils import NormalizedName, canonicalize_name

from pyoci_flask.index.known import Known, KnownVersions, Newest, is_fresh
from pyoci_flask.index.listing import in_order, is_final
from pyoci_flask.index.names import version_of
from pyoci_flask.index.project_repository import Candidates, ProjectRepository
from pyoci_flask.index.releases import Release, preferred, releases_of
from pyoci_flask.index.versions import ReadTag, VersionFiles, VersionIndex
from pyoci_flask.oci.reference import Repository, Tag

_MOST_READ = 3
"""Maximum number of versions of a project that are read to find one that is not yanked."""

Read = ReadTag[VersionFiles | VersionIndex]
Found = tuple[ProjectRepository, VersionFiles | VersionIndex]
"""A version, or a part of it, and the repository that contains it."""


def newest_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Return the tags to read until one has files that are not yanked, final releases first."""
    # The order is that of `preferred`. Sorting is stable.
    keyed = sorted(in_order(tags), key=lambda one: not is_final(one[0]))
    return tuple(tag for _, tag in keyed[:_MOST_READ])


def read_newest(repository: ProjectRepository, tags: Sequence[str], read: Read) -> Release | None:
    """Read tags until one is a version that is not yanked. Return the preferred one."""
    return _preferred(read(repository, version_of(tag), Tag(tag)) for tag in tags)


def _preferred(versions: Iterable[VersionFiles | VersionIndex | None]) -> Release | None:
    """Return the preferred one of some versions, and take no more of them than decide it."""
    releases: list[Release] = []
    for found in versions:
        if found is not None and found.files:
            releases.append(Release(found.version, tuple(found.files)))
            if releases[-1].yanked is None:
                break
    return preferred(releases)


class KnownRows:
    """What the cache knows of the preferred versions of many projects."""

    def __init__(self, known: KnownVersions, ttl: float, clock: Callable[[], float]) -> None:
        """Trust a list of tags for `ttl` seconds."""
        self._known = known
        self._ttl = ttl
        self._clock = clock

    def read(
        self,
        repository: ProjectRepository,
        tags: Sequence[str],
        before: Known,
        recall: Callable[[Candidates, str], Found | None],
        read: Read,
    ) -> Release | None:
        """Read the preferred version, and remember which tags decided it.

        `before` is what was known before the tags were listed. If a project was changed since,
        nothing is remembered.
        """
        wanted, now = newest_tags(tags), self._clock()
        known = self._known.get(repository)
        if known.changes == before.changes:
            newest = Newest(wanted, now, now + self._ttl)
            self._known.keep(repository, replace(known, newest=newest))

        def fresh_or_read(
            repository: ProjectRepository, version: str, tag: Tag
        ) -> VersionFiles | VersionIndex | None:
            found = recall([repository], version)
            return found[1] if found else read(repository, version, tag)

        return read_newest(repository, wanted, fresh_or_read)

    def below(
        self, namespace: Repository, segments: Iterable[str]
    ) -> dict[NormalizedName, Release]:
        """Return the preferred versions of the projects in these repositories, if known."""
        places = {f"{namespace.location}/{segment}": segment for segment in segments}
        now = self._clock()
        return {
            canonicalize_name(places[location]): release
            for location, known in self._known.current(places).items()
            if (release := _known_release(known, now)) is not None
        }


def _known_release(known: Known, now: float) -> Release | None:
    """Return the preferred version if the newest versions are known, not only older ones."""
    if known.shown is not None and is_fresh(known.shown, now):
        return preferred(releases_of(known.shown.project))
    if known.newest is None or not is_fresh(known.newest, now):
        return None
    tags = list(
        takewhile(
            lambda tag: tag in known.entries and is_fresh(known.entries[tag], now),
            known.newest.tags,
        )
    )
    release = _preferred(known.entries[tag].version for tag in tags)
    is_decided = len(tags) == len(known.newest.tags) or (release and release.yanked is None)
    return release if is_decided else None
