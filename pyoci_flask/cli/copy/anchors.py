"""The links of an HTML page, with the address that they are relative to (PEP 503)."""

from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urljoin

from pyoci_flask.cli.copy.errors import CopyError


@dataclass(frozen=True, slots=True)
class Anchor:
    """One link."""

    href: str
    text: str
    attributes: Mapping[str, str]
    """By lower-case name; one that stands without a value has an empty one."""


@dataclass(frozen=True, slots=True)
class HTMLPage:
    """The links of a page and their base."""

    base: str
    anchors: tuple[Anchor, ...]


def read_html(body: bytes, url: str) -> HTMLPage:
    """Read a page that came from `url`.

    Raises:
        CopyError: it is of another major version of the repository API (PEP 629).
    """
    reader = _Reader()
    # What is not ended when the page ends is left out: HTMLParser.close() would go through all of
    # it once for each `<` in it. The end tag is for a link that is open.
    reader.feed(body.decode("utf-8", "replace") + "</a>")
    if reader.version.partition(".")[0] != "1":
        raise CopyError(f"{url} is of another version of the Simple API than 1")
    try:
        base = url if reader.base is None else urljoin(url, reader.base.strip())
    except ValueError as error:
        raise CopyError(f"{url} names a base that is no address") from error
    return HTMLPage(base, tuple(reader.anchors))


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.base: str | None = None
        self.version = "1.0"
        self.anchors: list[Anchor] = []
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
            self.anchors.append(Anchor(href, "".join(self._text), self._open))
        self._open, self._text = None, []
