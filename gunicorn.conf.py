"""gunicorn's settings: `gunicorn wsgi:app` in this folder reads them by itself.

docs/settings.md describes the environment variables. All other settings have gunicorn's defaults.
In particular, each worker loads the application itself and so has its own connections to
registries, and forwarded headers are trusted only from loopback addresses (gunicorn's own
`FORWARDED_ALLOW_IPS` lists other proxies).
"""

import atexit
import gc
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from pyoci_flask.common.overrides import check_overrides, relies_on
from pyoci_flask.errors import ConfigurationError
from pyoci_flask.server.announcement import HOW_TO, how_to, listening, where_kept
from pyoci_flask.server.master import (
    acting_as,
    connections_that_fit,
    keep_few_arenas,
    keep_secrets_out,
    let_new_workers_end,
    make_cache_folder,
    make_for,
    raise_limit,
    remove_abandoned,
)
from pyoci_flask.server.start import (
    STARTED,
    bind_addresses,
    check_files,
    check_start,
    keep_cache,
    open_to_everyone,
    prepare_folders,
    refuse_public,
    seen_at_start,
)
from pyoci_flask.settings import Settings
from pyoci_flask.settings.otlp import endpoints

_OVERRIDING = ("pyoci_flask.server.worker", "pyoci_flask.transport.pools")
_TELEMETRY = "pyoci_flask.telemetry.pipeline"
_logger = logging.getLogger("pyoci")

relies_on(Arbiter, "START_CTX", "LISTENERS", user="gunicorn.conf.py")
try:
    _settings = Settings.from_env(os.environ)
    _exports = bool(endpoints(_settings, os.environ))
    check_overrides(*_OVERRIDING, *([_TELEMETRY] if _exports else []))
    if STARTED not in os.environ:  # not at a reload, which must not end a server
        # Before gunicorn writes its first line, so that the error is the first line.
        check_files(_settings, os.environ)
except ConfigurationError as error:
    sys.exit(f"Error: {error}")

keep_few_arenas()

bind = bind_addresses(_settings)
proc_name = "pyoci"

workers = _settings.web_concurrency
threads = _settings.threads
worker_class = "pyoci_flask.server.worker.ClientTimeoutThreadWorker"
# Idle connections use no thread, so there may be many more connections than threads.
_wanted = 1000 + _settings.threads
_open_files = raise_limit()
worker_connections = connections_that_fit(
    _wanted, _open_files, threads=_settings.threads, fetch_threads=_settings.fetch_threads
)

# Seconds without a sign of life from a worker's main loop, which uploads and downloads never block.
timeout = 120
# Seconds that running transfers have to end when the server stops.
graceful_timeout = 300
# Longer than nginx keeps its idle connections to us (60 s): if this side closed first, a request
# would now and then arrive on a connection that is just closing.
keepalive = 75

# Tokens of cloud registries exceed the default of 8190 bytes when sent as a Basic password.
limit_request_field_size = 32768
# The most that gunicorn accepts, for an encoded registry, a namespace and a long filename.
limit_request_line = 8190

# Files are sent by our socket class, which notices clients that stop reading.
sendfile = False

# The folder of the heartbeat file. On a disk, an update of the file can hang, and gunicorn then
# kills a healthy worker.
if os.access("/dev/shm", os.W_OK):  # noqa: S108 -- gunicorn makes its file there by mkstemp
    worker_tmp_dir = "/dev/shm"  # noqa: S108 -- as above

# The control socket could reload and stop the server, and it needs a writable home folder.
control_socket_disable = True

errorlog = "-"
# At level debug, gunicorn logs each URL unchanged, including credentials that a client put there.
loglevel = _settings.log_levels[""].lower().replace("debug", "info")
if _settings.log_json:
    logger_class = "pyoci_flask.server.json_log.JSONLogger"


