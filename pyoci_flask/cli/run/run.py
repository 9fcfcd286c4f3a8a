"""The whole of `run`: the server, COMMAND, and what is said at the end."""

import dataclasses
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from pyoci_flask.cli.run import privacy
from pyoci_flask.cli.run.addresses import WITH_FALLBACK, fixed
from pyoci_flask.cli.run.allowed import Allowed
from pyoci_flask.cli.run.command import NOT_EXECUTABLE, NOT_FOUND, run_command
from pyoci_flask.cli.run.failures import Failures
from pyoci_flask.cli.run.fallback import pip_index
from pyoci_flask.cli.run.forward import Forward
from pyoci_flask.cli.run.front import Front
from pyoci_flask.cli.run.indexes import Indexes
from pyoci_flask.cli.run.log import open_log
from pyoci_flask.cli.run.logins import Logins
from pyoci_flask.cli.run.project_files import named_indexes
from pyoci_flask.cli.run.publishers import is_publish_command
from pyoci_flask.cli.run.server import start_server
from pyoci_flask.cli.run.variables import NO_FALLBACK, environment
from pyoci_flask.errors import ConfigurationError
from pyoci_flask.server.start import check_paths
from pyoci_flask.settings import PinnedIndex, Settings
from pyoci_flask.settings.origins import OriginPattern
from pyoci_flask.transport.network import Network, check_ca_bundle
from pyoci_flask.transport.request import BasicCredentials

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

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
"""The settings that mean something for one user. The others are those of a server."""
_MAX_BODY = "5000000000"
"""The user's own disk is the limit, not that of a server for many."""


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
        ConfigurationError: no index is named, or a setting cannot be used.
    """
    privacy.hide()
    indexes = list(dict.fromkeys([*named, *named_indexes(Path.cwd())]))
    if not indexes:
        raise ConfigurationError(
            "no index is named: use --index REGISTRY/NAMESPACE, or put its address into "
            "pyproject.toml (docs/run.md)"
        )
    settings = _settings(indexes, os.environ)
    check_paths(settings)
    check_ca_bundle(os.environ)
    open_log(settings, verbose=verbose)
    failures = Failures()
    secret = secrets.token_urlsafe(24)
    served = Indexes(
        _build(settings).result,
        Allowed(settings, indexes, publish=is_publish_command(command) or publish),
        lambda index: _after(index, indexes, fallback),
        Logins(given, named[0].registry if named else None, settings.bearer_username),
        failures,
    )
    forward = Forward(Network.from_env(os.environ))
    port = start_server(Front(secret, served, forward)).port
    variables = environment(os.environ, named, indexes, port, secret, fallback)
    try:
        status = run_command(command, variables)
    except OSError as error:
        print(f"pyoci-flask run: {command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
        status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    # If COMMAND succeeded, it has overcome them.
    for line in failures.lines() if status else ():
        print(f"pyoci-flask run: {line}", file=sys.stderr)  # noqa: T201
    return status


def _settings(indexes: Sequence[PinnedIndex], environ: Mapping[str, str]) -> Settings:
    kept = {name: environ[name] for name in _SETTINGS if name in environ}
    settings = Settings.from_env({"PYOCI_MAX_BODY": _MAX_BODY, **kept})
    # PYOCI_REGISTRIES lists hosts that a registry may redirect to. It adds no index.
    origins = [*(OriginPattern.of(one.registry) for one in indexes), *(settings.registries or ())]
    return dataclasses.replace(settings, registries=tuple(dict.fromkeys(origins)))


def _build(settings: Settings) -> "Future[WSGIApplication]":
    """Build the application on a thread, because COMMAND need not wait for it."""
    built: Future[WSGIApplication] = Future()

    def build() -> None:
        try:
            from pyoci_flask.app import create_app  # takes most of the time

            built.set_result(create_app(settings, one_user=True))
        except BaseException as error:  # noqa: BLE001 - raised again by `result`
            built.set_exception(error)

    Thread(target=build, name="build", daemon=True).start()
    return built


def _after(index: PinnedIndex, indexes: Sequence[PinnedIndex], fallback: str | None) -> str | None:
    """Return the index that pip asks after `index`, without a slash at its end."""
    position = indexes.index(index) + 1
    if position < len(indexes):
        return f"{fixed(indexes[position])}{WITH_FALLBACK}".rstrip("/")
    if fallback == NO_FALLBACK:
        return None
    return pip_index() if fallback is None else fallback.rstrip("/")
