"""gunicorn's worker with our time-outs, run in a thread of this process."""

import contextlib
import errno
import http.client
import os
import select
import selectors
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

import pytest
from gunicorn.config import Config
from gunicorn.errors import AppImportError
from gunicorn.glogging import Logger

from pyoci_flask.errors import ConfigurationError
from pyoci_flask.oci.shares import Share
from pyoci_flask.server.worker import ClientTimeoutThreadWorker
from pyoci_flask.web.gate import MAY_POSTPONE, NoPlaceError
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_IDLE = 1
_LARGE = 32 << 20
_MANY = 8
"""Clients; four times as many as there are threads."""
_places = threading.Semaphore(0)
_PATIENT = pytest.mark.parametrize("address", [PATIENCE], indirect=True)
"""For clients that are not meant to stall."""
_SLOW = 3
"""A time-out that a client which sends every 0.3 seconds meets, however slow the machine is."""
_REQUEST = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n"


def _application(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/breaks":
        start("200 OK", [("Content-Length", "10")])
        return _breaking()
    if environ["PATH_INFO"] == "/large":
        start("200 OK", [("Content-Length", str(_LARGE))])
        return (bytes(1 << 20) for _ in range(_LARGE >> 20))
    if environ["PATH_INFO"] == "/full":
        if not _places.acquire(blocking=False):
            if environ.get(MAY_POSTPONE):
                raise NoPlaceError(Share("slow.example"), lambda: _places._value)
            start("503 Busy", [("Content-Length", "0")])
            return []
        start("200 OK", [("Content-Length", "0")])
        return []
    if environ["PATH_INFO"] == "/refuses":
        start("409 Conflict", [("Content-Length", "3")])
        return [b"no\n"]
    if environ["PATH_INFO"] == "/endless":
        start("200 OK", [("Content-Type", "text/plain")])
        return (bytes(1 << 20) for _ in iter(int, 1))
    try:
        text: bytes = environ["wsgi.input"].read()
    except TimeoutError:
        start("408 Request Timeout", [("Content-Length", "0")])
        return []
    answer = b"%s from %s" % (text, environ["REMOTE_ADDR"].encode())
    start("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]


def _breaking() -> Iterator[bytes]:
    yield b"half"
    raise ValueError("the other half is missing")


class _App:
    """What a worker asks of gunicorn's application object."""

    def __init__(self, fault: Exception | None = None) -> None:
        self._fault = fault

    def wsgi(self) -> object:
        if self._fault is not None:
            raise self._fault
        return _application


def _worker(
    monkeypatch: pytest.MonkeyPatch, *listeners: socket.socket, app: _App, idle: float = _IDLE
) -> ClientTimeoutThreadWorker:
    monkeypatch.setenv("PYOCI_CLIENT_TIMEOUT", str(int(idle)))
    config = Config()
    config.set("threads", 2)
    config.set("keepalive", 10)
    config.set("worker_class", "pyoci_flask.server.worker.ClientTimeoutThreadWorker")
    return ClientTimeoutThreadWorker(
        1, os.getppid(), list(listeners), app, 30, config, Logger(config)
    )


@pytest.fixture(params=[_IDLE])
def address(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[tuple[str, int]]:
    """Where a worker with two threads listens; the parameter is its clients' time-out."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        worker = _worker(monkeypatch, listener, app=_App(), idle=request.param)
        worker.load_wsgi()
        worker.tpool = worker.get_thread_pool()
        worker.poller = selectors.DefaultSelector()
        worker.method_queue.init()
        loop = threading.Thread(target=worker.run)
        loop.start()
        try:
            yield listener.getsockname()
        finally:
            worker.handle_exit(0, None)
            loop.join()
            worker.tpool.shutdown()
            worker.tmp.close()
        # Counted wrong, it would stop without waiting for transfers, or wait for none.
        assert worker.nr_conns == 0


def _send(address: tuple[str, int], sent: bytes) -> socket.socket:
    client = socket.create_connection(address, timeout=PATIENCE)
    client.sendall(sent)
    return client


def _received(client: socket.socket) -> bytes:
    received = b""
    while chunk := client.recv(65536):
        received += chunk
    return received


@_PATIENT
def test_requests_on_one_connection_are_answered(address: tuple[str, int]) -> None:
    with contextlib.closing(http.client.HTTPConnection(*address, timeout=PATIENCE)) as client:
        client.connect()
        first = client.sock
        for text in (b"one", b"two"):
            client.request("POST", "/", text)
            assert client.getresponse().read() == b"%s from 127.0.0.1" % text
        assert client.sock is first


@pytest.mark.parametrize("sent", [_REQUEST % b"/", _REQUEST % b"/" + b"ab"])
def test_a_body_that_stalls_is_a_time_out_in_the_application(
    address: tuple[str, int], sent: bytes
) -> None:
    with _send(address, sent) as client:
        assert _received(client).startswith(b"HTTP/1.1 408 ")


def test_a_body_that_trickles_is_a_time_out_in_the_application(address: tuple[str, int]) -> None:
    """Each byte comes within the idle time, but all of them would take a quarter of an hour."""
    sent = 0
    with _send(address, _REQUEST.replace(b"3", b"9000") % b"/") as client:
        while sent < 100 and not select.select([client], [], [], 0.1)[0]:
            with contextlib.suppress(OSError):  # just now reset
                sent += client.send(b"x")
        assert _received(client).startswith(b"HTTP/1.1 408 ")
    assert 1 < sent < 100


def test_a_body_that_was_sent_fast_at_first_may_not_trickle_then(
    address: tuple[str, int],
) -> None:
    sent = 0
    with _send(address, _REQUEST.replace(b"3", b"999999") % b"/" + bytes(900_000)) as client:
        while sent < 100 and not select.select([client], [], [], 0.1)[0]:
            with contextlib.suppress(OSError):  # just now reset
                sent += client.send(b"x")
        assert _received(client).startswith(b"HTTP/1.1 408 ")
    assert 1 < sent < 100


@pytest.mark.slow
@pytest.mark.parametrize("address", [_SLOW], indirect=True)
def test_a_slow_but_steady_body_is_taken(address: tuple[str, int]) -> None:
    """Longer than the idle time in all."""
    with _send(address, _REQUEST.replace(b"3", b"9000") % b"/") as client:
        for _ in range(15):
            assert not select.select([client], [], [], 0.3)[0]
            client.sendall(b"x" * 600)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


@_PATIENT
@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_that_is_refused_unread_ends_the_connection_and_says_so(
    address: tuple[str, int], *, chunked: bool
) -> None:
    pieces = (bytes(1 << 20) for _ in range(_LARGE >> 20))
    with contextlib.closing(http.client.HTTPConnection(*address, timeout=PATIENCE)) as client:
        client.request("POST", "/refuses", pieces if chunked else bytes(_LARGE))
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (409, b"no\n")
        assert answer.headers["Connection"] == "close"
        client.request("POST", "/", b"next")
        assert client.getresponse().read() == b"next from 127.0.0.1"


@_PATIENT
@pytest.mark.parametrize("chunked", [False, True])
def test_a_small_body_that_is_refused_unread_keeps_the_connection(
    address: tuple[str, int], *, chunked: bool
) -> None:
    with contextlib.closing(http.client.HTTPConnection(*address, timeout=PATIENCE)) as client:
        client.request("POST", "/refuses", iter([bytes(30_000)]) if chunked else bytes(30_000))
        first, answer = client.sock, client.getresponse()
        assert (answer.status, answer.read()) == (409, b"no\n")
        assert answer.headers["Connection"] == "keep-alive"
        client.request("POST", "/", b"next")
        assert client.getresponse().read() == b"next from 127.0.0.1"
        assert client.sock is first


@_PATIENT
@pytest.mark.parametrize(
    "sent",
    [
        _REQUEST.replace(b"3", b"9000") % b"/refuses" + b"abc",
        _REQUEST.replace(b"3", b"99999999") % b"/refuses" + b"abc",
        _REQUEST.replace(b"Content-Length: 3", b"Transfer-Encoding: chunked") % b"/refuses" + b"z",
        _REQUEST.replace(b"Content-Length: 3", b"Transfer-Encoding: chunked") % b"/refuses"
        + b"not a chunk\r\n",
    ],
    ids=["little", "large", "chunked", "broken"],
)
def test_a_body_that_never_comes_is_refused_before_it_and_ends_the_connection(
    address: tuple[str, int], sent: bytes
) -> None:
    with _send(address, sent) as client:
        head, _, body = _received(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 409 ")
    assert b"\r\nConnection: close" in head
    assert body == b"no\n"


_AWAITING = (
    b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@_PATIENT
@pytest.mark.parametrize("size", [3, _LARGE])
def test_a_client_that_asks_before_its_body_is_refused_at_once(
    address: tuple[str, int], size: int
) -> None:
    with _send(address, _AWAITING % (b"/refuses", size)) as client:
        received = _received(client)
    assert received.startswith(b"HTTP/1.1 409 ")
    assert b"\r\nConnection: close\r\n" in received


@_PATIENT
def test_a_client_that_asks_before_its_body_is_told_once_when_it_is_read(
    address: tuple[str, int],
) -> None:
    with _send(address, _AWAITING % (b"/", 3)) as client:
        for _ in range(2):
            assert client.recv(len(_CONTINUE), socket.MSG_WAITALL) == _CONTINUE
            client.sendall(b"abc")
            answer = client.recv(65536)
            while not answer.endswith(b"abc from 127.0.0.1"):
                answer += client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"\r\nConnection: keep-alive\r\n" in answer
            client.sendall(_AWAITING % (b"/", 3))


@_PATIENT
def test_a_client_that_asks_without_a_body_keeps_its_connection(address: tuple[str, int]) -> None:
    with _send(address, _AWAITING % (b"/refuses", 0) + _REQUEST % b"/" + b"abc") as client:
        received = b""
        while not received.endswith(b"abc from 127.0.0.1"):
            received += client.recv(65536)
    assert b"\r\nConnection: keep-alive\r\n" in received.partition(b"HTTP/1.1 200 ")[0]
    assert _CONTINUE not in received


@_PATIENT
def test_a_client_that_asks_and_does_not_wait_is_answered(address: tuple[str, int]) -> None:
    with _send(address, _AWAITING % (b"/refuses", _LARGE) + bytes(_LARGE)) as client:
        assert _received(client).startswith(b"HTTP/1.1 409 ")


@_PATIENT
def test_of_a_refused_body_no_more_than_the_bound_is_taken(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyoci_flask.server.main_loop.LINGER_BYTES", 1 << 20)
    sent = 0
    request = _REQUEST.replace(b"3", b"99999999999") % b"/refuses"
    with contextlib.suppress(BrokenPipeError, ConnectionResetError), _send(address, request) as one:
        while sent < 500 << 20:
            sent += one.send(bytes(1 << 16))
    assert 1 << 20 < sent < 500 << 20


def test_headers_that_stall_end_the_connection(address: tuple[str, int]) -> None:
    with _send(address, b"GET / HTTP/1.1\r\nHo") as client:
        assert _received(client) == b""


def test_an_answer_that_nobody_reads_ends(address: tuple[str, int]) -> None:
    with contextlib.ExitStack() as stalled:
        for _ in range(2):
            stalled.enter_context(_send(address, _REQUEST % b"/endless" + b"abc"))
        with _send(address, _REQUEST % b"/" + b"abc") as client:
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


@_PATIENT
def test_an_answer_that_fails_half_way_is_broken_off(
    address: tuple[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    with _send(address, _REQUEST % b"/breaks" + b"abc") as client:
        assert _received(client).endswith(b"\r\n\r\nhalf")
    with _send(address, _REQUEST % b"/" + b"abc") as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert "the other half is missing" in caplog.text


@contextlib.contextmanager
def _many(address: tuple[str, int], sent: bytes) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as opened:
        yield [opened.enter_context(_send(address, sent)) for _ in range(_MANY)]


def _answers_at_once(address: tuple[str, int]) -> bool:
    """Whether a request is answered before any client has run out of its time."""
    begun = time.monotonic()
    with _send(address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") as client:
        answered = client.recv(65536).startswith(b"HTTP/1.1 200 ")
    return answered and time.monotonic() - begun < _IDLE * 0.9


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: loc",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nG",  # a byte of the next request
        b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n",
        _REQUEST % b"/" + b"ab",
        _REQUEST.replace(b"3", b"x") % b"/",  # refused, and no end of the connection
    ],
    ids=["half-sent", "next", "unread", "upload", "refused"],
)
def test_clients_that_are_waited_for_leave_threads_to_others(
    address: tuple[str, int], sent: bytes
) -> None:
    with _many(address, sent):
        assert _answers_at_once(address)


def test_headers_are_taken_byte_by_byte_and_requests_in_one_piece(
    address: tuple[str, int],
) -> None:
    with _send(address, b"") as client:
        for byte in _REQUEST % b"/":
            client.sendall(bytes([byte]))
        client.sendall(b"one" + _REQUEST % b"/" + b"two" + _REQUEST.replace(b"3", b"0") % b"/")
        received = b""
        while received.count(b"from 127.0.0.1") < 3:
            received += client.recv(65536)
    bodies = [part.partition(b"\r\n\r\n")[2] for part in received.split(b"HTTP/1.1 200 ")[1:]]
    assert bodies == [b"one from 127.0.0.1", b"two from 127.0.0.1", b" from 127.0.0.1"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /" + b"x" * 9000, b"414"),
        (b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 140_000, b"431"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000, b"431"),
        (b"GET / HTTP/1.1\n", b"400"),
    ],
    ids=["line", "field", "fields", "bare LF"],
)
def test_headers_that_are_too_large_are_refused_before_their_end(
    address: tuple[str, int], sent: bytes, status: bytes
) -> None:
    with _send(address, sent) as client:
        assert _received(client).startswith(b"HTTP/1.1 " + status)


def test_a_slow_reader_gets_all_and_the_connection_is_kept(address: tuple[str, int]) -> None:
    """It takes longer than the idle time in all."""
    with contextlib.closing(http.client.HTTPConnection(*address, timeout=10 * _IDLE)) as client:
        client.request("GET", "/large")
        first, answer, size = client.sock, client.getresponse(), 0
        while size < _LARGE:
            size += len(answer.read(_LARGE // 16))
            select.select([], [], [], 0.1)
        client.request("POST", "/", b"abc")
        assert client.getresponse().read() == b"abc from 127.0.0.1"
        assert client.sock is first


@pytest.mark.slow
def test_a_slow_body_makes_place_for_one_that_waits(address: tuple[str, int]) -> None:
    """Two threads have one for bodies; 4 KiB/s is enough as long as only one comes."""
    with (
        _send(address, _REQUEST.replace(b"3", b"999999") % b"/") as slow,
        _send(address, _REQUEST % b"/" + b"abc") as waiting,
    ):
        deadline = time.monotonic() + 20 * _IDLE
        while not select.select([waiting], [], [], 0.1)[0] and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                slow.send(b"x" * 400)
        assert waiting.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert slow.recv(65536).startswith(b"HTTP/1.1 408 ")


@pytest.mark.slow
def test_a_client_that_reads_too_slowly_is_cut_off(address: tuple[str, int]) -> None:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with client:
        client.connect(address)
        client.sendall(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        poller = select.poll()
        poller.register(client, 0)
        deadline = time.monotonic() + 20 * _IDLE
        while not poller.poll(0) and time.monotonic() < deadline:
            client.recv(50)
            select.select([], [], [], 0.2)
        assert time.monotonic() < deadline


def test_a_request_without_a_place_is_served_when_there_is_one(address: tuple[str, int]) -> None:
    with _many(address, b"GET /full HTTP/1.1\r\nHost: localhost\r\n\r\n") as clients:
        assert _answers_at_once(address)
        _places.release(_MANY)
        for client in clients:
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.slow
def test_a_request_that_never_gets_a_place_is_refused(address: tuple[str, int]) -> None:
    with _send(address, b"GET /full HTTP/1.1\r\nHost: localhost\r\n\r\n") as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 503 ")


class _Full:
    """A listener with a client, for which the process has no number left."""

    def accept(self) -> object:
        raise OSError(errno.EMFILE, "Too many open files")


def test_a_process_that_may_open_no_more_files_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    worker = _worker(monkeypatch, app=_App())
    worker.accept(cast("socket.socket", _Full()))
    assert worker.nr_conns == 0
    assert "no connection can be accepted: Too many open files" in caplog.text
    worker.tmp.close()


def test_a_worker_that_is_told_to_quit_amid_a_change_of_its_threads_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A signal's handler runs in the main thread, which may hold the pool's locks."""
    worker = _worker(monkeypatch, app=_App())
    worker.tpool = worker.get_thread_pool()

    def quit_amid_submit() -> None:
        with worker.tpool._shutdown_lock, contextlib.suppress(SystemExit):
            worker.handle_quit(2, None)

    thread = threading.Thread(target=quit_amid_submit, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not worker.alive
    worker.tpool.shutdown()
    worker.tmp.close()


def test_settings_that_the_application_cannot_work_with_end_gunicorn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = _worker(monkeypatch, app=_App(ConfigurationError("PYOCI_STORAGE is full of sand")))
    with pytest.raises(AppImportError, match=r"^Error: PYOCI_STORAGE is full of sand$"):
        worker.load_wsgi()
    worker.tmp.close()
