"""Every registry call of every operation, broken in every way: the status, and the result.

The calls are those of a successful run; a loop over them makes the table.
"""

import contextlib
import gc
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from pyoci_flask.app import create_app
from pyoci_flask.registry import create_registry
from pyoci_flask.settings import Settings
from pyoci_flask.web.services import EXTENSION
from tests.doubles import wsgi_server
from tests.faults import RETRY_AFTER, Call, Fault, FaultyServer, faulty_server
from tests.integration.index_client import IndexClient, address
from tests.packages import make_sdist, make_wheel
from tests.patience import PATIENCE
from tests.servers import wait_until

pytestmark = pytest.mark.acceptance

_LEAST_TIMEOUT = 1.5
"""Seconds to wait for a registry that hangs: short enough for a hundred hanging calls."""
_SLOWEST = 4.0
"""Multiple of that time that the slowest whole operation takes; no working call takes as long."""
_SIDE_BY_SIDE = 12
_CUT = 0
"""In place of a status: the transfer was aborted before its end."""
_DONE = frozenset({200})
_REFUSED = frozenset({502})

WHEEL, SDIST, NEW = "foo-1.0-py3-none-any.whl", "foo-1.0.tar.gz", "foo-1.0-1-py3-none-any.whl"
OLD = "foo-0.9-py3-none-any.whl"
BEFORE = frozenset({WHEEL, SDIST, OLD})

Operation = Callable[[IndexClient, Path], requests.Response]

OPERATIONS: dict[str, tuple[Operation, frozenset[str]]] = {
    "list": (lambda index, _: index.get("/foo/"), BEFORE),
    "download": (lambda index, _: index.get(f"/foo/{WHEEL}"), BEFORE),
    "publish": (lambda index, files: index.publish(files / NEW, "foo", "1.0"), BEFORE | {NEW}),
    "delete file": (lambda index, _: index.request("DELETE", f"/foo/{WHEEL}"), BEFORE - {WHEEL}),
    "delete version": (lambda index, _: index.request("DELETE", "/foo/1.0"), frozenset({OLD})),
    "yank": (lambda index, _: index.request("PATCH", "/foo/1.0", json={"yanked": True}), BEFORE),
}
"""Each with the files that a page lists when it is complete."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one broken call."""

    number: int
    call: Call
    status: int
    retry_after: str | None
    listed: frozenset[str]
    broken: tuple[str, ...]
    """Listed files that cannot be downloaded as they were published."""
    again: int
    """Status of the same operation once the registry works again."""
    listed_again: frozenset[str]
    seconds: float
    """How long it took then."""


Table = dict[tuple[str, Fault], list[Outcome]]


@dataclass(frozen=True, slots=True)
class _Bench:
    """Runs operations, each on a copy of the same registry."""

    app: str
    """An application with long time-outs for registries."""
    files: Path
    storage: Path
    copies: Path

    @contextlib.contextmanager
    def registry(self, name: str) -> Iterator[tuple[FaultyServer, IndexClient]]:
        """Serve a copy of the registry, with a client of the application for it."""
        folder = self.copies / name
        shutil.copytree(self.storage, folder)
        with (
            faulty_server(create_registry(folder)) as server,
            requests.Session() as session,
        ):
            session.trust_env = False
            yield server, IndexClient(f"{self.app}/{address(server.url)}/team", None, session)

    def calls(self, operation: str) -> list[Call]:
        """Return the calls of a successful run."""
        with self.registry(f"good-{operation}") as (server, index):
            server.mend()
            run, complete = OPERATIONS[operation]
            assert run(index, self.files).status_code == 200
            calls = list(server.calls)
            assert self.listed(index) == (complete, ())
        return calls

    def outcome(
        self, operation: str, number: int, call: Call, fault: Fault, app: str | None = None
    ) -> Outcome:
        """Break one call of an operation; `app` is the application for it, if another."""
        run, _ = OPERATIONS[operation]
        with self.registry(f"{operation}-{number}-{fault.name}") as (server, index):
            server.break_call(number, fault)
            retry_after = None
            other = IndexClient(index.base.replace(self.app, app or self.app), None, index.session)
            try:
                response = run(other, self.files)
                status, retry_after = response.status_code, response.headers.get("Retry-After")
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                status = _CUT
            server.mend()
            listed, broken = self.listed(index)
            begun = time.monotonic()
            again = run(index, self.files).status_code
            seconds = time.monotonic() - begun
            listed_again, broken_again = self.listed(index)
            return Outcome(
                number, call, status, retry_after, listed, broken + broken_again, again,
                listed_again, seconds,
            )  # fmt: skip

    def listed(self, index: IndexClient) -> tuple[frozenset[str], tuple[str, ...]]:
        names = index.filenames("foo")
        assert len(names) == len(set(names))
        broken = [
            name
            for name in names
            if index.get(f"/foo/{name}").content != (self.files / name).read_bytes()
        ]
        return frozenset(names), tuple(broken)


