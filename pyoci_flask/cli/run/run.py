"""The whole of `run`: the server, COMMAND, and what is said at the end."""

import dataclasses
import logging
import os
import secrets
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from pyoci_flask.cli.run import privacy
from pyoci_flask.cli.run.command import NOT_EXECUTABLE, NOT_FOUND, run_command
from pyoci_flask.cli.run.failures import Failures
from pyoci_flask.cli.run.fallback import index_after
from pyoci_flask.cli.run.log import open_log
from pyoci_flask.cli.run.logins import Logins
from pyoci_flask.cli.run.project_files import named_indexes
from pyoci_flask.cli.run.publishers import is_publish_command
from pyoci_flask.cli.run.variables import environment
from pyoci_flask.errors import ConfigurationError, PyOCIError
from pyoci_flask.server.start import check_paths
from pyoci_flask.settings import PinnedIndex, Settings
from pyoci_flask.settings.origins import OriginPattern
from pyoci_flask.transport.network import check_ca_bundle
from pyoci_flask.transport.request import BasicCredentials

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

logger = logging.getLogger("pyoci.run")

_SETTINGS = (
    "PYOCI_BEARER_USERNAME",
    "PYOCI_CACHE_STALE",
    "PYOCI_CACHE_TTL",
    "PYOCI_FALLBACK_DENIED",
    "PYOCI_FALLBACK_EMPTY",
    "PYOCI_FALLBACK_EXCLUDE",
    "PYOCI_FETCH_THREADS",
    "PYOCI_MAX_BODY",
    "PYOCI_MAX_VERSIONS",
    "PYOCI_PRIVATE_NETWORKS",
    "PYOCI_REGISTRIES",
    "PYOCI_SKIP_IDENTICAL",
    "PYOCI_SPOOL",
    "PYOCI_THREADS",
    "PYOCI_VERIFY_DOWNLOADS",
    "LOG_LEVEL",
)
"""The settings that apply to a single user. The others are only for a server."""
_MAX_BODY = "5000000000"
"""The user's own disk is the limit, not that of a server for many."""
_NOT_USED = (
    "PYOCI_USERNAME and PYOCI_PASSWORD are only for the registry of the first --index, and none "
    "was given, so they were not used"
)
_WAITING = 128
"""Connections that wait until the application is built, or until the server accepts them."""


def run(
    command: Sequence[str],
    named: Sequence[PinnedIndex],
    given: BasicCredentials | None,
    fallback: str | None,
    *,
    publish: bool,
    verbose: bool,
) -> int:
    """Serve the indexes while `command` runs; return its exit status.

    `named` are the indexes of `--index`. `given` is a login for the registry of the first of them:
    what a project's files name must not receive it. `fallback` is a URL, `none` or None.

    Raises:
        ConfigurationError: no index is named, a setting cannot be used, or this is Windows.
    """
    if os.name != "posix":
        raise ConfigurationError("run works on Linux and macOS, but not on this system")
    privacy.hide()
    indexes = list(dict.fromkeys([*named, *named_indexes(Path())]))
    if not indexes:
        raise ConfigurationError(
            "no index is named: use --index REGISTRY/NAMESPACE, or put its address into "
            "pyproject.toml (docs/run.md)"
        )
    settings = _settings(indexes, os.environ)
    check_paths(settings)
    check_ca_bundle(os.environ)
    publish = is_publish_command(command) or publish
    open_log(settings, verbose=verbose)
    places = ", ".join(f"{index.registry.address}/{index.namespace}" for index in indexes)
    logger.info("serving %s, %s", places, "also to publish" if publish else "read-only")
    failures = Failures()
    secret = secrets.token_urlsafe(24)

    def build() -> "WSGIApplication":
        from pyoci_flask.cli.run.application import create_application

        return create_application(
            secret,
            settings,
            indexes,
            lambda index: index_after(index, indexes, fallback, command),
            Logins(given, named[0].registry if named else None, settings.bearer_username),
            failures,
            publish=publish,
        )

    listener = socket.create_server(("127.0.0.1", 0), backlog=_WAITING)
    port: int = listener.getsockname()[1]
    Thread(target=_serve, args=(listener, build, failures), name="server", daemon=True).start()
    variables = environment(os.environ, named, indexes, port, secret, fallback)
    try:
        status = run_command(command, variables)
    except OSError as error:
        _say(f"{command[0]}: {error.strerror}")
        status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    logger.info("the command ended with status %d", status)
    if publish:
        from pyoci_flask.index.lock import VersionLocks

        VersionLocks.in_spool(settings.spool).tidy()
    # If COMMAND succeeded, it has overcome them.
    lines = failures.lines() if status else []
    if lines and given is not None and not named:
        lines.append(_NOT_USED)
    for line in lines:
        _say(line)
    return status


def _serve(
    listener: socket.socket, build: "Callable[[], WSGIApplication]", failures: Failures
) -> None:
    """Build the application and serve it. If that fails, requests of COMMAND fail at once."""
    from pyoci_flask.cli.run.server import create_server

    with listener:
        try:
            server = create_server(listener, build())
        except PyOCIError as error:
            failures.add("", str(error))
            return
        except Exception:
            failures.add("", "the indexes cannot be served, because of an error that is in the log")
            raise
    server.serve_forever()


def _say(line: str) -> None:
    """Write a line to standard error, if anyone reads it."""
    if sys.stderr is not None:
        with suppress(OSError):
            # A failed write through `sys.stderr` would change the exit status.
            os.write(sys.stderr.fileno(), f"pyoci-flask run: {line}\n".encode(errors="replace"))


def _settings(indexes: Sequence[PinnedIndex], environ: Mapping[str, str]) -> Settings:
    kept = {name: environ[name] for name in _SETTINGS if name in environ}
    settings = Settings.from_env({"PYOCI_MAX_BODY": _MAX_BODY, **kept})
    # PYOCI_REGISTRIES lists hosts that a registry may redirect to. It adds no index.
    origins = [*(OriginPattern.of(one.registry) for one in indexes), *(settings.registries or ())]
    return dataclasses.replace(settings, registries=tuple(dict.fromkeys(origins)))
