"""Content negotiation of the Simple API (PEP 691, Version + Format Selection)."""

from functools import lru_cache

from flask import request
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from pyoci_flask.errors import NotAcceptableError

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
PLAIN_HTML = "text/html"

_NAMES = {
    PLAIN_HTML: (PLAIN_HTML,),
    JSON: (JSON, "application/vnd.pypi.simple.latest+json"),
    HTML: (HTML, "application/vnd.pypi.simple.latest+html"),
}
"""What is offered, the preferred one first, under the names by which it may be asked for."""

_LONGEST_ACCEPT = 2000
"""Characters that are looked at; the longest that browsers send has some 150."""


def negotiate() -> str:
    """Choose the media type that the request asks for, by `?format=` or by Accept.

    Raises:
        NotAcceptableError: it takes none of them.
    """
    # A literal + of the query arrives as a space.
    name = request.args.get("format", "").strip().replace(" ", "+").lower()
    if name:
        for kind, names in _NAMES.items():
            if name in names:
                return kind
        raise NotAcceptableError(f"?format= must be one of {', '.join(_NAMES)}")
    preferred = _preferred(request.headers.get("Accept", "")[:_LONGEST_ACCEPT])
    if preferred is None:
        raise NotAcceptableError(f"a page of this index comes as {', '.join(_NAMES)}")
    return preferred


@lru_cache(maxsize=64)
def _preferred(header: str) -> str | None:
    """The best of what an Accept header takes; clients send the same few all the time."""
    if not header.strip():
        return PLAIN_HTML
    # None of the types has parameters, so `text/html; charset=utf-8` is text/html.
    accept = MIMEAccept(
        (value.partition(";")[0].strip(), quality)
        for value, quality in parse_accept_header(header, MIMEAccept)
    )
    named = {name.lower(): quality for name, quality in reversed(accept)}
    qualities = {
        # An alias counts where it is named; a range is held against the type itself.
        kind: max([accept.quality(kind), *(named.get(alias, 0) for alias in aliases)])
        for kind, (_, *aliases) in _NAMES.items()
    }
    best = max(qualities, key=lambda kind: qualities[kind])
    return best if qualities[best] > 0 else None
