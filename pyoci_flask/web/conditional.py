"""Answers with a strong ETag, and 304 to those who have them already (RFC 9110, section 13)."""

import hashlib
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Self
from weakref import WeakKeyDictionary

from flask import request
from werkzeug.wrappers import Response

from pyoci_flask.index.project import Project

PRIVATE = "private, no-cache"
"""To be asked for each time: a file may be deleted and published anew under its name."""

_VARIANTS = 6
"""Pages of one project that are kept: three media types, one of them in two forms, and a few
more, as what is announced of a project grows."""


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
        """Answer with the page, or with 304."""
        charset = "" if self.media_type.endswith("json") else "; charset=utf-8"
        response = Response(self.content, content_type=f"{self.media_type}{charset}")
        response.set_etag(self.etag)
        response.headers["Cache-Control"] = PRIVATE
        response.headers["Vary"] = vary
        if "If-None-Match" in request.headers:
            response.make_conditional(request.environ)
        return response


def page(text: str, media_type: str, *, vary: str) -> Response:
    """Answer a page of text, or 304."""
    return Page.of(text, media_type).answer(vary=vary)


class PageCache:
    """Pages that were made of a project, for as long as somebody remembers that project."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: WeakKeyDictionary[Project, dict[Hashable, Page]] = WeakKeyDictionary()

    def get(self, project: Project, variant: Hashable, make: Callable[[], Page]) -> Page:
        """Give the page of a project in a variant; `make` is called where there is none yet."""
        with self._lock:
            known = self._pages.setdefault(project, {}).get(variant)
        if known is None:
            known = make()
            with self._lock:
                pages = self._pages.setdefault(project, {})
                if len(pages) < _VARIANTS:
                    pages[variant] = known
        return known