def _sockets() -> int:
    """Return the sockets that this process has open."""
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed since the folder was listed
            count += str(descriptor.readlink()).startswith("socket:")
    return count


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    """Pytest keeps every log record, and with its errors the connections that they came from."""
    logging.disable()
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


@dataclass(frozen=True, slots=True)
class _Made:
    """The table, and what was left open after it."""

    table: Table
    sockets: int
    threads: int


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> _Made:
    tmp = tmp_path_factory.mktemp("faults")
    files, storage = tmp / "files", tmp / "storage"
    files.mkdir()
    for version, build in (("1.0", None), ("1.0", "1"), ("0.9", None)):
        make_wheel(files, "foo", version, build=build)
    make_sdist(files, "foo", "1.0")
    # One fetch at a time, so that the calls have the same order in every run.
    settings = Settings.from_env(
        {"PYOCI_FETCH_THREADS": "1", "PYOCI_CACHE_TTL": "0", "PYOCI_SPOOL": str(tmp)}
    )
    sockets, threads = _sockets(), _threads()
    table: Table = {}
    with _unlogged(), _application(settings, PATIENCE) as url:
        bench = _Bench(url, files, storage, tmp / "copies")
        _fill(bench)
        cells = [
            (operation, number, call, fault)
            for operation in OPERATIONS
            for number, call in enumerate(bench.calls(operation), 1)
            for fault in Fault
            # The response to an upload may take minutes, because registries move the blob first.
            if not (fault is Fault.HANG and _kind(call) == "PUT upload")
        ]
        hanging = [cell for cell in cells if cell[3] is Fault.HANG]
        others = [cell for cell in cells if cell[3] is not Fault.HANG]
        with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
            outcomes = list(pool.map(lambda cell: bench.outcome(*cell), others))
            timeout = max(_LEAST_TIMEOUT, _SLOWEST * max(one.seconds for one in outcomes))
            with _application(settings, timeout) as hasty:
                outcomes += pool.map(lambda cell: bench.outcome(*cell, hasty), hanging)
        for cell, outcome in zip(others + hanging, outcomes, strict=True):
            table.setdefault((cell[0], cell[3]), []).append(outcome)
    # A traceback may keep a connection in a reference cycle, which only the collector breaks.
    gc.collect()
    with contextlib.suppress(TimeoutError):
        wait_until(lambda: _sockets() <= sockets and _threads() <= threads)
    return _Made(table, _sockets() - sockets, _threads() - threads)


@contextlib.contextmanager
def _application(settings: Settings, timeout: float) -> Iterator[str]:
    """Serve an application that waits `timeout` seconds for a registry's response."""
    app = create_app(settings, transport_timeouts=(PATIENCE, timeout))
    services = app.extensions[EXTENSION]
    try:
        with wsgi_server(app) as url:
            yield url
    finally:
        services.versions.close()
        services.transport.close()


def _fill(bench: _Bench) -> None:
    bench.storage.mkdir()
    with faulty_server(create_registry(bench.storage)) as server, requests.Session() as session:
        session.trust_env = False
        index = IndexClient(f"{bench.app}/{address(server.url)}/team", None, session)
        for name in sorted(BEFORE):
            index.published(bench.files / name, "foo", name.split("-")[1].removesuffix(".tar.gz"))


def _threads() -> int:
    """Return the threads that end with the application; one thread watches deadlines for all."""
    return sum(thread.name != "deadlines" for thread in threading.enumerate())


def _kind(call: Call) -> str:
    """Return the endpoint of the distribution specification that was called."""
    if "/blobs/uploads/" in call.path:
        return f"{call.method} upload"
    if "/blobs/" in call.path:
        return f"{call.method} blob"
    if "/manifests/" in call.path:
        return f"{call.method} {'manifest' if 'sha256:' in call.path else 'tag'}"
    return f"{call.method} tags"


_UNSURE = frozenset({Fault.RESET_BEFORE, Fault.RESET_AMID_HEADERS, Fault.FAILS, Fault.HANG})
"""After these, it is unknown whether a tag was written: read it, and write it again if not."""
_STARTED_AGAIN = {
    "POST upload": frozenset({Fault.RESET_BEFORE, Fault.RESET_AMID_HEADERS}),
    "PUT upload": frozenset({Fault.RESET_BEFORE, Fault.RESET_AMID_HEADERS, Fault.FAILS}),
}
"""An upload that was interrupted is started again, once."""
_READ = frozenset({"GET tags", "GET tag", "GET manifest"})


