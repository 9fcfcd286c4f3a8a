"""The log of `run`: a file of the user, because the terminal belongs to COMMAND."""

import logging
import os
import stat
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TextIO, cast

from pyoci_flask.logs import configure_logging
from pyoci_flask.settings import Settings

_LIMIT = 2 * 1024 * 1024
"""Bytes in the file before it is renamed; the file that had that name before is removed."""
_PRIVATE = 0o600
_STDERR = 2

logger = logging.getLogger("pyoci.run")


def open_log(settings: Settings, *, verbose: bool) -> None:
    """Write the log, warnings of Python included, to a file, or to standard error if `verbose`.

    If it cannot be written, there is no log.
    """
    stream: object = _Descriptor() if verbose else _File(log_path())
    configure_logging(settings.log_levels, cast("TextIO", stream))
    logging.captureWarnings(True)
    threading.excepthook = _log_exception


def log_path() -> Path | None:
    """Return the path of the log: in `XDG_STATE_HOME`, by default `~/.local/state`.

    Return None if the user has no home.
    """
    state = os.environ.get("XDG_STATE_HOME", "")
    try:
        folder = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:
        return None
    return folder / "pyoci-flask" / "run.log"


class _Descriptor:
    """Standard error. A thread that writes to it does not disturb the end of this process.

    A thread of a server may still run then, and must not hold the lock of `sys.stderr`.
    """

    def __init__(self) -> None:
        # If standard error is closed, the descriptor may be that of another file by now.
        self._open = sys.stderr is not None

    def write(self, line: str) -> None:
        if self._open:
            os.write(_STDERR, line.encode(errors="backslashreplace"))

    def flush(self) -> None:
        """Do nothing, because nothing is kept."""


class _File:
    """A private file that several runs write to, each line in one call."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._opened = None if path is None else _opened(path)

    def write(self, line: str) -> None:
        if self._path is None or self._opened is None:
            return
        found = os.fstat(self._opened)
        if found.st_size > _LIMIT:
            with suppress(OSError):
                # Another run may have renamed the file already.
                if os.path.samestat(found, self._path.lstat()):
                    self._path.replace(self._path.with_suffix(".old.log"))
            os.close(self._opened)
            self._opened = _opened(self._path)
            if self._opened is not None and os.fstat(self._opened).st_size > _LIMIT:
                os.close(self._opened)
                self._opened = None  # it could not be renamed
        if self._opened is not None:
            os.write(self._opened, line.encode(errors="backslashreplace"))

    def flush(self) -> None:
        """Do nothing, because nothing is kept."""


def _opened(path: Path) -> int | None:
    """Return a descriptor of the file, or None if it cannot be written."""
    # A link might lead to another file, and opening a named pipe would wait for its reader.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        opened = os.open(path, flags, _PRIVATE)
    except OSError:
        return None
    try:
        if stat.S_ISREG(os.fstat(opened).st_mode):
            os.fchmod(opened, _PRIVATE)
            return opened
    except OSError:
        pass  # the file belongs to another user
    os.close(opened)
    return None


def _log_exception(caught: threading.ExceptHookArgs) -> None:
    """Log what ended a thread. Python would print it on the terminal."""
    if caught.exc_value is not None:
        logger.error("a thread ended", exc_info=caught.exc_value)
