"""The pages of a Simple index, JSON or HTML (PEP 503, 592, 629, 691, 700); none is trusted.

An entry that cannot be used is reported; the others are still copied.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from packaging.utils import NormalizedName
from packaging.version import Version

from pyoci_flask.cli.copy.entries import SUFFIXES, Entry, read_files, read_names
from pyoci_flask.cli.copy.errors import CopyError
from pyoci_flask.common.redaction import shown
from pyoci_flask.common.url import usable_url
from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.index.names import (
    Filename,
    ProjectName,
    after_name,
    is_filename,
    version_or_none,
)
from pyoci_flask.index.releases import LISTED_VERSIONS

_ALGORITHMS = frozenset(
    name for name in hashlib.algorithms_guaranteed if not name.startswith("shake")
)
_HEX = re.compile(r"[0-9a-f]{32,128}")
_MOST_PARTS = 12
"""Maximum number of the dot-separated parts of a name that can belong to its version."""
_LONGEST_REASON = 1000
"""Maximum number of characters that PyOCI accepts with `PATCH`."""


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file that a project's page lists."""

    project: ProjectName
    filename: Filename
    url: str
    """An absolute http or https URL."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """Hex digests by algorithm, for the algorithms that can be computed here."""
    size: int | None = None
    """Size in bytes."""
    requires_python: str | None = None
    yanked: str | None = None
    """The reason, which may be empty, or None if the file is not yanked."""


@dataclass(frozen=True, slots=True)
class ProjectPage:
    """What an index lists for a project."""

    files: tuple[ListedFile, ...] = ()
    versions: tuple[str, ...] = ()
    """All versions, if the index lists them; PyOCI lists files only for the newest versions."""
    other_kinds: tuple[str, ...] = ()
    """Names of files that are neither wheels nor .tar.gz."""
    other_versions: tuple[str, ...] = ()
    """Versions of the files that are not among `files`."""
    faults: tuple[str, ...] = ()
    """For each entry that cannot be used, the reason."""
    hides: bool = False
    """Whether the index is a PyOCI server with files that the page does not list."""

    def find(self, filename: Filename) -> ListedFile | None:
        """Return the file of that name, or one whose name only spells the project differently."""
        same = [file for file in self.files if file.filename.text == filename.text]
        same += [file for file in self.files if _kind(file.filename) == _kind(filename)]
        return same[0] if same else None

    @property
    def unlisted_versions(self) -> tuple[str, ...]:
        """The versions that have no file on the page."""
        seen = {_version(file.filename.version) for file in self.files}
        seen |= {_version(text) for text in self.other_versions}
        return tuple(text for text in self.versions if _version(text) not in seen)


def parse_project(body: bytes, content_type: str, url: str, project: ProjectName) -> ProjectPage:
    """Read a project's page; `url` is its address after redirects.

    Raises:
        CopyError: `body` is not a project's page.
    """
    entries, document = read_files(body, content_type, url)
    told = document.get("versions")
    versions = [one for one in told if isinstance(one, str)] if isinstance(told, list) else []
    return replace(
        _page(entries, project, url), versions=tuple(versions), hides=LISTED_VERSIONS in document
    )


def parse_list(body: bytes, content_type: str, url: str) -> list[NormalizedName]:
    """Read an index's project list and sort it.

    Raises:
        CopyError: `body` is not a project list.
    """
    found = set()
    for name in read_names(body, content_type, url):
        if is_filename(name):
            raise CopyError(f"{url} is a project's page, not the list of projects")
        with suppress(InvalidRequestError):  # another link, or a name for which there is no page
            found.add(ProjectName(name).normalized)
    return sorted(found)


def _page(entries: Iterable[Entry | None], project: ProjectName, url: str) -> ProjectPage:
    files: dict[str, ListedFile] = {}
    kinds, faults, others = [], [], []
    for entry in entries:
        if entry is None:
            faults.append("an entry without a name or an address")
            continue
        try:
            if is_filename(entry.name):
                files.setdefault(entry.name, _file(entry, project, url))
                continue
            kinds.append(entry.name)
        except (InvalidRequestError, CopyError) as error:
            text = str(error)
            name = shown(entry.name)
            faults.append(text if entry.name in text or name in text else f"{name}: {text}")
        others.append(_version_in(entry.name, project))
    return ProjectPage(
        tuple(files.values()),
        other_kinds=tuple(kinds),
        other_versions=tuple(filter(None, others)),
        faults=tuple(faults),
    )


def _file(entry: Entry, project: ProjectName, url: str) -> ListedFile:
    filename = Filename.parse(entry.name, project)
    address = quote(entry.url.partition("#")[0], safe="%/:=&?~+!$,;'@()*[]")
    parts = usable_url(address)
    if parts is None or parts.username is not None:
        raise CopyError(f"{filename.text} has a link that is not a plain http or https URL")
    hashes = {
        name: value.lower()
        for name, value in entry.hashes.items()
        if name in _ALGORITHMS and _HEX.fullmatch(value.lower())
    }
    if not hashes and parts.scheme == "http" and url.startswith("https:"):
        raise CopyError(f"{filename.text} has no hash, and its link leads from https to http")
    return ListedFile(
        project,
        filename,
        address,
        hashes,
        entry.size,
        entry.requires_python,
        None if entry.yanked is None else _one_line(entry.yanked),
    )


def _kind(filename: Filename) -> tuple[str, str]:
    return filename.version, filename.architecture


def _version(text: str) -> Version | str:
    return version_or_none(text) or text


def _version_in(name: str, project: ProjectName) -> str | None:
    """Extract the version from a name such as `hello-1.0.win32-py2.7.exe`."""
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")
    rest = after_name(name.removesuffix(suffix), project)
    if rest is None:
        return None
    # An sdist's version may contain a dash; in other names, a build or platform follows the dash.
    parts = rest.partition("-")[0].split(".", _MOST_PARTS)
    tried = [rest, *(".".join(parts[:end]) for end in range(len(parts), 0, -1))]
    return next((text for text in tried if version_or_none(text)), None)


def _one_line(reason: str) -> str:
    return "".join(char if char.isprintable() else " " for char in reason)[:_LONGEST_REASON]
