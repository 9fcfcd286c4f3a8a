"""What deploy/pyoci-flask.service relies on, spoken by the real program."""

import re
import socket
import subprocess
import sys
from pathlib import Path

from tests.patience import PATIENCE
from tests.ports import free_port
from tests.servers import ROOT, environment


def test_the_command_of_the_service_tells_systemd_that_it_serves_and_stops_when_asked(
    tmp_path: Path,
) -> None:
    unit = (ROOT / "deploy" / "pyoci-flask.service").read_text()
    [started] = re.findall(r"(?m)^ExecStart=\S+/pyoci-flask (.+)$", unit)
    ours = tmp_path / "notify"
    settings = environment(
        tmp_path,
        {
            "NOTIFY_SOCKET": str(ours),
            "PORT": str(free_port()),
            "PYTHONPATH": str(ROOT),
            "PYOCI_SPOOL": str(tmp_path),
            "WEB_CONCURRENCY": "1",
        },
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(ours))
        systemd.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        systemd.settimeout(PATIENCE)
        program = subprocess.Popen(
            [sys.executable, "-m", "pyoci_flask", *started.split()],
            cwd=tmp_path,
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            # NotifyAccess=main, the default of Type=notify: it has to be this very process.
            said, ancillary, _, _ = systemd.recvmsg(1000, 100)
            [(_, _, credentials)] = ancillary
            assert said.splitlines()[0] == b"READY=1"
            assert int.from_bytes(credentials[:4], sys.byteorder) == program.pid
            program.terminate()
            assert program.wait(PATIENCE) == 0
        finally:
            program.kill()
            program.wait()
