"""What deploy/pyoci-flask.service relies on, tested with the real program."""

import contextlib
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import requests

from tests.patience import PATIENCE
from tests.ports import free_port
from tests.servers import ROOT, environment, wait_until

UNIT = (ROOT / "deploy" / "pyoci-flask.service").read_text()


@contextlib.contextmanager
def _service(tmp_path: Path, more: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start what the unit starts, with its environment; `more` are lines of its settings file."""
    [started] = re.findall(r"(?m)^ExecStart=\S+/pyoci-flask (.+)$", UNIT)
    (tmp_path / "pyoci-flask").mkdir()
    shipped = dict(re.findall(r"(?m)^Environment=(\w+)=(.*)$", UNIT.replace("%C", str(tmp_path))))
    program = subprocess.Popen(
        [sys.executable, "-m", "pyoci_flask", *started.split()],
        cwd=tmp_path,
        env=environment(
            tmp_path, {"PYTHONPATH": str(ROOT), "WEB_CONCURRENCY": "1", **shipped, **more}
        ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        umask=int(re.findall(r"(?m)^UMask=(.*)$", UNIT)[0], 8),
    )
    try:
        yield program
    finally:
        program.kill()
        program.wait()


def test_the_command_of_the_service_tells_systemd_that_it_serves_and_stops_when_asked(
    tmp_path: Path,
) -> None:
    ours = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(ours))
        systemd.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        systemd.settimeout(PATIENCE)
        settings = {"NOTIFY_SOCKET": str(ours), "PORT": str(free_port())}
        with _service(tmp_path, settings) as program:
            # NotifyAccess=main, the default of Type=notify: this very process has to send it.
            said, ancillary, _, _ = systemd.recvmsg(1000, 100)
            [(_, _, credentials)] = ancillary
            assert said.splitlines()[0] == b"READY=1"
            assert int.from_bytes(credentials[:4], sys.byteorder) == program.pid
            program.terminate()
            assert program.wait(PATIENCE) == 0


def test_the_service_answers_only_the_nginx_of_its_machine(tmp_path: Path) -> None:
    port = free_port()
    [backend] = re.findall(r"server ([0-9.]+):8080;", (ROOT / "deploy" / "nginx.conf").read_text())
    with _service(tmp_path, {"PORT": str(port)}):
        wait_until(lambda: _answers(backend, port))
        refused = ["127.0.0.2", "::1", *_own_addresses()]
        assert [address for address in refused if _answers(address, port)] == []


def test_the_service_listens_on_a_socket_that_other_users_of_the_machine_may_open(
    tmp_path: Path,
) -> None:
    path = tmp_path / "socket"
    with _service(tmp_path, {"PYOCI_BIND": f"unix:{path}"}):
        wait_until(path.is_socket)
        # nginx is another user; the folder decides who else has access.
        assert path.stat().st_mode & 0o777 == 0o777


def _own_addresses() -> list[str]:
    """The machine's own address in its network, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return []
        return [probe.getsockname()[0]]


def _answers(address: str, port: int) -> bool:
    host = f"[{address}]" if ":" in address else address
    try:
        return requests.get(f"http://{host}:{port}/health", timeout=PATIENCE).ok
    except requests.ConnectionError:
        return False