def _documented(operation: str, kind: str, fault: Fault, *, written: bool) -> frozenset[int]:
    """Return the statuses that the documentation gives, by the purpose of the call.

    `written` says that the registry has acknowledged the change before this call.
    """
    if written:
        return _DONE  # what cannot be read back or cleared away is logged
    # A registry that lists no tags still accepts packages. The deletion of a file begins with a
    # call that only asks whether it is denied.
    asking = {("publish", "GET tags"), ("delete file", "DELETE manifest")}
    if (operation, kind) in asking and fault is not Fault.REFUSED:
        return _DONE
    if kind == "PUT tag" and fault in _UNSURE:
        return _DONE
    if fault in _STARTED_AGAIN.get(kind, ()):
        return _DONE
    if kind == "PUT manifest" and fault is Fault.FAILS:
        return _DONE  # stored without core metadata, because the registry may not accept that
    match fault:
        case Fault.REFUSED | Fault.RESET_BEFORE | Fault.RESET_AMID_HEADERS | Fault.FAILS:
            return _REFUSED
        case Fault.HANG:
            return frozenset({504})
        case Fault.RATE_LIMITED:
            return frozenset({429})
        case Fault.BUSY_ONCE:
            return _DONE
        case Fault.GARBAGE:
            return _REFUSED if kind in _READ or kind == "GET blob" else _DONE
        case Fault.WRONG_DIGEST if kind in {"PUT upload", "PUT manifest", "PUT tag"}:
            return _REFUSED
        case Fault.WRONG_DIGEST:
            # The digest of a tag's content is known only from the registry itself.
            return {"GET blob": frozenset({_CUT}), "GET manifest": _REFUSED}.get(kind, _DONE)
        case _ if kind == "GET blob":
            return frozenset({_CUT})
        case _ if kind in _READ:
            return _REFUSED
        case _:
            return _DONE


CELLS = [(operation, fault) for operation in OPERATIONS for fault in Fault]


@pytest.mark.parametrize(("operation", "fault"), CELLS, ids=str)
def test_status_is_the_documented_one(made: _Made, operation: str, fault: Fault) -> None:
    wrong, written = [], False
    for one in made.table[operation, fault]:
        kind = _kind(one.call)
        if one.status not in _documented(operation, kind, fault, written=written):
            wrong.append(f"call {one.number}, {one.call}: {one.status}")
        if one.status == 429:
            assert one.retry_after == RETRY_AFTER
        written = written or kind in {"PUT tag", "DELETE tag"}
    assert wrong == []


@pytest.mark.parametrize(("operation", "fault"), CELLS, ids=str)
def test_what_is_listed_is_what_was_there_or_the_complete_result_and_all_of_it_is_whole(
    made: _Made, operation: str, fault: Fault
) -> None:
    complete = OPERATIONS[operation][1]
    for one in made.table[operation, fault]:
        if one.status == 200:
            assert one.listed == complete, one
        assert one.listed in {BEFORE, complete}, one
        assert one.broken == (), one


@pytest.mark.parametrize(("operation", "fault"), CELLS, ids=str)
def test_the_same_again_completes_it(made: _Made, operation: str, fault: Fault) -> None:
    complete = OPERATIONS[operation][1]
    done_already = {"publish": 409, "delete file": 404, "delete version": 404}
    for one in made.table[operation, fault]:
        assert one.listed_again == complete, one
        was_done = one.listed == complete and operation in done_already
        assert one.again == (done_already[operation] if was_done else 200), one


def test_every_call_of_every_operation_is_in_the_table(made: _Made) -> None:
    kinds = {
        operation: {_kind(one.call) for one in made.table[operation, Fault.FAILS]}
        for operation in OPERATIONS
    }
    assert kinds["list"] == {"GET tags", "GET tag"}
    assert kinds["download"] == {"GET tag", "GET blob"}
    assert kinds["publish"] == {
        "GET tag", "GET tags", "HEAD blob", "POST upload", "PUT upload", "PUT manifest", "PUT tag"
    }  # fmt: skip
    assert kinds["delete file"] >= {"GET tag", "PUT tag", "DELETE manifest"}
    assert kinds["delete version"] >= {"GET tag", "DELETE tag", "DELETE manifest"}
    assert kinds["yank"] == {"GET tag", "GET tags", "PUT tag"}


def test_no_connection_and_no_thread_is_left(made: _Made) -> None:
    assert (made.sockets, made.threads) == (0, 0)
