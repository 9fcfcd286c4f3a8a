"""The start of a server with a version of a package that lacks what the program overrides."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.ports import free_port
from tests.servers import ROOT, environment, gunicorn_command

_SHIM = """\
import importlib

owner = importlib.import_module({module!r})
{classes}
del owner.{name}
"""


@pytest.mark.parametrize(
    "command", ["gunicorn", pytest.param("serve", marks=pytest.mark.acceptance)]
)
@pytest.mark.parametrize(
    ("module", "path", "package"),
    [
        ("gunicorn.workers.gthread", "ThreadWorker._cap_keepalive", "gunicorn 27."),
        ("gunicorn.workers.gthread", "ThreadWorker.on_client_socket_readable", "gunicorn 27."),
        ("gunicorn.workers.gthread", "TConn.init", "gunicorn 27."),
        ("gunicorn.arbiter", "Arbiter.START_CTX", "gunicorn 27."),
        ("urllib3.connection", "HTTPConnection._new_conn", "urllib3 2."),
        ("concurrent.futures", "ThreadPoolExecutor._adjust_thread_count", "Python 3."),
    ],
)
def test_a_missing_part_ends_the_start_with_one_line(
    tmp_path: Path, module: str, path: str, package: str, command: str
) -> None:
    *classes, name = path.split(".")
    steps = "".join(f"owner = owner.{each}\n" for each in classes)
    shim = _SHIM.format(module=module, classes=steps, name=name)
    (tmp_path / "sitecustomize.py").write_text(shim)
    serve = [sys.executable, "-m", "pyoci_flask", "serve"]
    done = subprocess.run(
        serve if command == "serve" else gunicorn_command(),
        cwd=ROOT,
        env=environment(tmp_path, {"PYTHONPATH": str(tmp_path), "PORT": str(free_port())}),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        text=True,
    )
    assert done.returncode == 1
    [line] = (done.stdout + done.stderr).splitlines()
    assert line.startswith(f"Error: {package}")
    assert f" has no {path}, which " in line
