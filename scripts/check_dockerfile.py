#!/usr/bin/env python3
"""Builds the Dockerfile and runs what came of it, without a container engine (Debian, as root).

buildah carries out every step. The base image is a stand-in: Debian with its own python3, made here
by debootstrap and given the name that the Dockerfile asks for. So this shows that each step runs,
and that the image serves as its user on a root that cannot be written; how it does on the real
base image, it does not show.
"""

import contextlib
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
_WORK = _ROOT / ".tools" / "image"
_IMAGE = "localhost/pyoci-flask:check"
_BUILDAH = ["buildah", "--root", str(_WORK / "storage"), "--runroot", str(_WORK / "run")]
_BUILDAH += ["--storage-driver", "vfs"]
_PIP_OPTIONS = frozenset({"index-url", "extra-index-url", "trusted-host", "cert", "proxy"})
_START_SECONDS = 30.0
_STOP_SECONDS = 30.0

# What a container engine does to a read-only container, with a disk at /tmp.
_INSIDE = """\
mount --bind "$ROOT" "$ROOT"
mount --rbind /dev "$ROOT/dev"
mount -t proc proc "$ROOT/proc"
mount --bind "$SPOOL" "$ROOT/tmp"
mount -o remount,bind,ro "$ROOT"
exec chroot --userspec="$IMAGE_USER" "$ROOT" env --ignore-environment --chdir="$FOLDER" "$@"
"""


def main() -> None:
    """Build, run and look; the first thing that is not as it should be ends the program."""
    _need("buildah", "debootstrap", "unshare", "chroot")
    _WORK.mkdir(parents=True, exist_ok=True)
    _base_image()
    _step("Build the Dockerfile")
    _build()
    try:
        config = _config()
        _step(f"Run it as {config['User']} on a read-only root")
        if not re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", config["User"]):
            sys.exit("The image's user must be a number, and not root")
        with _container() as root, tempfile.TemporaryDirectory() as spool:
            Path(spool).chmod(0o1777)
            _try_out(_Container(Path(root), Path(spool), config))
    finally:
        _run([*_BUILDAH, "rmi", _IMAGE], quiet=True)
    _say("\nDone: every step ran, and the image serves, publishes and stops as it should")


class _Container:
    """The image's files, to run programs on as a container engine would."""

    def __init__(self, root: Path, spool: Path, config: Mapping[str, Any]) -> None:
        self.config = config
        self._environ = {
            **os.environ,
            "ROOT": str(root),
            "SPOOL": str(spool),
            "IMAGE_USER": config["User"],
            "FOLDER": config["WorkingDir"],
        }

    def command(self, program: Sequence[str], settings: Mapping[str, str]) -> list[str]:
        """Put together how to run a program with the image's environment and `settings`."""
        values = [*self.config["Env"], *(f"{name}={value}" for name, value in settings.items())]
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child=SIGTERM"]
        return [*apart, "bash", "-euc", _INSIDE, "inside", *values, *program]

    def start(self, program: Sequence[str], settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start a program."""
        command = self.command(program, settings)
        return subprocess.Popen(command, env=self._environ)  # noqa: S603 -- the image's own

    def succeeds(self, program: Sequence[str], settings: Mapping[str, str]) -> bool:
        """Run a program to its end."""
        command = self.command(program, settings)
        done = subprocess.run(command, env=self._environ, check=False)  # noqa: S603 -- as above
        return done.returncode == 0


def _try_out(container: _Container) -> None:
    port = _free_port()
    storage = "/tmp/storage"  # noqa: S108 -- the image's own, nobody else's
    settings = {"PORT": str(port), "PYOCI_STORAGE": storage, "LOG_LEVEL": "warning"}
    server = container.start(container.config["Cmd"], settings)
    try:
        _wait_for(port, server)
        _step("Ask its HEALTHCHECK, and for a page")
        kind, *health = container.config["Healthcheck"]["Test"]
        if kind != "CMD" or not container.succeeds(health, settings):
            sys.exit("The HEALTHCHECK fails on a healthy server")
        if container.succeeds(health, {**settings, "PORT": "1"}):
            sys.exit("The HEALTHCHECK succeeds where there is no server")
        if _get(port, "/") != http.client.OK:
            sys.exit("The first page is missing")
        if container.succeeds(["touch", "/app/written"], {}):
            sys.exit("The image's user can write its root")
        _step("Publish and install a package through it")
        demo = [sys.executable, str(_ROOT / "scripts" / "demo.py")]
        subprocess.run(demo, env={**os.environ, "PORT": str(port)}, check=True)  # noqa: S603 -- ours
        _step("Stop it")
        _signal_inside(server)
        if server.wait(_STOP_SECONDS):
            sys.exit(f"It ended with status {server.returncode}")
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def _signal_inside(server: subprocess.Popen[bytes]) -> None:
    """Ask the image's process to stop, as an engine does; unshare ends with its status."""
    [child] = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGTERM)


