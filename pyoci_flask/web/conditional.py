"""Strong ETags, and the answers 304 and 412 to conditional requests (RFC 9110, section 13)."""

import hashlib
import threading
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from weakref import WeakKeyDictionary

from flask import request
from werkzeug.wrappers import Response

from pyoci_flask.common.memory import Memory
from pyoci_flask.errors import PreconditionFailedError
from pyoci_flask.index.project import Project

PRIVATE = "private, no-cache"
"""Caches have to ask each time: a file may be deleted, and another published under its name."""

_VARIANTS = 6
"""Pages of one project: three media types, one of them in two forms, and a few more for when the
announced core metadata grows."""
_PAGE_BYTES = 32 * 1024 * 1024
"""Bytes of the pages of one project."""


@dataclass(frozen=True, slots=True)
class Page:
    """The bytes of a page and its strong ETag."""

    content: bytes
    media_type: str
    etag: str

    @classmethod
    def of(cls, text: str, media_type: str) -> Self:
        """Encode a page. The same text as another media type has another ETag."""
        content = text.encode()
        tag = hashlib.sha256(f"{media_type}\n".encode() + content).hexdigest()[:32]
        return cls(content, media_type, tag)

    def answer(self, *, vary: str) -> Response:
        """Return the answer with the page, or 304.

        Raises:
            PreconditionFailedError: see `is_current`.
        """
        charset = "" if self.media_type.endswith("json") else "; charset=utf-8"
        response = Response(
            self.content,
            content_type=f"{self.media_type}{charset}",
            headers={"Cache-Control": PRIVATE, "Vary": vary},
        )
        is_current(response, self.etag)
        return response


class ProjectPages:
    """The pages that were made of projects, for as long as each project is remembered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: WeakKeyDictionary[Project, Memory[Hashable, Page]] = WeakKeyDictionary()

    def of(self, project: Project) -> Memory[Hashable, Page]:
        """Return the pages of this very project, by the name of their variant."""
        with self._lock:
            if project not in self._pages:
                self._pages[project] = Memory(
                    entries=_VARIANTS, max_bytes=_PAGE_BYTES, size=lambda page: len(page.content)
                )
            return self._pages[project]


def is_current(response: Response, etag: str, modified: datetime | None = None) -> bool:
    """Set ETag and Last-Modified, and return whether the client has this content already.

    If it has, the answer becomes a 304 (13.1.2 and 13.1.3). Without `modified`, conditions about
    times are ignored.

    Raises:
        PreconditionFailedError: the client wants another content only (13.1.1 and 13.1.4).
    """
    _check_preconditions(etag, modified)
    response.set_etag(etag)
    if modified is not None:
        response.last_modified = modified
    current = _is_unmodified(etag, modified)
    if current:
        response.status_code = 304
    return current


def last_modified(uploaded: datetime | None) -> datetime | None:
    """Return the time of an upload as Last-Modified has it: whole seconds, never in the future."""
    if uploaded is None:
        return None
    return min(uploaded, datetime.now(UTC)).replace(microsecond=0)


def _check_preconditions(etag: str, modified: datetime | None) -> None:
    if "If-Match" in request.headers:
        if not request.if_match.contains(etag):
            raise PreconditionFailedError(f'the ETag is now "{etag}", which If-Match does not name')
        return
    since = request.if_unmodified_since
    if modified is not None and since is not None and modified > since:
        raise PreconditionFailedError(
            "the file was published after the time in If-Unmodified-Since"
        )


def _is_unmodified(etag: str, modified: datetime | None) -> bool:
    if "If-None-Match" in request.headers:
        return request.if_none_match.contains_weak(etag)
    since = request.if_modified_since
    return modified is not None and since is not None and modified <= since
