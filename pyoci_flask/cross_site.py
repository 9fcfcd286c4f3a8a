"""Requests that a browser sends from another site's page, with what it keeps for this one.

All that the index and the embedded registry have in common.
"""

from urllib.parse import urlsplit

from werkzeug.wrappers import Request


def is_cross_site(request: Request, public_url: str | None = None) -> bool:
    """Whether a browser sent it from another page than one of the host asked, or `public_url`."""
    if request.headers.get("Sec-Fetch-Site", "").lower() == "cross-site":
        return True
    origin = request.headers.get("Origin")
    if origin is None:
        return False
    page = _netloc(origin)
    return not page or page not in {request.host.lower(), _netloc(public_url or "")}


def _netloc(url: str) -> str:
    """Host and port; empty where there are none, as in `null`, or none that can be read."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""