def _base_image() -> None:
    """Make the stand-in under the name of the Dockerfile's base, unless it is there."""
    [name] = set(re.findall(r"^FROM (\S+)", (_ROOT / "Dockerfile").read_text(), re.MULTILINE))
    image = f"docker.io/library/{name}"
    if image in _output([*_BUILDAH, "images", "--format", "{{.Name}}:{{.Tag}}"]).splitlines():
        return
    _step(f"Make a stand-in for {name} of Debian's packages")
    site, codename = _output(
        ["apt-get", "indextargets", "--format", "$(SITE) $(CODENAME)", "Created-By: Packages"]
    ).split()[:2]
    with tempfile.TemporaryDirectory(dir=_WORK) as folder:
        packages = "--include=python3,python3-venv,ca-certificates"
        _run(["debootstrap", "--variant=minbase", packages, codename, folder, site], quiet=True)
        Path(folder, "usr/bin/python").symlink_to("python3")
        shutil.rmtree(Path(folder, "var/cache/apt"))
        shutil.rmtree(Path(folder, "var/lib/apt/lists"))
        empty = _output([*_BUILDAH, "from", "scratch"]).strip()
        _run([*_BUILDAH, "copy", "--quiet", empty, folder, "/"], quiet=True)
        path = "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        _run([*_BUILDAH, "config", "--env", path, empty])
        _run([*_BUILDAH, "commit", "--quiet", "--rm", empty, image], quiet=True)


def _build() -> None:
    """Carry out the Dockerfile; pip inside asks the index that pip asks here."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pip.conf")
        options = _pip_options()
        lines = "".join(f"{name} = {value}\n" for name, value in options.items())
        file.touch(mode=0o600)  # the address of an index may hold a password
        file.write_text(f"[global]\n{lines}")
        mounted = {
            str(file): "/etc/pip.conf",
            **{options[k]: options[k] for k in {"cert"} & options.keys()},
        }
        volumes = [
            part for here, there in mounted.items() for part in ("--volume", f"{here}:{there}:ro")
        ]
        how = ["--format", "docker", "--isolation", "chroot", "--pull=never"]
        _run([*_BUILDAH, "build", *how, *volumes, "--tag", _IMAGE, str(_ROOT)])


def _pip_options() -> dict[str, str]:
    """What this machine has told pip about its index; later lines win, as with pip."""
    listed = _output([sys.executable, "-m", "pip", "config", "list"])
    found = re.findall(r"^\S*?\.([a-z-]+)='(.*)'$", listed, re.MULTILINE)
    return {name: value for name, value in found if name in _PIP_OPTIONS}


def _config() -> Mapping[str, Any]:
    described = json.loads(_output([*_BUILDAH, "inspect", "--type", "image", _IMAGE]))
    config: Mapping[str, Any] = described["Docker"]["config"]
    return config


@contextlib.contextmanager
def _container() -> Iterator[str]:
    name = _output([*_BUILDAH, "from", "--pull=never", _IMAGE]).strip()
    try:
        yield _output([*_BUILDAH, "mount", name]).strip()
    finally:
        _run([*_BUILDAH, "rm", name], quiet=True)


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while _get(port, "/health") != http.client.OK:
        if server.poll() is not None or time.monotonic() > deadline:
            sys.exit("The server did not start")
        time.sleep(0.1)


def _get(port: int, path: str) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection):
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _need(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        packages = f"apt-get install {' '.join(missing)}" if missing else "be root"
        sys.exit(f"This needs Debian's {', '.join(programs)}, and root: {packages}")


def _run(command: Sequence[str], *, quiet: bool = False) -> None:
    output = subprocess.DEVNULL if quiet else None
    done = subprocess.run(command, stdout=output, check=False)  # noqa: S603 -- put together here
    if done.returncode:
        sys.exit(f"{shlex.join(command)}: status {done.returncode}")


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False, text=True)  # noqa: S603
    if done.returncode:
        sys.exit(f"{shlex.join(command)}: status {done.returncode}")
    return done.stdout


def _step(text: str) -> None:
    _say(f"\n==> {text}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
