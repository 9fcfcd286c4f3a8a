"""The pages of a Simple index, JSON or HTML (PEP 503, 592, 629, 691, 700), taken for hostile."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urljoin, urlsplit

from packaging.utils import NormalizedName
from packaging.version import Version

from pyoci_flask.cli.copy.anchors import Anchor, read_html
from pyoci_flask.cli.copy.errors import CopyError
from pyoci_flask.common.redaction import shown
from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.index.names import (
    OTHER_SUFFIXES,
    SDIST,
    WHEEL,
    Filename,
    ProjectName,
    after_name,
    is_filename,
    version_or_none,
)
from pyoci_flask.index.releases import LISTED_VERSIONS

ACCEPT = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.1, "
    "text/html;q=0.01"
)
_JSON = "application/vnd.pypi.simple.v1+json"
_HTML = frozenset({"application/vnd.pypi.simple.v1+html", "text/html"})
_ALGORITHMS = frozenset(
    name for name in hashlib.algorithms_guaranteed if not name.startswith("shake")
)
_HEX = re.compile(r"[0-9a-f]{32,128}")
_SUFFIXES = (SDIST, WHEEL, *OTHER_SUFFIXES)
_MOST_PARTS = 12
"""Dots in a version that are looked at."""
_LONGEST_REASON = 1000
"""Characters, as `PATCH` of the target takes them."""


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file as a project's page lists it."""

    project: ProjectName
    filename: Filename
    url: str
    """Absolute, http or https."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """Algorithm to hex digest, of those that can be computed here."""
    size: int | None = None
    """Bytes."""
    requires_python: str | None = None
    yanked: str | None = None
    """The reason, maybe empty; None = not yanked."""


@dataclass(frozen=True, slots=True)
class ProjectPage:
    """What an index lists of a project."""

    files: tuple[ListedFile, ...] = ()
    versions: tuple[str, ...] = ()
    """All of them, where the index tells; PyOCI lists the files of the newest ones only."""
    other_kinds: tuple[str, ...] = ()
    """Names of files that are neither wheels nor .tar.gz."""
    other_versions: tuple[str, ...] = ()
    """Versions of the files that are not among `files`."""
    faults: tuple[str, ...] = ()
    """What is wrong with each entry that cannot be used."""
    hides: bool = False
    """Whether the index, a PyOCI, says that it has files which the page does not list."""

    def find(self, filename: Filename) -> ListedFile | None:
        """The file of that name, or the one that differs in the spelling of the project only."""
        same = [file for file in self.files if file.filename.text == filename.text]
        same += [file for file in self.files if _kind(file.filename) == _kind(filename)]
        return same[0] if same else None

    @property
    def unlisted_versions(self) -> tuple[str, ...]:
        """Versions that are there without any file of theirs on the page."""
        seen = {_version(file.filename.version) for file in self.files}
        seen |= {_version(text) for text in self.other_versions}
        return tuple(text for text in self.versions if _version(text) not in seen)


def parse_project(body: bytes, content_type: str, url: str, project: ProjectName) -> ProjectPage:
    """Read a project's page; `url` is where it came from in the end.

    Raises:
        CopyError: it is no such page.
    """
    versions: list[str] = []
    hides = False
    if _is_json(content_type, url):
        document = _json(body, url)
        versions = [one for one in _list(document, "versions") if isinstance(one, str)]
        hides = LISTED_VERSIONS in document
        entries = [_from_json(one, url) for one in _list(document, "files", wanted=url)]
    else:
        page = read_html(body, url)
        entries = [_from_html(one, page.base) for one in page.anchors if _is_file(one)]
    return replace(_page(entries, project, url), versions=tuple(versions), hides=hides)


def parse_list(body: bytes, content_type: str, url: str) -> list[NormalizedName]:
    """Read the list of an index's projects, sorted.

    Raises:
        CopyError: it is no such list.
    """
    if _is_json(content_type, url):
        entries = _list(_json(body, url), "projects", wanted=url)
        named = [one.get("name") for one in entries if isinstance(one, dict)]
        names = [name for name in named if isinstance(name, str)]
    else:
        names = [anchor.text.strip() for anchor in read_html(body, url).anchors]
    found = set()
    for name in names:
        if is_filename(name):
            raise CopyError(f"{url} is a project's page, not the list of an index's projects")
        try:
            found.add(ProjectName(name).normalized)
        except InvalidRequestError:
            continue  # a link of the page's frame, or a name that cannot be asked for
    return sorted(found)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file as it stands on the page, unchecked but for the types."""

    name: str
    url: str
    hashes: Mapping[str, str]
    size: int | None
    requires_python: str | None
    yanked: str | None


