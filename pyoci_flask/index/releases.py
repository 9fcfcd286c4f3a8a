"""The releases of a project, as its pages show them. Each is a version with its files."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from packaging.version import Version

from pyoci_flask.index.names import (
    version_or_none,
)
from pyoci_flask.index.project import File, Project
from pyoci_flask.index.project_repository import ProjectRepository, Tagged, no_version, with_tags
from pyoci_flask.index.versions import ReadTag, VersionFiles, VersionIndex, find_in

LISTED_VERSIONS = "_listed-versions"
"""Member of a project's JSON that exists if some versions' files are not listed (see `listed_of`).

Names that begin with an underscore are for extensions (Simple API, JSON-based). `copy` reads this
member.
"""


@dataclass(frozen=True, slots=True)
class Release:
    """One version of a project."""

    version: str
    files: tuple[File, ...]
    """Empty if the files of this version are not listed."""

    @property
    def is_prerelease(self) -> bool:
        """Whether installers ignore it by default (PEP 440; includes development releases).

        It is true if the text is not a version at all.
        """
        version = version_or_none(self.version)
        return version is None or version.is_prerelease

    @property
    def yanked(self) -> str | None:
        """The reasons, which may be empty, if all files are yanked; otherwise None."""
        reasons = [file.yanked for file in self.files if file.yanked is not None]
        if not reasons or len(reasons) < len(self.files):
            return None
        return "; ".join(dict.fromkeys(filter(None, reasons)))

    @property
    def uploaded(self) -> datetime | None:
        """The time of the first upload."""
        return min((file.uploaded for file in self.files if file.uploaded), default=None)

    @property
    def requires_python(self) -> str | None:
        """Requires-Python of the first file that has it."""
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
    """Choose the release to show first, as PyPI does: not yanked, not a pre-release, the newest."""
    listed = [release for release in releases if release.files]
    return min(listed, key=lambda one: (one.yanked is not None, one.is_prerelease), default=None)


@dataclass(frozen=True, slots=True)
class Listed:
    """The number of versions of a kind, and how many of them have listed files."""

    listed: int
    known: int


def listed_of(releases: Sequence[Release]) -> tuple[Listed, Listed]:
    """Count the final releases, and the pre-releases, of a project."""
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
    """Find a version in any spelling. If its files are not listed, `read` its tags.

    Raises:
        VersionNotFoundError: the version does not exist.
    """
    missing = no_version(
        repository.project,
        version[:140],
        versions=[release.version for release in releases],
    )
    wanted = version_or_none(version)
    if wanted is None:
        raise missing
    known = next((one for one in releases if version_or_none(one.version) == wanted), None)
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
