"""A package's description as HTML that is safe to show, or as plain text.

The text comes from whoever published the package. Python cannot interrupt a regular expression or
a parser that has run away, so Markdown and reStructuredText are rendered and sanitised in a
process of its own, with limits on its time and memory; what does not come back in time is shown
as plain text. What was rendered is remembered under the digest of its source.
"""

import hashlib
import logging
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass

from markupsafe import Markup

from pyoci_flask.common.memory import Memory

logger = logging.getLogger("pyoci.web")

LONGEST = 256 * 1024
"""Characters of a description that are rendered, and of plain text that are shown."""

_SECONDS = 10.0
"""For the process, from its start to its end; its processor time has a limit of its own."""
_AT_ONCE = 2
_PATIENCE = 30.0
"""Seconds to wait for a place, for some hundred descriptions; hostile ones take three each."""
_CACHE_SIZE = 8 * 1024 * 1024
_MOST_CACHED = 2000

_PROCESS = "pyoci_flask.web.people.description_process"

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")
"""Control characters but tab and line feed, and those that turn the direction of reading."""

_Kind = tuple[str, ...]
_Key = tuple[_Kind, bytes]


@dataclass(frozen=True, slots=True)
class Description:
    """A description to be shown: `html` where it could be rendered, else `text`."""

    html: Markup | None
    text: str
    cut: bool
    """Whether `text` ends before the description does."""


class _LateError(Exception):
    """This machine was too busy: the next try may go well."""


class DescriptionRenderer:
    """Renders descriptions; made once for a worker."""

    def __init__(self, seconds: float = _SECONDS) -> None:
        """`seconds` is how long one may take."""
        self._seconds = seconds
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        self._rendered = Memory[_Key, str](entries=_MOST_CACHED, max_bytes=_CACHE_SIZE)

    def render(self, text: str, content_type: str | None) -> Description:
        """Render by Description-Content-Type (core metadata specification)."""
        kind = _kind_of(content_type)
        plain = Description(None, _CONTROLS.sub("", text[:LONGEST]), len(text) > LONGEST)
        if kind is None or plain.cut:
            return plain
        source = text.encode(errors="replace")
        key = kind, hashlib.sha256(source).digest()
        try:
            html = self._rendered_once(key, source)
        except _LateError as error:
            logger.warning("a description was not rendered: %s", error)
            return plain
        # The only place where text of a package is taken for markup.
        return plain if not html else Description(Markup(html), text, cut=False)  # noqa: S704

    def _rendered_once(self, key: _Key, source: bytes) -> str:
        """Return the remembered HTML, or render it; empty if the text cannot be rendered.

        Raises:
            _LateError: it is not known whether the text can be rendered.
        """
        html = self._rendered.get(key)
        if html is None:
            if not self._places.acquire(timeout=_PATIENCE):
                raise _LateError("too many other descriptions are being rendered")
            try:
                # Requests for one page often come together: another one may have rendered it.
                html = self._rendered.get_or_make(key, lambda: self._run(key[0], source))
            finally:
                self._places.release()
        return html

    def _run(self, kind: _Kind, source: bytes) -> str:
        command = [sys.executable, "-B", "-P", "-s", "-m", _PROCESS, *kind]
        # Nothing of the environment: it holds this server's secrets.
        environ = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "LANG": "C.UTF-8"}
        try:
            done = subprocess.run(  # noqa: S603 - our own module, its words are not the package's
                command,
                input=source,
                capture_output=True,
                env=environ,
                cwd="/",
                timeout=self._seconds,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _LateError(type(error).__name__) from error
        if done.returncode:
            last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:300]
            logger.warning("a description was not rendered: exit %d %s", done.returncode, last)
            return ""
        return done.stdout.decode()


def _kind_of(content_type: str | None) -> _Kind | None:
    """Give the renderer's arguments; None = plain text, as is every type that is not known."""
    media_type, *parameters = (content_type or "").lower().split(";")
    match media_type.strip():
        case "text/markdown":
            commonmark = any("".join(one.split()) == "variant=commonmark" for one in parameters)
            return ("markdown", "CommonMark" if commonmark else "GFM")
        # Where the type is missing, the specification asks to try reStructuredText first.
        case "text/x-rst" | "":
            return ("rst",)
        case _:
            return None
