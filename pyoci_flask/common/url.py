"""Addresses that packages name and that become links."""

import re
from urllib.parse import urlsplit

# Browsers read a backslash as a slash and drop line breaks and tabs (WHATWG URL standard).
_WEB_URL = re.compile(r"https?://[^/?#\\\x00-\x20\x7f]+(?:[/?#][^\x00-\x1f\x7f]*)?", re.IGNORECASE)


def is_web_url(text: str) -> bool:
    """Return whether browsers read `text` as an http(s) URL of a host that it names itself.

    They read `https:/x`, `https:x` and `//x` as relative to the page that they stand in.
    """
    try:
        return _WEB_URL.fullmatch(text) is not None and bool(urlsplit(text).hostname)
    except ValueError:
        return False
