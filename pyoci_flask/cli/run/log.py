"""The log of `run`: a file of the user, because the terminal belongs to COMMAND."""

import os
from pathlib import Path
from typing import TextIO

from pyoci_flask.logs import configure_logging
from pyoci_flask.settings import Settings

_LIMIT = 2 * 1024 * 1024


def open_log(settings: Settings, *, verbose: bool) -> None:
    """Write the log to a file, or to standard error if `verbose`.

    If the file cannot be written, there is no log.
    """
    configure_logging(settings.log_levels, None if verbose else _open(log_path()))


def log_path() -> Path:
    """Return the path of the log: in `XDG_STATE_HOME`, by default `~/.local/state`."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "pyoci-flask" / "run.log"


def _open(path: Path) -> TextIO:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > _LIMIT:
            path.replace(path.with_suffix(".old.log"))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        return os.fdopen(os.open(path, flags, 0o600), "a", encoding="utf-8")
    except OSError:
        return Path(os.devnull).open("w")
