"""Strong ETags, and 304 and 412 responses to conditional requests (RFC 9110, section 13)."""

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
"""Caches must revalidate each time, because a file may be deleted and another one published under
the same name."""

_VARIANTS = 6
"""Maximum number of cached pages for each project. There are three media types, and one of them has
two forms. The other entries are for pages whose announced core metadata has grown."""
_PAGE_BYTES = 32 * 1024 * 1024
"""Maximum size of the cached pages of one project, in bytes."""


@dataclass(frozen=True, slots=True)
class Page:
    """The bytes of a page and its strong ETag."""

    content: bytes
    media_type: str
    etag: str

    @classmethod
    def of(cls, text: str, media_type: str) -> Self:
        """Encode a page. Its ETag depends on the text and on the media type."""
        content = text.encode()
        tag = hashlib.sha256(f"{media_type}\n".encode() + content).hexdigest()[:32]
        return cls(content, media_type, tag)

    def answer(self, *, vary: str) -> Response:
        """Return the response with the page, or a 304.

        Raises:
            PreconditionFailedError: the request applies only to other content (see `is_current`).
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
    """The rendered pages of each project, which are kept as long as its `Project` object."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: WeakKeyDictionary[Project, Memory[Hashable, Page]] = WeakKeyDictionary()

    def of(self, project: Project) -> Memory[Hashable, Page]:
        """Return the pages of exactly this project object. Each key is a variant of the page."""
        with self._lock:
            if project not in self._pages:
                self._pages[project] = Memory(
                    entries=_VARIANTS, max_bytes=_PAGE_BYTES, size=lambda page: len(page.content)
                )
            return self._pages[project]


def is_current(response: Response, etag: str, modified: datetime | None = None) -> bool:
    """Set ETag and Last-Modified, and return whether the client already has this content.

    If it does, the response becomes a 304 (sections 13.1.2 and 13.1.3). If `modified` is None,
    conditions about times are ignored.

    Raises:
        PreconditionFailedError: the request applies only to other content (sections 13.1.1 and
            13.1.4).
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
    """Return the time of an upload for Last-Modified, in whole seconds and not in the future."""
    if uploaded is None:
        return None
    return min(uploaded, datetime.now(UTC)).replace(microsecond=0)


def _check_preconditions(etag: str, modified: datetime | None) -> None:
    if "If-Match" in request.headers:
        if not request.if_match.contains(etag):
            raise PreconditionFailedError(f'the ETag is now "{etag}", which is not in If-Match')
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
