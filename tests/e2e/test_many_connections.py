"""More clients than the server can have open files."""

import contextlib
import http.client
import re
import socket
from pathlib import Path

from tests.patience import PATIENCE
from tests.servers import LOOPBACK, RunningServer, gunicorn, wait_until

_FEW = {"PYOCI_THREADS": "8", "PYOCI_FETCH_THREADS": "8"}


def _open_files(worker: int) -> int:
    return len(list(Path(f"/proc/{worker}/fd").iterdir()))


def _limit(worker: int) -> int:
    [soft] = re.findall(
        r"^Max open files +([0-9]+)", Path(f"/proc/{worker}/limits").read_text(), re.MULTILINE
    )
    return int(soft)


def _connect(server: RunningServer) -> socket.socket:
    return socket.create_connection((LOOPBACK, server.port), timeout=PATIENCE)


def test_idle_clients_beyond_the_limit_do_not_end_a_worker(tmp_path: Path) -> None:
    with (
        gunicorn(tmp_path, _FEW, open_files=(256, 256)) as server,
        contextlib.ExitStack() as opened,
    ):
        [worker] = server.workers
        clients = [opened.enter_context(_connect(server)) for _ in range(300)]
        wait_until(lambda: _open_files(worker) >= 128)
        first = http.client.HTTPConnection(LOOPBACK, server.port)
        first.sock = clients[0]
        first.request("GET", "/health")
        assert first.getresponse().status == 200
        opened.close()
        with contextlib.closing(http.client.HTTPConnection(LOOPBACK, server.port)) as later:
            later.request("GET", "/health")
            assert later.getresponse().status == 200
        assert server.workers == [worker]
        assert "may have 256 files open: each worker takes 128 connections" in server.logged()


def test_a_low_soft_limit_is_raised(tmp_path: Path) -> None:
    with gunicorn(tmp_path, _FEW, open_files=(256, 2048)) as server:
        assert [_limit(worker) for worker in server.workers] == [2048]
        assert "files open" not in server.logged()
