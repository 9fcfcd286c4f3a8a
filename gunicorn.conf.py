"""gunicorn's settings: `gunicorn wsgi:app` in this folder reads them by itself.

docs/settings.md describes the variables of the environment. What is not said here is gunicorn's
default; in particular the application is not loaded before the workers are forked, so that each
has its own connections to the registry, and forwarded headers are trusted from loopback addresses
only (gunicorn's own `FORWARDED_ALLOW_IPS` names other proxies).
"""

import atexit
import os
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped]

from pyoci_flask.common.overrides import check_overrides, relies_on
from pyoci_flask.errors import ConfigurationError
from pyoci_flask.server.binding import bind_addresses, open_to_everyone, refuse_public
from pyoci_flask.server.cache_folder import make_cache_folder, remove_abandoned
from pyoci_flask.server.log import keep_secrets_out
from pyoci_flask.server.memory import keep_few_arenas
from pyoci_flask.server.open_files import connections_that_fit, raise_limit
from pyoci_flask.server.start import STARTED, check_start, prepare_folders, seen_at_start
from pyoci_flask.settings import Settings
from pyoci_flask.settings.otlp import endpoints

_OVERRIDING = ("pyoci_flask.server.worker", "pyoci_flask.transport.pools")
_TELEMETRY = "pyoci_flask.telemetry.pipeline"

relies_on(Arbiter, "START_CTX", "LISTENERS", user="gunicorn.conf.py")
try:
    _settings = Settings.from_env(os.environ)
    _exports = bool(endpoints(_settings, os.environ))
    check_overrides(*_OVERRIDING, *([_TELEMETRY] if _exports else []))
except ConfigurationError as error:
    sys.exit(f"Error: {error}")

keep_few_arenas()

bind = bind_addresses(_settings)
proc_name = "pyoci"

workers = _settings.web_concurrency
threads = _settings.threads
worker_class = "pyoci_flask.server.worker.ClientTimeoutThreadWorker"
# Connections that are kept alive hold no thread: there may be many more of them.
_wanted = 1000 + _settings.threads
_open_files = raise_limit()
worker_connections = connections_that_fit(
    _wanted, _open_files, threads=_settings.threads, fetch_threads=_settings.fetch_threads
)

# Seconds without a sign of life from a worker's main loop; no upload or download occupies that.
timeout = 120
# Seconds that transfers under way have to end when the server stops.
graceful_timeout = 300
# Longer than nginx keeps its idle connections to us (60 s): the side that sends the requests must
# be the one to close, or now and then a request meets a connection that is just closing.
keepalive = 75

# Tokens of cloud registries, once in Basic, exceed the default of 8190 bytes.
limit_request_field_size = 32768
# The most that gunicorn reads: an encoded registry, a namespace and a long filename.
limit_request_line = 8190

# Files go out through the socket class that notices clients who stopped reading.
sendfile = False

# The heartbeat file: on a disk its update can hang, and gunicorn then kills a healthy worker.
if os.access("/dev/shm", os.W_OK):  # noqa: S108 -- gunicorn makes its file there by mkstemp
    worker_tmp_dir = "/dev/shm"  # noqa: S108 -- as above

# It could reload and stop the server, and wants a home folder that can be written.
control_socket_disable = True

errorlog = "-"
# At debug it prints each address as it came, with whatever credentials a client wrote into it.
loglevel = _settings.log_levels[""].lower().replace("debug", "info")


def on_starting(server: Arbiter) -> None:
    """Look at what is configured, `--bind` on the command line included, before it is bound."""
    keep_secrets_out()
    _guard(server.cfg.address)
    try:
        check_start(_settings)
        if server.cfg.uid == os.geteuid():  # else the workers' folders are not ours to make
            prepare_folders(_settings)
        os.environ[STARTED] = seen_at_start(_settings)
    except ConfigurationError as error:
        sys.exit(f"Error: {error}")
    _keep_restartable(server)
    if worker_connections < _wanted:
        server.log.warning(
            "a process may have %d files open: each worker takes %d connections at once, not %d "
            "(ulimit -n, or LimitNOFILE= of systemd, raises that)",
            *(_open_files, worker_connections, _wanted),
        )
    if _settings.cache_ttl or _settings.metrics:
        _make_cache_folder(server)


def _keep_restartable(server: Arbiter) -> None:
    """Let USR2 start `python -m gunicorn` anew.

    gunicorn would run its `__main__.py` as a script, beside which lies a package `http` that hides
    the standard library's.
    """
    program = Path(sys.argv[0])
    if (program.parent.name, program.name) == ("gunicorn", "__main__.py"):
        server.START_CTX["args"] = [sys.executable, "-m", "gunicorn", *sys.argv[1:]]


def _make_cache_folder(server: Arbiter) -> None:
    """Make the folder of what the workers share: the listing cache and their metrics."""
    remove_abandoned(_settings.spool, {os.geteuid(), server.cfg.uid})
    try:
        folder = make_cache_folder(_settings.spool, server.cfg.uid, server.cfg.gid)
        if _settings.metrics:
            _make_metrics_folder(folder / "metrics", server.cfg.uid, server.cfg.gid)
    except OSError as error:
        sys.exit(f"Error: PYOCI_SPOOL must be a folder that can be written ({error.strerror})")
    os.environ["PYOCI_FLASK_CACHE_FOLDER"] = str(folder)
    made = os.getpid()

    def remove() -> None:
        if os.getpid() == made:  # not in the workers, which inherit this
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)


def _make_metrics_folder(folder: Path, uid: int, gid: int) -> None:
    folder.mkdir(0o700)
    if os.geteuid() == 0:
        os.chown(folder, uid, gid)
    # prometheus_client reads it once, when a worker imports it.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    os.environ["PYOCI_FLASK_METRICS_STARTED"] = str(time.monotonic())


def when_ready(server: Arbiter) -> None:
    """Look at the sockets before a worker accepts: systemd may have handed over any."""
    _guard(listener.getsockname() for listener in server.LISTENERS)


def _guard(addresses: Iterable[object]) -> None:
    if open_to_everyone(_settings):
        try:
            refuse_public(addresses)
        except ConfigurationError as error:
            sys.exit(f"Error: {error}")
