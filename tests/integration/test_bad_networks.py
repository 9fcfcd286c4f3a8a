"""Connections that break, stall or are very slow, on either side of the application."""

import contextlib
import socket
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import requests
from werkzeug.wrappers import Response

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import LOOPBACK, Recorder, wsgi_server
from tests.faults import Fault, faulty_server
from tests.integration.index_client import IndexClient, address
from tests.packages import make_wheel
from tests.patience import PATIENCE
from tests.relay import relay
from tests.servers import wait_until

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_SHORT = (PATIENCE, 2.0)
"""Seconds for a connection and for an answer."""
_BIG = 16_000_000
_TRICKLE = 0.02


@contextlib.contextmanager
def _trickling_server(begin: bytes) -> Iterator[str]:
    """Yield the URL of a server that sends `begin` immediately and then a byte now and then."""
    over = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(begin)
            while not over.wait(_TRICKLE):
                connection.sendall(b"x")

    with socket.create_server((LOOPBACK, 0), backlog=64) as listener:
        threads: list[threading.Thread] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threads.append(threading.Thread(target=serve, args=(listener.accept()[0],)))
                    threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            for thread in (accepting, *threads):
                thread.join()


@pytest.mark.parametrize(
    "begin",
    [
        b"HTTP/1.1 200 OK\r\nX-Slow: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 100000\r\n\r\n",
    ],
    ids=["headers", "tag list", "body of an error"],
)
def test_a_registry_that_trickles_is_given_up_within_the_deadline(
    app_server: AppServer, http: requests.Session, begin: bytes
) -> None:
    with _trickling_server(begin) as url:
        app = app_server(transport_timeouts=_SHORT)
        # The whole response would take half an hour.
        response = http.get(f"{app}/{address(url)}/team/foo/", timeout=PATIENCE)
    assert response.status_code == (502 if b"404" in begin else 504)


def test_a_blob_that_is_cut_in_the_middle_is_resumed(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    recorder = Recorder(create_registry(tmp_path / "registry"))
    wheel = make_wheel(tmp_path, "foo", "1.0", size=_BIG)
    with wsgi_server(recorder) as url, relay(urlsplit(url).port or 0, cut_after=_BIG // 2) as cut:
        app = app_server()
        IndexClient(f"{app}/{address(url)}/team", None, http).published(wheel, "foo", "1.0")
        index = IndexClient(f"{app}/{address(cut.url)}/team", None, http)
        assert index.get(f"/foo/{wheel.name}").content == wheel.read_bytes()
    assert cut.cuts == 1
    # Only the rest was sent again.
    assert cut.served < 1.4 * _BIG


def test_a_client_that_goes_away_frees_the_connection_to_the_registry(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "foo", "1.0", size=_BIG)
    with faulty_server(create_registry(tmp_path / "registry")) as server:
        index = IndexClient(f"{app_server()}/{address(server.url)}/team", None, http)
        index.published(wheel, "foo", "1.0")
        with index.get(f"/foo/{wheel.name}", stream=True) as response:
            assert response.raw.read(1000)
            before = server.open
        wait_until(lambda: server.open < before)


def test_an_upload_that_is_cut_in_the_middle_changes_nothing(
    app_server: AppServer, tmp_path: Path
) -> None:
    recorder = Recorder(create_registry(tmp_path / "registry"))
    body = b'--b\r\nContent-Disposition: form-data; name="content"; filename="foo-1.0.tar.gz"\r\n'
    with wsgi_server(recorder) as url:
        app = urlsplit(app_server())
        head = (
            f"POST /{address(url)}/team/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        )
        with socket.create_connection((LOOPBACK, app.port or 0), timeout=PATIENCE) as client:
            client.sendall(head.encode() + body)
            client.shutdown(socket.SHUT_WR)
            assert b" 400 " in client.recv(100)
    assert recorder.calls == []


def test_a_registry_that_hangs_takes_its_share_of_threads_and_gives_them_back(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    go_on = threading.Event()

    def hang(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        assert go_on.wait(PATIENCE)
        return Response("no such repository", 418)(environ, start)

    def status(url: str) -> int:
        with requests.Session() as session:
            session.trust_env = False
            return session.get(url).status_code

    with (
        wsgi_server(hang) as hanging_url,
        wsgi_server(create_registry(tmp_path / "registry")) as sound,
        ThreadPoolExecutor(6) as pool,
    ):
        # Named with their ports, they are two registries.
        app = app_server({"PYOCI_THREADS": "4", "PYOCI_REGISTRIES": f"{hanging_url},{sound}"})
        hanging = [pool.submit(status, f"{app}/{address(hanging_url)}/a/b/") for _ in range(6)]
        wait_until(lambda: sum(future.done() for future in hanging) == 4)
        # Two of them wait for the registry; it has no more of the four threads.
        assert http.get(f"{app}/health").status_code == 200
        assert http.get(f"{app}/{address(sound)}/a/b/").status_code == 404
        assert sum(future.done() for future in hanging) == 4
        go_on.set()
        assert sorted(future.result() for future in hanging) == [502] * 2 + [503] * 4
        assert status(f"{app}/{address(hanging_url)}/a/b/") == 502


def test_the_page_of_a_registry_that_hangs_does_not_hold_up_another_one(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    registry = create_registry(tmp_path / "registry")
    with (
        faulty_server(registry) as slow,
        wsgi_server(registry) as sound,
        ThreadPoolExecutor(1) as pool,
        requests.Session() as other,
    ):
        other.trust_env = False
        named = f"{slow.url},{sound}"
        app = app_server({"PYOCI_FETCH_THREADS": "1", "PYOCI_REGISTRIES": named})
        index = IndexClient(f"{app}/{address(sound)}/team", None, http)
        for version in ("1.0", "1.1", "1.2"):
            index.published(make_wheel(tmp_path, "foo", version), "foo", version)
        slow.break_call(2, Fault.HANG)
        hanging = pool.submit(other.get, f"{app}/{address(slow.url)}/team/foo/")
        wait_until(lambda: len(slow.calls) == 2)
        assert len(index.page("foo")) == 3
        assert not hanging.done()
        slow.mend()
        slow.hang_up()
        assert hanging.result().status_code == 200  # it was called again
