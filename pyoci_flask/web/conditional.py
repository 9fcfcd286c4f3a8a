"""Answers with a strong ETag, and 304 to those who have them already (RFC 9110, section 13)."""

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from weakref import ref

from flask import request
from werkzeug.datastructures import ETags
from werkzeug.wrappers import Response

from pyoci_flask.common.memory import Memory
from pyoci_flask.errors import PreconditionFailedError
from pyoci_flask.index.project import Project

PRIVATE = "private, no-cache"
"""To be asked for each time: a file may be deleted and published anew under its name."""

_MOST_PAGES = 2000
_PAGE_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Page:
    """The bytes of a page and its strong ETag."""

    content: bytes
    media_type: str
    etag: str

    @classmethod
    def of(cls, text: str, media_type: str) -> Self:
        """Encode a page. The same text under another type is another answer."""
        content = text.encode()
        tag = hashlib.sha256(f"{media_type}\n".encode() + content).hexdigest()[:32]
        return cls(content, media_type, tag)

    def answer(self, *, vary: str) -> Response:
        """Answer with the page, with 304 or with 412."""
        check_match(self.etag)
        charset = "" if self.media_type.endswith("json") else "; charset=utf-8"
        response = Response(self.content, content_type=f"{self.media_type}{charset}")
        response.set_etag(self.etag)
        response.headers["Cache-Control"] = PRIVATE
        response.headers["Vary"] = vary
        if "If-None-Match" in request.headers:
            # Werkzeug would take `If-Match: *` for a tag that is not this one.
            response.make_conditional({**request.environ, "HTTP_IF_MATCH": ""})
        return response


PageMemory = Memory[tuple[ref[Project], Hashable], Page]
"""The pages that were made of a project, each under the name of its variant.

A project is compared by identity, so a page is found for as long as that project is remembered.
"""


def page_memory() -> PageMemory:
    """Return the memory of a worker for pages."""
    return Memory(entries=_MOST_PAGES, max_bytes=_PAGE_BYTES, size=lambda page: len(page.content))


def page(text: str, media_type: str, *, vary: str) -> Response:
    """Answer a page of text, or 304."""
    return Page.of(text, media_type).answer(vary=vary)


def check_match(etag: str, modified: datetime | None = None) -> None:
    """Refuse a request for another content than `etag` names (RFC 9110, 13.1.1 and 13.2.2).

    `modified` is what Last-Modified says. If-Unmodified-Since is ignored without it (13.1.4).

    Raises:
        PreconditionFailedError: If-Match names other tags only, or weak ones; or the content is
            newer than If-Unmodified-Since.
    """
    if "If-Match" not in request.headers:
        since = request.if_unmodified_since
        if modified is not None and since is not None and modified > since:
            raise PreconditionFailedError(
                "the file was published after the time in If-Unmodified-Since"
            )
        return
    wanted: ETags = request.if_match
    if not wanted.contains(etag):
        raise PreconditionFailedError(f'the ETag is "{etag}" now, which If-Match does not name')


def is_unmodified(etag: str, modified: datetime | None) -> bool:
    """Return whether the client has this content already (RFC 9110, 13.1.2 and 13.1.3)."""
    if "If-None-Match" in request.headers:
        matches: ETags = request.if_none_match
        return matches.contains_weak(etag)
    since = request.if_modified_since
    return modified is not None and since is not None and modified <= since


def last_modified(uploaded: datetime | None) -> datetime | None:
    """Return the time of an upload as Last-Modified has it: whole seconds, never in the future."""
    if uploaded is None:
        return None
    return min(uploaded, datetime.now(UTC)).replace(microsecond=0)
