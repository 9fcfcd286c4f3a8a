"""The description of a package as HTML that is safe to show, or as plain text.

Publishers of packages are not trusted, and Python cannot interrupt a regular expression or a parser
that never finishes. So another process renders and sanitises Markdown and reStructuredText, with
limits on its time and memory. A description that is not ready in time is shown as plain text. The
HTML is cached under the digest of its source and of where its relative links lead.
"""

import hashlib
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from markupsafe import Markup

from pyoci_flask.common.memory import Memory
from pyoci_flask.web.people.description_sources import Source

logger = logging.getLogger("pyoci.web")

LONGEST = 256 * 1024
"""Characters of a description. A longer one is not rendered, and is cut off as plain text."""

_SECONDS = 10.0
"""Maximum duration of the process. Its CPU time has a separate limit."""
_AT_ONCE = 2
_PATIENCE = 30.0
"""Seconds to wait for a free process, which is enough for about a hundred descriptions."""
_CACHE_SIZE = 8 * 1024 * 1024
_MOST_CACHED = 2000

_PROCESS = "pyoci_flask.web.people.description_process"

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")
"""Control characters except tab and line feed, and characters that change the text direction."""

_Kind = tuple[str, ...]
_Key = tuple[_Kind, bytes]


@dataclass(frozen=True, slots=True)
class Description:
    """A description to show, as `html` if it could be rendered, otherwise as `text`."""

    html: Markup | None
    text: str
    cut: bool
    """Whether `text` ends before the description does."""


class _LateError(Exception):
    """This machine was too busy to render a description. The next attempt may succeed."""


class DescriptionRenderer:
    """Renders descriptions. Each worker has one renderer."""

    def __init__(self, images: Sequence[str] = (), seconds: float = _SECONDS) -> None:
        """Show the images of the hosts in `images`, and stop each process after `seconds`."""
        self._images = tuple(images)
        self._seconds = seconds
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        self._rendered = Memory[_Key, str](entries=_MOST_CACHED, max_bytes=_CACHE_SIZE)

    def render(
        self, text: str, content_type: str | None, repository: Source | None = None
    ) -> Description:
        """Render a description by its Description-Content-Type (core metadata specification).

        Its relative links lead to the files of `repository`.
        """
        kind = _kind_of(content_type)
        plain = Description(None, _CONTROLS.sub("", text[:LONGEST]), len(text) > LONGEST)
        if kind is None or plain.cut:
            return plain
        options = {"images": self._images, "source": repository and astuple(repository)}
        source = json.dumps(options).encode() + b"\n" + text.encode(errors="replace")
        key = kind, hashlib.sha256(source).digest()
        try:
            html = self._rendered_once(key, source)
        except _LateError as error:
            logger.warning("could not render a project description: %s", error)
            return plain
        if not html:
            return plain
        return Description(Markup(html), text, cut=False)  # noqa: S704 - it was sanitised

    def _rendered_once(self, key: _Key, source: bytes) -> str:
        """Return the cached HTML, or render it. It is empty if the text cannot be rendered.

        Raises:
            _LateError: it is not known whether the text can be rendered.
        """
        html = self._rendered.get(key)
        if html is None:
            if not self._places.acquire(timeout=_PATIENCE):
                raise _LateError("too many other descriptions are being rendered")
            try:
                # Requests for one page often arrive together, so another one may have rendered it.
                html = self._rendered.get_or_make(key, lambda: self._run(key[0], source))
            finally:
                self._places.release()
        return html

    def _run(self, kind: _Kind, source: bytes) -> str:
        command = [sys.executable, "-B", "-P", "-s", "-m", _PROCESS, *kind]
        # Do not pass on the environment: it contains the secrets of this server.
        environ = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "LANG": "C.UTF-8"}
        try:
            done = subprocess.run(  # noqa: S603 - our own module; no argument comes from the package
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
            logger.warning(
                "could not render a project description (exit %d): %s", done.returncode, last
            )
            return ""
        return done.stdout.decode()


def _kind_of(content_type: str | None) -> _Kind | None:
    """Return the arguments of the renderer, or None for plain text and unknown types."""
    media_type, *parameters = (content_type or "").lower().split(";")
    match media_type.strip():
        case "text/markdown":
            commonmark = any("".join(one.split()) == "variant=commonmark" for one in parameters)
            return ("markdown", "CommonMark" if commonmark else "GFM")
        # Without a type, the specification requires trying reStructuredText first.
        case "text/x-rst" | "":
            return ("rst",)
        case _:
            return None
