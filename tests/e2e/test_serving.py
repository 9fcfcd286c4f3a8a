"""How the server handles clients that stall, and how it stops."""

import contextlib
import hashlib
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.packages import make_wheel
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.servers import (
    LOOPBACK,
    ROOT,
    RunningServer,
    environment,
    gunicorn,
    wait_until,
)

_THREADS = 8
_CLIENT_TIMEOUT = 2
_BIG = 64_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One worker with few threads and short time-outs."""
    tmp = tmp_path_factory.mktemp("serving")
    settings = {
        "PYOCI_STORAGE": str(tmp / "storage"),
        "PYOCI_THREADS": str(_THREADS),
        "PYOCI_CLIENT_TIMEOUT": str(_CLIENT_TIMEOUT),
        "PYOCI_MAX_BODY": str(2 * _BIG),
    }
    with gunicorn(tmp, settings) as running:
        yield running


@pytest.fixture(scope="module")
def big_wheel(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published wheel that is larger than what the kernel buffers for a connection."""
    wheel = make_wheel(tmp_path_factory.mktemp("big"), "big", "1.0", size=_BIG)
    published = _publish(server, wheel)
    assert published.status_code == 200, published.text
    return wheel


def _publish(server: RunningServer, wheel: Path) -> requests.Response:
    name, version = wheel.name.split("-")[:2]
    form = {":action": "file_upload", "protocol_version": "1", "name": name, "version": version}
    with requests.Session() as session, wheel.open("rb") as content:
        session.trust_env = False
        return session.post(f"{server.url}/simple/", data=form, files={"content": content})


def _connect(server: RunningServer, sent: bytes) -> socket.socket:
    connection = socket.socket()
    # Small, so that an unread response soon stops the server from sending.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    connection.settimeout(PATIENCE)
    connection.connect((LOOPBACK, server.port))
    connection.sendall(sent)
    return connection


def _accepts(server: RunningServer) -> bool:
    try:
        socket.create_connection((LOOPBACK, server.port), timeout=PATIENCE).close()
    except ConnectionError:
        return False
    return True


def _healthy(server: RunningServer) -> bool:
    probe = http.client.HTTPConnection(LOOPBACK, server.port, timeout=PATIENCE)
    with contextlib.closing(probe):
        probe.request("GET", "/health")
        return probe.getresponse().status == 200


@contextlib.contextmanager
def _stalling_clients(server: RunningServer, sent: bytes) -> Iterator[list[socket.socket]]:
    """As many clients as the server has threads, each silent after it has sent `sent`."""
    with contextlib.ExitStack() as opened:
        yield [opened.enter_context(_connect(server, sent)) for _ in range(_THREADS)]


_UPLOAD = (
    b"POST /simple/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    b'--b\r\nContent-Disposition: form-data; name="content"; filename="a-1.tar.gz"\r\n\r\nabc'
)


def test_clients_that_stall_in_an_upload_give_up_their_threads(server: RunningServer) -> None:
    with _stalling_clients(server, _UPLOAD) as clients:
        assert _healthy(server)
        for client in clients:
            assert client.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_clients_that_trickle_an_upload_give_up_their_threads(server: RunningServer) -> None:
    with _stalling_clients(server, _UPLOAD) as clients:
        waiting, deadline = set(clients), time.monotonic() + PATIENCE
        while waiting and time.monotonic() < deadline:
            for answered in select.select(waiting, [], [], 0.2)[0]:
                assert answered.recv(65536).startswith(b"HTTP/1.1 408 ")
                waiting.remove(answered)
            for client in waiting:
                with contextlib.suppress(OSError):  # was just reset
                    client.send(b"x")
        assert not waiting
        assert _healthy(server)


def test_clients_that_stall_in_their_headers_give_up_their_threads(server: RunningServer) -> None:
    with _stalling_clients(server, b"GET /simple/a/ HTTP/1.1\r\nHost: loc") as clients:
        assert _healthy(server)
        assert [client.recv(1) for client in clients] == [b""] * _THREADS


def test_clients_that_send_nothing_take_no_thread(tmp_path: Path) -> None:
    settings = {"PYOCI_THREADS": str(_THREADS), "PYOCI_CLIENT_TIMEOUT": str(int(2 * PATIENCE))}
    with gunicorn(tmp_path, settings) as server, _stalling_clients(server, b""):
        assert _healthy(server)


def test_clients_that_send_nothing_are_given_up(server: RunningServer) -> None:
    with _connect(server, b"") as client:
        assert client.recv(1) == b""


def test_headers_that_never_end_are_cut_off(server: RunningServer) -> None:
    with _stalling_clients(server, b"GET / HTTP/1.1\r\n") as clients:
        deadline = time.monotonic() + PATIENCE
        open_ones = list(clients)
        while open_ones and time.monotonic() < deadline:
            for client in list(open_ones):
                try:
                    client.sendall(b"X: y\r\n")
                except OSError:
                    open_ones.remove(client)
            time.sleep(0.1)
        assert not open_ones
        assert _healthy(server)


