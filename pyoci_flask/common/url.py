"""Checks which URLs from outside may be used."""

import re
from urllib.parse import SplitResult, urljoin, urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}

# Browsers read a backslash as a slash and drop line breaks and tabs (WHATWG URL standard).
_WEB_URL = re.compile(r"https?://[^/?#\\\x00-\x20\x7f]+(?:[/?#][^\x00-\x1f\x7f]*)?", re.IGNORECASE)


def usable_url(text: str, base: str = "") -> SplitResult | None:
    """Split an absolute http(s) URL; return None if it is not usable.

    A usable URL has a host and a valid port, and consists of printable ASCII. It may contain
    credentials, a query and a fragment. If `base` is given, `text` may be relative to it
    (RFC 3986, 5.2).
    """
    if not (text.isascii() and text.isprintable()) or " " in text:
        return None
    try:
        parts = urlsplit(urljoin(base, text) if base else text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if usable else None


def is_web_url(text: str) -> bool:
    """Return whether browsers read `text` as an http(s) URL with a host of its own.

    Browsers read `https:/x`, `https:x` and `//x` as relative to the page that contains them.
    """
    try:
        return _WEB_URL.fullmatch(text) is not None and bool(urlsplit(text).hostname)
    except ValueError:
        return False


def normal_label(label: str) -> str:
    """Return the form in which labels of Project-URLs are compared with the well-known ones.

    It has neither punctuation nor spaces (core metadata, Well-known Project URLs).
    """
    return "".join(char for char in label.lower() if char.isalnum())
