#!/usr/bin/env python3
"""Build a small package, publish it with twine, install it with pip and import it.

This uses the server on http://localhost:$PORT if one is running there. Otherwise, it starts its own
server with temporary storage on a free port.
"""

import contextlib
import http.client
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_NAME = "pyoci-demo"
_START_SECONDS = 30.0

_PYPROJECT = """\
[build-system]
requires = ["flit_core>=3.11"]
build-backend = "flit_core.buildapi"

[project]
name = "{name}"
version = "{version}"
description = "A package that was published to an OCI registry"
requires-python = ">=3.11"
"""

_MODULE = '''\
"""A package that was published to an OCI registry."""


def greeting() -> str:
    return "Hello from {name} {version}"
'''


def main() -> None:
    """Run the steps; the first that fails ends the program with its output."""
    with tempfile.TemporaryDirectory(prefix="pyoci-demo-") as folder, _server(Path(folder)) as url:
        index = f"{url}/simple/"
        version = f"1.0.{time.time_ns() // 1_000_000}"
        package = Path(folder, "package")
        _step(f"Build {_NAME} {version}")
        _write_package(package, version)
        _run([sys.executable, "-m", "build", "--outdir", str(package / "dist"), str(package)])

        _step(f"Publish it to {index}")
        # The server needs no password, but twine would ask for one without these.
        no_credentials = {"TWINE_USERNAME": "", "TWINE_PASSWORD": ""}
        files = sorted(str(path) for path in (package / "dist").iterdir())
        upload = [sys.executable, "-m", "twine", "upload", "--disable-progress-bar"]
        _run([*upload, "--repository-url", index, *files], no_credentials)

        _step("Install it into a new environment")
        environment = Path(folder, "environment")
        venv.create(environment, with_pip=True)
        python = str(environment / "bin" / "python")
        install = [python, "-m", "pip", "install", "--no-cache-dir", "--index-url", index]
        # Ignore this machine's own pip settings: use only the index that is named here.
        alone = {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        _run([*install, f"{_NAME}=={version}"], alone, without="PIP_")

        _step("Import it")
        _run([python, "-c", "import pyoci_demo; print(pyoci_demo.greeting())"])
        _say(f"\nDone: {_NAME} {version} was published to and installed from {index}")


def _write_package(folder: Path, version: str) -> None:
    folder.mkdir()
    values = {"name": _NAME, "version": version}
    (folder / "pyproject.toml").write_text(_PYPROJECT.format(**values))
    (folder / "pyoci_demo.py").write_text(_MODULE.format(**values))


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[str]:
    port = int(os.environ.get("PORT") or 8080)
    if _is_healthy(port):
        _step(f"Use the server at http://localhost:{port}")
        yield f"http://localhost:{port}"
        return
    port = _free_port()
    _step(f"Start a server at http://localhost:{port}")
    log = folder / "server.log"
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYOCI_")}
    environ |= {"PORT": str(port), "PYOCI_STORAGE": str(folder / "storage")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "wsgi:app"],
            cwd=_ROOT,
            env=environ,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not _is_healthy(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"The server did not start:\n{log.read_text()}")
                time.sleep(0.1)
            yield f"http://localhost:{port}"
        finally:
            process.terminate()
            process.wait()


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("localhost", port, timeout=5)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _step(text: str) -> None:
    _say(f"\n==> {text}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _run(
    command: Sequence[str], extra: Mapping[str, str] | None = None, *, without: str | None = None
) -> None:
    shown = " ".join(f"{key}={shlex.quote(value)}" for key, value in (extra or {}).items())
    _say(f"{shown} {shlex.join(command)}".strip())
    environ = {k: v for k, v in os.environ.items() if without is None or not k.startswith(without)}
    done = subprocess.run(command, env=environ | dict(extra or {}), check=False)  # noqa: S603 -- shown
    if done.returncode:
        sys.exit(f"The step failed with status {done.returncode}")


if __name__ == "__main__":
    main()