def test_clients_that_do_not_read_their_answer_give_up_their_threads(
    server: RunningServer, big_wheel: Path
) -> None:
    download = f"GET /simple/big/{big_wheel.name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with _stalling_clients(server, download) as clients:
        assert _healthy(server)
        wait_until(lambda: all(_was_reset(client) for client in clients))


def _was_reset(client: socket.socket) -> bool:
    """Ask the kernel, because reading what has arrived would let the transfer go on."""
    poller = select.poll()
    poller.register(client, 0)
    return any(events & select.POLLERR for _, events in poller.poll(0))


def test_a_client_that_reads_slowly_but_steadily_gets_all(
    server: RunningServer, big_wheel: Path
) -> None:
    # Longer than the time-out in total, but never idle for that long.
    download = f"GET /simple/big/{big_wheel.name} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()
    with _connect(server, download) as client, client.makefile("rb") as answer:
        while answer.readline().strip():
            pass
        digest, pause = hashlib.sha256(), 2.0 * _CLIENT_TIMEOUT / 16
        for _ in range(16):
            digest.update(answer.read(_BIG // 64))
            time.sleep(pause)
        while chunk := answer.read(1 << 20):
            digest.update(chunk)
    assert digest.hexdigest() == hashlib.sha256(big_wheel.read_bytes()).hexdigest()


def test_a_client_whose_upload_is_refused_can_go_on_to_send_it_and_then_read_why(
    server: RunningServer,
) -> None:
    size = 2 * _BIG + 1
    headers = (
        f"POST /simple/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    )
    with _connect(server, headers.encode()) as client:
        client.sendall(bytes(size))
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_connections_are_kept_alive(server: RunningServer) -> None:
    with contextlib.closing(http.client.HTTPConnection(LOOPBACK, server.port)) as client:
        client.connect()
        first = client.sock
        for _ in range(3):
            client.request("GET", "/health")
            client.getresponse().read()
            assert client.sock is first


def test_header_fields_of_nearly_32_kib_are_taken(server: RunningServer) -> None:
    for size, status in [(32_000, 200), (40_000, 431)]:
        with contextlib.closing(http.client.HTTPConnection(LOOPBACK, server.port)) as client:
            client.request("GET", "/health", headers={"Authorization": f"Bearer {'x' * size}"})
            assert client.getresponse().status == status


def test_the_image_s_health_check_asks_the_server(server: RunningServer, tmp_path: Path) -> None:
    [written] = re.findall(r"HEALTHCHECK .*\\\n\s*CMD (\[.*\])", (ROOT / "Dockerfile").read_text())
    command = json.loads(written)
    command[0] = sys.executable
    for port, healthy in [(server.port, True), (free_port(), False)]:
        done = subprocess.run(
            command,
            env=environment(tmp_path, {"PORT": str(port), "http_proxy": "http://127.0.0.1:1"}),
            capture_output=True,
            check=False,
        )
        assert (done.returncode == 0) is healthy


def test_a_download_under_way_is_finished_before_the_server_stops(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "big", "1.0", size=_BIG)
    storage = {"PYOCI_STORAGE": str(tmp_path / "storage"), "PYOCI_MAX_BODY": str(2 * _BIG)}
    with gunicorn(tmp_path, storage) as server:
        assert _publish(server, wheel).status_code == 200
        download = f"GET /simple/big/{wheel.name} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()
        with _connect(server, download) as client, client.makefile("rb") as answer:
            while answer.readline().strip():
                pass
            digest = hashlib.sha256(answer.read(1_000_000))
            server.process.terminate()
            wait_until(lambda: "Handling signal: term" in server.logged())
            # A proxy in front should try another server, and not wait for this one.
            wait_until(lambda: not _accepts(server))
            while chunk := answer.read(1 << 20):
                digest.update(chunk)
        assert digest.hexdigest() == hashlib.sha256(wheel.read_bytes()).hexdigest()
        assert server.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("one", [signal.SIGHUP, signal.SIGUSR2])
def test_a_signal_for_the_master_does_not_stop_a_worker(
    server: RunningServer, one: signal.Signals
) -> None:
    before = server.workers
    for worker in before:
        os.kill(worker, one)
    assert _healthy(server)
    assert server.workers == before


def test_clients_that_are_silent_or_kept_alive_do_not_delay_a_stop(tmp_path: Path) -> None:
    with (
        gunicorn(tmp_path) as server,
        _connect(server, b"") as silent,
        _connect(server, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n") as kept,
    ):
        assert kept.recv(65536).startswith(b"HTTP/1.1 200 ")
        server.process.terminate()
        assert server.process.wait(PATIENCE) == 0
        assert silent.recv(1) == b""
