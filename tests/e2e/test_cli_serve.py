"""`pyoci-flask serve` from a wheel in its own environment, and errors that prevent its start."""

import os
import re
import select
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.patience import PATIENCE
from tests.ports import free_port
from tests.public_index import public_index, reaching_it
from tests.servers import LOOPBACK, ROOT, environment, wait_until


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program as `pip install` installs it; dependencies are those of this environment."""
    tmp = tmp_path_factory.mktemp("wheel")
    uv = [sys.executable, "-m", "uv", "--quiet"]
    env = {**os.environ, **reaching_it(), "UV_DEFAULT_INDEX": public_index()}
    dist, venv = tmp / "dist", tmp / "venv"

    def run(*command: str | Path) -> None:
        subprocess.run([*uv, *map(str, command)], cwd=ROOT, env=env, check=True, timeout=PATIENCE)

    run("build", "--wheel", "--out-dir", dist, ROOT)
    run("venv", "--python", sys.executable, venv)
    [wheel] = dist.glob("*.whl")
    run("pip", "install", "--python", venv, "--no-deps", "--offline", wheel)
    [packages] = venv.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return venv / "bin" / "pyoci-flask"


@contextmanager
def _serving(
    script: Path, cwd: Path, *options: str, environ: dict[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    log = cwd / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [script, "serve", *options],
            cwd=cwd,
            env=environment(cwd, {"WEB_CONCURRENCY": "1", **(environ or {})}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process, log
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def _healthy(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=PATIENCE).ok
    except requests.ConnectionError:
        return False


def test_a_wheel_and_one_command_serve_an_index(script: Path, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    options = ["--port", str(port), "--storage", str(tmp_path / "packages")]
    with _serving(script, tmp_path, *options) as (process, log):
        wait_until(lambda: process.poll() is not None or _healthy(url))
        assert process.poll() is None, log.read_text()
        page = requests.get(f"{url}/", headers={"Accept": "text/html"}, timeout=PATIENCE)
        assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        listed = requests.get(f"{url}/simple/", headers={"Accept": "text/html"}, timeout=PATIENCE)
        assert "<title>" in listed.text
        # The shipped settings apply: the worker is ours, and storage without users is not public.
        assert (
            "Using worker: pyoci_flask.server.worker.ClientTimeoutThreadWorker" in log.read_text()
        )
        [where] = re.findall(r"Listening at: (\S+)", log.read_text())
        hosts = {re.sub(r":\d+$", "", one) for one in where.split(",")}
        assert hosts <= {"http://127.0.0.1", "http://[::1]"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert "Traceback" not in log.read_text()


def test_it_serves_an_index_elsewhere_on_the_address_that_is_asked_for(
    script: Path, tmp_path: Path
) -> None:
    socket = tmp_path / "socket"
    options = ["--bind", f"unix:{socket}", "--bind", f"{LOOPBACK}:0", "--index", "ghcr.io/acme"]
    # The option overrides the variable.
    environ = {"WEB_CONCURRENCY": "", "PYOCI_BIND": f"unix:{tmp_path}/unused"}
    with _serving(script, tmp_path, *options, environ=environ) as (process, log):
        wait_until(lambda: process.poll() is not None or "Booting worker" in log.read_text())
        assert process.poll() is None, log.read_text()
        assert f"Listening at: unix:{socket},http://{LOOPBACK}:" in log.read_text()
        assert "unused" not in log.read_text()


def test_a_server_hands_over_to_a_new_one_without_closing_its_port(
    script: Path, tmp_path: Path
) -> None:
    """gunicorn's way to upgrade: USR2 starts a new master, and TERM stops the old one."""
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    options = ["--port", str(port), "--storage", str(tmp_path / "packages")]
    with _serving(script, tmp_path, *options) as (process, log):
        wait_until(lambda: process.poll() is not None or _healthy(url))
        process.send_signal(signal.SIGUSR2)
        wait_until(lambda: log.read_text().count("Booting worker") == 2)
        masters = [int(pid) for pid in re.findall(r"\[(\d+)\] \[INFO\] Listening", log.read_text())]
        assert masters[0] == process.pid
        new = os.pidfd_open(masters[1])
        try:
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
            assert _healthy(url)
        finally:
            signal.pidfd_send_signal(new, signal.SIGTERM)
            assert select.select([new], [], [], 20)[0]
            os.close(new)
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(
    ("options", "environ", "error"),
    [
        (["--port", "http"], {}, "PORT must be 1 to 65535, not 'http'"),
        (["--index", "nowhere"], {}, "PYOCI_INDEX must be a registry and a namespace"),
        ([], {"PYOCI_MAX_BODY": "50 MB"}, "PYOCI_MAX_BODY must be a whole number"),
        ([], {"WEB_CONCURRENCY": "two"}, "WEB_CONCURRENCY must be 1 to 1024, not 'two'"),
        (["--storage", "here", "--bind", "0.0.0.0:0"], {}, "PYOCI_STORAGE without PYOCI_STORAGE"),
        (["--storage", "a"], {"PYOCI_BIND": "0.0.0.0"}, "PYOCI_STORAGE without PYOCI_STORAGE"),
        ([], {"PYOCI_BIND": "8080"}, "PYOCI_BIND must be an IP address"),
        ([], {"PYOCI_BIND": "unix:/no/such/folder/socket"}, "PYOCI_BIND must name a socket in an"),
    ],
)
def test_a_setting_that_cannot_be_used_is_one_line(
    script: Path, tmp_path: Path, options: list[str], environ: dict[str, str], error: str
) -> None:
    with _serving(script, tmp_path, *options, environ=environ) as (process, log):
        assert process.wait(PATIENCE) == 1
    lines = [line for line in log.read_text().splitlines() if "[INFO]" not in line]
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"Error: {error}")


def test_the_module_runs_from_a_checkout_as_well() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pyoci_flask", "--version"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    assert re.fullmatch(r"pyoci-flask, version \d+\.\d+\.\d+\n", done.stdout)
