"""A request to the registry and its response, as values.

There are two ways into the registry: HTTP (`wsgi.py`), and calls from within the process
(`in_process.py`). Both make these values, so that the registry's rules are written only once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol
from urllib.parse import parse_qs

from werkzeug.http import parse_etags

from pyoci_flask.common.cross_site import Headers
from pyoci_flask.common.outlet import FilePart


class Readable(Protocol):
    """A body that arrives while it is read."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and none at the end."""
        ...


@dataclass(frozen=True)
class Call:
    """A request to the registry."""

    method: str
    path: str
    """The decoded path, which begins with a slash."""
    headers: Headers
    body: Readable
    length: int | None
    """The Content-Length, or None if it is missing or not valid."""
    query: str = ""
    root: str = ""
    """The path at which the registry is mounted, without a slash at its end."""
    scheme: str = "http"

    @cached_property
    def arguments(self) -> Mapping[str, Sequence[str]]:
        """All values of each parameter in the query."""
        return parse_qs(self.query, keep_blank_values=True) if self.query else {}

    def argument(self, name: str) -> str | None:
        """Return the first value of a parameter in the query, or None if it is missing."""
        return next(iter(self.arguments.get(name, ())), None)

    def knows(self, etag: str) -> bool:
        """Return whether the client already has the content with this ETag (If-None-Match)."""
        text = self.headers.get("If-None-Match")
        return text is not None and parse_etags(text).contains_weak(etag)

    @property
    def is_websocket(self) -> bool:
        """Whether the client asks to continue with another protocol."""
        wanted = (self.headers.get("Upgrade") or "").lower()
        return wanted == "websocket" and (
            "upgrade" in (self.headers.get("Connection") or "").lower()
        )


@dataclass(slots=True)
class Answer:
    """The response to a call. The receiver of a `FilePart` must close its file.

    The response to a HEAD has the headers of the response to a GET, and no body.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | FilePart = b""
