"""The images of a description: small labels, or images from hosts that the operator names."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from pyoci_flask.common.url import is_web_url

LONGEST_TEXT = 80
"""Maximum number of characters of the text that stands for an image."""
DARK = "only-dark"
"""Class of an image that only the dark colour scheme shows."""
_SAYS_NOTHING = frozenset({"", "alt", "alt text", "badge", "image", "img", "picture"})
_HTTPS = re.compile(r"https://([a-z0-9.-]+)(?::443)?(?:[/?#][!-~]*)?", re.IGNORECASE)
_LONGEST_URL = 2000
_LONGEST_HOST = 253
_LENGTH = re.compile(r"([0-9]{1,4})(?:px)?|([0-9]{1,3}%)")
_SIDES = ("width", "height")
_SCHEMES = {"#gh-dark-mode-only": DARK, "#gh-light-mode-only": "only-light"}
"""Fragments of images that GitHub shows in one colour scheme only."""


@dataclass(frozen=True, slots=True)
class ImageHosts:
    """The hosts whose images a browser may load: names, or `*.` and the domain of the names."""

    hosts: frozenset[str]

    @classmethod
    def of(cls, hosts: Iterable[str]) -> "ImageHosts":
        """Take the hosts of the setting, which are in lower case."""
        return cls(frozenset(hosts))

    def allow(self, url: str) -> bool:
        """Return whether a browser may load the image at this URL.

        It is an https URL in printable ASCII, without user name, with the default port. Its host is
        in the list, or is below a domain of it, as in a source of the Content-Security-Policy.
        """
        match = _HTTPS.fullmatch(url[: _LONGEST_URL + 1])
        if match is None or len(url) > _LONGEST_URL or "\\" in url:
            return False
        host = match[1].lower()
        if len(host) > _LONGEST_HOST:
            return False
        labels = host.split(".")
        above = (f"*.{'.'.join(labels[at:])}" for at in range(1, len(labels)))
        return host in self.hosts or not self.hosts.isdisjoint(above)


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a description."""

    text: str
    """What the image shows, or the name of its file. Never empty."""
    url: str
    """Its http(s) URL, or an empty text if it has none."""
    sizes: dict[str, str]
    """Width and height, as its author wished."""
    scheme: str = ""
    """The class of an image for one colour scheme only; empty for all other images."""

    @classmethod
    def read(cls, attributes: dict[str, str], url: str) -> "Image":
        """Read the attributes of an `img` whose absolute URL is `url`, or "" if it has none."""
        alt, source = _squeezed(attributes.get("alt", "")), attributes.get("src", "")
        # docutils writes the address where the author gave no text.
        unnamed = alt.lower() in _SAYS_NOTHING or is_web_url(alt) or alt == source
        text = (_filename(source) or "image") if unnamed else alt
        lengths = {name: _LENGTH.fullmatch(attributes.get(name, "")) for name in _SIDES}
        sizes = {name: found[1] or found[2] for name, found in lengths.items() if found}
        scheme = next((name for end, name in _SCHEMES.items() if source.endswith(end)), "")
        return cls(shortened(text), url, sizes, scheme)


def _squeezed(text: str) -> str:
    """Return the beginning of a text on one line, without control characters."""
    line = " ".join(text[: 4 * LONGEST_TEXT].split())
    return "".join(char for char in line if char.isprintable() or char == "\u200d")


def _filename(source: str) -> str:
    """Return the last part of the path of an image; empty for one that is in the text itself."""
    try:
        parts = urlsplit(source[:_LONGEST_URL])
    except ValueError:
        return ""
    if parts.scheme not in {"", "http", "https"}:
        return ""
    return _squeezed(unquote(parts.path.rstrip("/").rpartition("/")[2]))


def shortened(text: str) -> str:
    """Return a text that is short enough for a label."""
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT].rstrip()}..."
