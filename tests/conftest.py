"""Fixtures for every kind of test; nothing starts before a test asks for it."""

import ast
import contextlib
import gc
import os
import shutil
import signal
import sys
import threading
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from pyoci_flask.app import create_app
from pyoci_flask.settings import Settings
from pyoci_flask.web.services import EXTENSION
from tests.doubles import wsgi_server
from tests.patience import PATIENCE
from tests.registries import (
    IN_PROCESS,
    RunningRegistry,
    docker_registry,
    embedded_registry,
    log_tail,
    zuul_registry,
)

# Registries and locks wait for the disk at each write, which takes much of the time of a run.
_MEMORY, _ROOM = Path("/dev/shm"), 8 << 30
if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))

# A shell without job control lets its background programs, and whatever they start, ignore Ctrl-C.
# Without this, the programs that tests interrupt would go on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if sys.version_info < (3, 11, 8):
    # Before 3.11.8, ast.parse fails if the garbage collector lets another thread call it meanwhile
    # (gh-106905). Pytest calls it for each failure, and `traceback` calls it for each frame.
    _parse, _parsing = ast.parse, threading.RLock()

    def _parse_alone(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - as the original
        with _parsing:
            collecting = gc.isenabled()
            gc.disable()
            try:
                return _parse(*args, **options)
            finally:
                if collecting:
                    gc.enable()

    ast.parse = _parse_alone


class AppServer(Protocol):
    """Starts the application on a socket."""

    def __call__(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        transport_timeouts: tuple[float, float] = (PATIENCE, PATIENCE),
    ) -> str:
        """Serve an application until the fixture ends; return its URL, without a slash.

        `transport_timeouts`: seconds to wait for a registry's connection and for its response.
        """


@contextlib.contextmanager
def _app_servers() -> Iterator[AppServer]:
    with contextlib.ExitStack() as running:

        def serve(
            environ: Mapping[str, str] | None = None,
            *,
            transport_timeouts: tuple[float, float] = (PATIENCE, PATIENCE),
        ) -> str:
            settings = Settings.from_env(environ or {})
            app = create_app(settings, transport_timeouts=transport_timeouts)
            services = app.extensions[EXTENSION]
            running.callback(services.transport.close)
            running.callback(services.versions.close)
            return running.enter_context(wsgi_server(app))

        yield serve


@pytest.fixture
def app_server() -> Iterator[AppServer]:
    """Return a factory of servers of the application, each on its own port."""
    with _app_servers() as serve:
        yield serve


@pytest.fixture(scope="session")
def shared_app(embedded_in_process: RunningRegistry) -> Iterator[str]:
    """Return the URL of an application with the default settings and an embedded registry."""
    with _app_servers() as serve:
        yield serve({"PYOCI_STORAGE": str(embedded_in_process.storage)})


@pytest.fixture(scope="session")
def docker_open(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    """docker-registry that asks for no credentials."""
    with docker_registry(tmp_path_factory.mktemp("open")) as registry:
        yield registry


@pytest.fixture(scope="session")
def docker_htpasswd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    """docker-registry that challenges with Basic."""
    folder = tmp_path_factory.mktemp("htpasswd")
    with docker_registry(folder, htpasswd=("alice", "s3cret:with:colons")) as registry:
        yield registry


@pytest.fixture(scope="session")
def zuul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    """zuul-registry: Bearer tokens, even for reading; deletes nothing."""
    with zuul_registry(tmp_path_factory.mktemp("zuul")) as registry:
        yield registry


@pytest.fixture(scope="session")
def embedded_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    """The embedded registry as a separate server that challenges with Basic."""
    folder = tmp_path_factory.mktemp("socket")
    with embedded_registry(folder, users=("bob", "pass+word/%40")) as registry:
        yield registry


@pytest.fixture(scope="session")
def embedded_in_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    """The embedded registry as `PYOCI_STORAGE` mounts it.

    Its `url` is a second server on the same folder, so that tests see what the application stored.
    """
    with embedded_registry(tmp_path_factory.mktemp("in-process")) as registry:
        yield replace(registry, kind=IN_PROCESS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Print the log of a registry when a test fails."""
    del call
    report = yield
    if report.failed:
        for value in item.funcargs.values():
            if isinstance(value, RunningRegistry) and (tail := log_tail(value)):
                report.sections.append((f"Log of {value.kind}", tail))
    return report


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Keep the garbage collector away from a test that goes to the recursion limit.

    A finaliser that runs at that depth fails because of it, and pytest reports that as an error.
    """
    gc.collect()
    gc.disable()
    yield
    gc.enable()
