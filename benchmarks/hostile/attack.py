"""One hostile input, and what the framework measures while it is sent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Target:
    """The server under attack: gunicorn with one worker unless the attack sets another number."""

    url: str
    """Without a slash at its end."""
    port: int
    """On 127.0.0.1; the server was started with `PORT` set to it."""
    folder: Path
    """An empty folder for files of the attack."""


@dataclass(frozen=True, slots=True)
class Attack:
    """A hostile input that anyone can send again.

    `send` sends it and returns a short outcome for the table (`400`, `401, nothing read`). While it
    runs, the processor time, the growth of memory and the slowest answer of `/health` are measured.
    """

    point: str
    """The rule of docs/security.md that it tests, such as `8`."""
    input: str
    """What is sent, in a few words, with its size."""
    send: Callable[[Target], str]
    environ: Mapping[str, str] = field(default_factory=dict)
    """Settings of the server, on top of `PORT` and `WEB_CONCURRENCY=1`."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Name to text of what is in `{folder}` before the server starts."""
