"""Parse pages of a Simple index, JSON or HTML, without checking entries (PEP 503, 629, 691)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, unquote, urljoin, urlsplit

from pyoci_flask.cli.copy.errors import CopyError
from pyoci_flask.index.names import OTHER_SUFFIXES, SDIST, WHEEL

ACCEPT = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.1, "
    "text/html;q=0.01"
)
_JSON = "application/vnd.pypi.simple.v1+json"
_HTML = frozenset({"application/vnd.pypi.simple.v1+html", "text/html"})
SUFFIXES = (SDIST, WHEEL, *OTHER_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a page; only the types of its values were checked."""

    name: str
    url: str
    hashes: Mapping[str, str]
    size: int | None
    requires_python: str | None
    yanked: str | None


def read_files(
    body: bytes, content_type: str, url: str
) -> tuple[Sequence[Entry | None], Mapping[str, Any]]:
    """Read the entries of a project's page; an entry without a name or a URL is None.

    Also return the whole JSON document, which is empty for HTML. `url` is the page's address after
    redirects.

    Raises:
        CopyError: `body` is not a project's page.
    """
    if _is_json(content_type, url):
        document, entries = _json_list(body, "files", url)
        return [_from_json(one, url) for one in entries], document
    base, anchors = _read_html(body, url)
    return [_from_html(one, base) for one in anchors if _is_file(one)], {}


def read_names(body: bytes, content_type: str, url: str) -> Sequence[str]:
    """Read the names in an index's project list; `url` is the address of the list.

    Raises:
        CopyError: `body` is not a project list.
    """
    if _is_json(content_type, url):
        _, entries = _json_list(body, "projects", url)
        named = [one.get("name") for one in entries if isinstance(one, dict)]
        return [name for name in named if isinstance(name, str)]
    _, anchors = _read_html(body, url)
    return [anchor.text.strip() for anchor in anchors]


@dataclass(frozen=True, slots=True)
class _Anchor:
    """A link."""

    href: str
    text: str
    attributes: Mapping[str, str]
    """Values by lower-case name; the value of an attribute without one is empty."""


def _read_html(body: bytes, url: str) -> tuple[str, list[_Anchor]]:
    """Read the links of the page at `url`, and the URL that they are relative to.

    Raises:
        CopyError: the page has another major version of the repository API (PEP 629).
    """
    reader = _Reader()
    # Do not call HTMLParser.close(), which would parse an unfinished tag at the end of the page
    # once for each `<` in the tag. The end tag completes a link that is still open.
    reader.feed(body.decode("utf-8", "replace") + "</a>")
    if reader.version.partition(".")[0] != "1":
        raise CopyError(f"{url} uses another version of the Simple API, not version 1")
    try:
        base = url if reader.base is None else urljoin(url, reader.base.strip())
    except ValueError as error:
        raise CopyError(f"{url} contains an invalid base URL") from error
    return base, reader.anchors


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.base: str | None = None
        self.version = "1.0"
        self.anchors: list[_Anchor] = []
        self._open: dict[str, str] | None = None
        self._text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "a":
            self._end()
            self._open = attributes
        elif tag == "base" and self.base is None:
            self.base = attributes.get("href")
        elif tag == "meta" and attributes.get("name") == "pypi:repository-version":
            self.version = attributes.get("content", self.version)

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._end()

    def _end(self) -> None:
        if self._open is not None and "href" in self._open:
            href = self._open["href"]
            self.anchors.append(_Anchor(href, "".join(self._text), self._open))
        self._open, self._text = None, []


def _from_json(entry: object, url: str) -> Entry | None:
    if not isinstance(entry, dict):
        return None
    name, href = entry.get("filename"), entry.get("url")
    target = _join(url, href) if isinstance(href, str) else None
    if not isinstance(name, str) or target is None:
        return None
    hashes, size, yanked = entry.get("hashes"), entry.get("size"), entry.get("yanked")
    python = entry.get("requires-python")
    usable = isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 1 << 63
    return Entry(
        name,
        target,
        {
            algorithm: digest
            for algorithm, digest in (hashes.items() if isinstance(hashes, dict) else ())
            if isinstance(algorithm, str) and isinstance(digest, str)
        },
        size if usable else None,
        python if isinstance(python, str) else None,
        yanked if isinstance(yanked, str) and yanked else ("" if yanked is True else None),
    )


def _from_html(anchor: _Anchor, base: str) -> Entry | None:
    url = _join(base, anchor.href)
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        hashes = dict(parse_qsl(parts.fragment, max_num_fields=8))
    except ValueError:
        return None
    return Entry(
        unquote(parts.path.rpartition("/")[2]),
        url,
        hashes,
        None,
        anchor.attributes.get("data-requires-python"),
        anchor.attributes.get("data-yanked"),
    )


def _is_file(anchor: _Anchor) -> bool:
    """Return whether a link is to a file; HTML pages also contain other links."""
    path = anchor.href.partition("#")[0].partition("?")[0]
    return path.endswith(SUFFIXES) or anchor.text.strip().endswith(SUFFIXES)


def _join(base: str, href: str) -> str | None:
    try:
        url = urljoin(base, href.strip())
    except ValueError:
        return None
    return url if url.isprintable() else None


def _is_json(content_type: str, url: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    if kind != _JSON and kind not in _HTML:
        raise CopyError(f"{url} is not a package index page (it is {kind[:80] or 'untyped'!r})")
    return kind == _JSON


def _json_list(body: bytes, member: str, url: str) -> tuple[Mapping[str, Any], list[object]]:
    """Return the JSON document in `body`, and the list in its `member`."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CopyError(f"{url} is not JSON") from error
    if not isinstance(document, dict):
        raise CopyError(f"{url} is not a JSON object")
    meta = document.get("meta")
    version = meta.get("api-version") if isinstance(meta, dict) else None
    if not isinstance(version, str) or version.partition(".")[0] != "1":
        raise CopyError(f"{url} uses another version of the Simple API, not version 1")
    value = document.get(member)
    if not isinstance(value, list):
        raise CopyError(f"{url} has no list of {member}")
    return document, value
