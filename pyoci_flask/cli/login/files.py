"""Which files may contain logins, in which order, and reading them within bounds.

The order is that of containers-auth.json(5), which also reads Docker's file.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pyoci_flask.common.files import read_bounded
from pyoci_flask.errors import LoginError

DOCKER_FILE = "config.json"
_CONTAINERS = Path("/run/containers")


class LoginFile(NamedTuple):
    """A file that may exist, and its name for people."""

    path: Path
    shown: str


def login_files(environ: Mapping[str, str]) -> Iterator[LoginFile]:
    """Yield the files to search, in order. Not all of them exist.

    Raises:
        LoginError: `REGISTRY_AUTH_FILE` is set to a file that does not exist.
    """
    home = home_folder(environ)
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    chosen = environ.get("REGISTRY_AUTH_FILE")
    if chosen:
        if not Path(chosen).exists():
            raise LoginError(
                f"REGISTRY_AUTH_FILE is set to {chosen}, which does not exist: "
                "log in, or unset the variable"
            )
        paths = [Path(chosen)]
    elif sys.platform == "linux":
        runtime = environ.get("XDG_RUNTIME_DIR")
        folder = Path(runtime, "containers") if runtime else _CONTAINERS / str(os.getuid())
        # Where root uses Podman, /run/containers exists and others may not enter it.
        is_closed = not runtime and _CONTAINERS.exists() and not os.access(_CONTAINERS, os.X_OK)
        paths = [] if is_closed else [folder / "auth.json"]
    else:
        paths = [home / ".config" / "containers" / "auth.json"]
    paths.append(config / "containers" / "auth.json")
    paths.append(Path(environ.get("DOCKER_CONFIG") or home / ".docker") / DOCKER_FILE)
    for path in dict.fromkeys(paths):
        yield LoginFile(path, shown_path(path, home))


def home_folder(environ: Mapping[str, str]) -> Path:
    """Return the user's home folder.

    A user of a container may have none. Docker sets `HOME` to `/` then, so this is the default.
    """
    try:
        return Path(environ.get("HOME") or Path.home())
    except RuntimeError:
        return Path("/")


def shown_path(path: Path, home: Path) -> str:
    """Return a path for people, with `~` for the home folder."""
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def read_json(file: LoginFile) -> Mapping[str, Any]:
    """Return the JSON object in a file, which is empty if the file is missing or empty.

    Raises:
        LoginError: the file cannot be read, or is not a JSON object.
    """
    try:
        content = read_bounded(file.path)
    except ValueError as error:
        raise LoginError(_unreadable(file, str(error))) from None
    except OSError as error:
        raise LoginError(_unreadable(file, str(error.strerror))) from None
    if not content or content.isspace():
        return {}
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        # The error would quote the content.
        document = None
    if not isinstance(document, dict):
        raise LoginError(
            f"{file.shown} is not a JSON object: correct or remove it, and log in again"
        )
    return document


def _unreadable(file: LoginFile, why: str) -> str:
    return f"{file.shown} cannot be read ({why}): correct this, or remove the file"