def on_starting(server: Arbiter) -> None:
    """Check the configuration, including `--bind` on the command line, before listening."""
    keep_secrets_out()
    let_new_workers_end()
    _guard(server.cfg.address)
    try:
        check_start(_settings)
        if server.cfg.uid == os.geteuid():  # else the workers make their folders
            prepare_folders(_settings)
        os.environ[STARTED] = seen_at_start(_settings)
    except ConfigurationError as error:
        sys.exit(f"Error: {error}")
    _keep_restartable(server)
    if worker_connections < _wanted:
        server.log.warning(  # type: ignore[union-attr] # gunicorn sets it before this
            "a process may have %d files open: each worker takes %d connections at a time, not %d "
            "(raise the limit with ulimit -n or with LimitNOFILE= of systemd)",
            *(_open_files, worker_connections, _wanted),
        )
    if _settings.cache_ttl or _settings.metrics:
        _make_cache_folder(server)
    if _settings.cache_folder is not None:
        _keep_cache(server, _settings.cache_folder)


def _keep_restartable(server: Arbiter) -> None:
    """Make a restart with USR2 work for `python -m gunicorn`.

    gunicorn would run its `__main__.py` as a script, next to which is a package `http` that hides
    the one of the standard library.
    """
    program = Path(sys.argv[0])
    if (program.parent.name, program.name) == ("gunicorn", "__main__.py"):
        server.START_CTX["args"] = [sys.executable, "-m", "gunicorn", *sys.argv[1:]]


def _make_cache_folder(server: Arbiter) -> None:
    """Make the folder that the workers share, for the listing cache and their metrics."""
    remove_abandoned(_settings.spool, {os.geteuid(), server.cfg.uid})
    try:
        folder = make_cache_folder(_settings.spool, server.cfg.uid, server.cfg.gid)
        if _settings.metrics:
            _make_metrics_folder(folder / "metrics", server.cfg.uid, server.cfg.gid)
    except OSError as error:
        sys.exit(f"Error: PYOCI_SPOOL must be a writable folder ({error.strerror})")
    os.environ["PYOCI_FLASK_CACHE_FOLDER"] = str(folder)
    made = os.getpid()

    def remove() -> None:
        if os.getpid() == made:  # not in the workers, which inherit this
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)


def _keep_cache(server: Arbiter, folder: Path) -> None:
    """Use a folder that is kept, if it can be used. One decision for all workers is made here."""
    make_for(server.cfg.uid, server.cfg.gid, folder)
    with acting_as(server.cfg.uid, server.cfg.gid):
        kept = keep_cache(_settings)
    if kept is not None:
        os.environ["PYOCI_FLASK_CACHE_FOLDER"] = str(kept)


def _make_metrics_folder(folder: Path, uid: int, gid: int) -> None:
    folder.mkdir(0o700)
    if os.geteuid() == 0:
        os.chown(folder, uid, gid)
    # prometheus_client reads it once, when a worker imports it.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    os.environ["PYOCI_FLASK_METRICS_STARTED"] = str(time.monotonic())


def when_ready(server: Arbiter) -> None:
    """Check the sockets, which systemd might have passed, and say what is served."""
    addresses = [listener.getsockname() for listener in server.LISTENERS]
    _guard(addresses)
    served = listening(_settings, addresses)
    if os.environ.get(HOW_TO):
        sys.stdout.write(f"\n{how_to(served)}\n")
        sys.stdout.flush()
    else:
        _logger.info("%s", where_kept(served))


def post_worker_init(worker: Worker) -> None:  # noqa: ARG001 - gunicorn's own
    """Let the garbage collector ignore what the worker has loaded, which stays until its end.

    A search through all of it takes about 45 ms, and it would delay a page now and then.
    """
    gc.collect()
    gc.freeze()


def _guard(addresses: Iterable[object]) -> None:
    if open_to_everyone(_settings):
        try:
            refuse_public(addresses)
        except ConfigurationError as error:
            sys.exit(f"Error: {error}")