def _page(entries: Iterable[_Entry | None], project: ProjectName, url: str) -> ProjectPage:
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


def _file(entry: _Entry, project: ProjectName, url: str) -> ListedFile:
    filename = Filename.parse(entry.name, project)
    parts = urlsplit(entry.url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        raise CopyError(f"{filename.text} has a link that is no plain http or https address")
    hashes = {
        name: value.lower()
        for name, value in entry.hashes.items()
        if name in _ALGORITHMS and _HEX.fullmatch(value.lower())
    }
    if not hashes and parts.scheme == "http" and url.startswith("https:"):
        raise CopyError(f"{filename.text} has a link that leaves https, and no hash")
    return ListedFile(
        project,
        filename,
        quote(parts._replace(fragment="").geturl(), safe="%/:=&?~#+!$,;'@()*[]"),
        hashes,
        entry.size,
        entry.requires_python,
        None if entry.yanked is None else _one_line(entry.yanked),
    )


def _from_json(entry: object, url: str) -> _Entry | None:
    if not isinstance(entry, dict):
        return None
    name, href = entry.get("filename"), entry.get("url")
    target = _join(url, href) if isinstance(href, str) else None
    if not isinstance(name, str) or target is None:
        return None
    hashes, size, yanked = entry.get("hashes"), entry.get("size"), entry.get("yanked")
    python = entry.get("requires-python")
    usable = isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 1 << 63
    return _Entry(
        name,
        target,
        _strings(hashes) if isinstance(hashes, dict) else {},
        size if usable else None,
        python if isinstance(python, str) else None,
        yanked if isinstance(yanked, str) and yanked else ("" if yanked is True else None),
    )


def _from_html(anchor: Anchor, base: str) -> _Entry | None:
    url = _join(base, anchor.href)
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        hashes = dict(parse_qsl(parts.fragment, max_num_fields=8))
    except ValueError:
        return None
    return _Entry(
        unquote(parts.path.rpartition("/")[2]),
        url,
        hashes,
        None,
        anchor.attributes.get("data-requires-python"),
        anchor.attributes.get("data-yanked"),
    )


def _is_file(anchor: Anchor) -> bool:
    """Tell a file's link from those of the page's frame: JSON pages have none of these."""
    path = anchor.href.partition("#")[0].partition("?")[0]
    return path.endswith(_SUFFIXES) or anchor.text.strip().endswith(_SUFFIXES)


def _join(base: str, href: str) -> str | None:
    try:
        url = urljoin(base, href.strip())
        return url if url.isprintable() and urlsplit(url).port != 0 else None
    except ValueError:
        return None


def _is_json(content_type: str, url: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    if kind != _JSON and kind not in _HTML:
        raise CopyError(f"{url} is no page of a package index (it is {kind[:80] or 'untyped'!r})")
    return kind == _JSON


def _json(body: bytes, url: str) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CopyError(f"{url} is no JSON") from error
    if not isinstance(document, dict):
        raise CopyError(f"{url} is no JSON object")
    meta = document.get("meta")
    version = meta.get("api-version") if isinstance(meta, dict) else None
    if not isinstance(version, str) or version.partition(".")[0] != "1":
        raise CopyError(f"{url} is of another version of the Simple API than 1")
    return document


def _list(document: Mapping[str, Any], member: str, *, wanted: str | None = None) -> list[object]:
    value = document.get(member)
    if not isinstance(value, list):
        if wanted is not None:
            raise CopyError(f"{wanted} has no list of {member}")
        return []
    return value


def _kind(filename: Filename) -> tuple[str, str]:
    return filename.version, filename.architecture


def _version(text: str) -> Version | str:
    try:
        return Version(text)
    except ValueError:  # InvalidVersion, or a number of more digits than Python reads
        return text


def _version_in(name: str, project: ProjectName) -> str | None:
    """Read the version out of a name such as `hello-1.0.win32-py2.7.exe`."""
    suffix = next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), "")
    rest = after_name(name.removesuffix(suffix), project)
    if rest is None:
        return None
    # An sdist's may hold a dash; what follows in other names is a build or a platform.
    parts = rest.partition("-")[0].split(".", _MOST_PARTS)
    tried = [rest, *(".".join(parts[:end]) for end in range(len(parts), 0, -1))]
    return next((text for text in tried if version_or_none(text)), None)


def _strings(values: Mapping[object, object]) -> dict[str, str]:
    return {
        name: value
        for name, value in values.items()
        if isinstance(name, str) and isinstance(value, str)
    }


def _one_line(reason: str) -> str:
    return "".join(char if char.isprintable() else " " for char in reason)[:_LONGEST_REASON]
