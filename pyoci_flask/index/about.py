"""The summary and the home page of a version, as annotations of its image index.

They are copied from core metadata when a file is published, so a listing has them without a call.
Other programs may write anything there, so both are checked and cut again when they are read.
"""

from collections.abc import Iterable

from packaging.metadata import RawMetadata

from pyoci_flask.common.url import is_web_url

SUMMARY = "com.pyoci.summary"
HOME_PAGE = "com.pyoci.home_page"
ABOUT = frozenset({SUMMARY, HOME_PAGE})
"""These annotations."""

_LONGEST_SUMMARY = 512
"""Characters, as on PyPI."""
_LONGEST_URL = 2000
_JOINERS = "\u200c\u200d"
"""Not printable to Python, and yet part of words and emoji."""


def annotations_of(metadata: RawMetadata) -> dict[str, str]:
    """Return the annotations for a version with this core metadata; none for what it lacks."""
    home = metadata.get("home_page") or home_among(metadata.get("project_urls", {}).items())
    found = {SUMMARY: summary_of(metadata.get("summary")), HOME_PAGE: home_page_of(home)}
    return {key: text for key, text in found.items() if text}


def summary_of(text: str | None) -> str | None:
    """Return a summary on one line, cut to 512 characters; None if nothing is left."""
    line = printable(" ".join((text or "")[: 4 * _LONGEST_SUMMARY].split()))
    return line[:_LONGEST_SUMMARY].strip() or None


def home_page_of(text: str | None) -> str | None:
    """Return the URL if it is one of http(s) and not too long."""
    url = (text or "")[: 2 * _LONGEST_URL].strip()
    return url if len(url) <= _LONGEST_URL and url.isprintable() and is_web_url(url) else None


def home_among(urls: Iterable[tuple[str, str]]) -> str | None:
    """Return the URL with the label of a home page.

    Well-known labels (core metadata, Well-known Project URLs) compare without punctuation.
    """
    for label, url in urls:
        if "".join(char for char in label.lower() if char.isalnum()) == "homepage":
            return url
    return None


def printable(text: str) -> str:
    """Leave out control characters."""
    if text.isprintable():
        return text
    return "".join(char for char in text if char.isprintable() or char in _JOINERS)
