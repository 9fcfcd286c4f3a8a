"""The versions of a project as people look at them: which one is shown, and what each is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from packaging.version import Version

from pyoci_flask.errors import InvalidRequestError, NotFoundError
from pyoci_flask.index.names import (
    parse_version,
    version_or_none,
    without_dash,
)
from pyoci_flask.index.project import File, Project
from pyoci_flask.index.project_repository import (
    ProjectRepository,
    ReadTag,
    Tagged,
    find_in,
    with_tags,
)
from pyoci_flask.index.version_index import VersionFiles, VersionIndex

LISTED_VERSIONS = "_listed-versions"
"""Member of a project's JSON where not all versions have their files listed, see `listed_of`.

Names with an underscore are the server's own (Simple API, JSON-based). `copy` reads this one.
"""


@dataclass(frozen=True, slots=True)
class Release:
    """One version of a project."""

    version: str
    files: tuple[File, ...]
    """Empty where the version is beyond those whose files are listed."""

    @property
    def is_prerelease(self) -> bool:
        """Whether installers pass it over unless they are told (PEP 440, development releases too).

        What is no version at all counts as one.
        """
        version = version_or_none(self.version)
        return version is None or version.is_prerelease

    @property
    def yanked(self) -> str | None:
        """The reasons, maybe empty, if all files are yanked; else None."""
        reasons = [file.yanked for file in self.files if file.yanked is not None]
        if not reasons or len(reasons) < len(self.files):
            return None
        return "; ".join(dict.fromkeys(filter(None, reasons)))

    @property
    def uploaded(self) -> datetime | None:
        """When its first file came."""
        return min((file.uploaded for file in self.files if file.uploaded), default=None)

    @property
    def requires_python(self) -> str | None:
        """Requires-Python, of the first file that has it."""
        return next((file.requires_python for file in self.files if file.requires_python), None)


def releases_of(project: Project) -> list[Release]:
    """Group the files by version, newest version first."""
    spelled = {_key(version): version for version in project.versions}
    files: dict[str, list[File]] = {version: [] for version in project.versions}
    for file in project.files:
        files.setdefault(spelled.get(_key(file.version), file.version), []).append(file)
    return [Release(version, tuple(found)) for version, found in files.items()]


def _key(version: str) -> Version | str:
    return version_or_none(version) or version


def preferred(releases: Sequence[Release]) -> Release | None:
    """Choose what to show first, as PyPI does: not yanked, no pre-release, newest."""
    listed = [release for release in releases if release.files]
    return min(listed, key=lambda one: (one.yanked is not None, one.is_prerelease), default=None)


@dataclass(frozen=True, slots=True)
class Listed:
    """How many versions of a kind have their files listed, of how many."""

    listed: int
    known: int


def listed_of(releases: Sequence[Release]) -> tuple[Listed, Listed]:
    """Count the final releases and the pre-releases of a project."""
    finals, others = (
        [release for release in releases if release.is_prerelease is kind] for kind in (False, True)
    )
    return _listed(finals), _listed(others)


def _listed(releases: Sequence[Release]) -> Listed:
    return Listed(sum(bool(release.files) for release in releases), len(releases))


def find_release(
    repository: ProjectRepository,
    tags: Sequence[str],
    releases: Sequence[Release],
    version: str,
    read: ReadTag[VersionFiles | VersionIndex],
) -> Release:
    """Look a version up, however it is spelled; `read` its tags where its files are not listed.

    Raises:
        NotFoundError: there is no such version, or it cannot be one.
    """
    missing = NotFoundError(f"{repository.project} has no version {version[:140]}")
    try:
        wanted = parse_version(without_dash(version))
    except InvalidRequestError as error:
        raise missing from error
    known = next((one for one in releases if _is(one.version, wanted)), None)
    if known is not None and known.files:
        return known
    text = str(wanted) if known is None else known.version
    files = _files([(repository, tags)], text, read)
    files += _files(with_tags(repository.others, files), text, read)
    if not files:
        raise missing
    return Release(text, tuple(files))


def _files(
    tagged: Sequence[Tagged], version: str, read: ReadTag[VersionFiles | VersionIndex]
) -> list[File]:
    return [file for _, part in find_in(tagged, version, read) for file in part.files]


def _is(text: str, version: Version) -> bool:
    return version_or_none(text) == version
