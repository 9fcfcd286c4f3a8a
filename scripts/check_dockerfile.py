#!/usr/bin/env python3
"""Build the Dockerfile and run the result, without a container engine (Debian, as root).

buildah runs every step. The base image is a stand-in: Debian with its own python3, made here by
debootstrap and given the name that the Dockerfile asks for. So this shows that each step runs, and
that the image works as its user on a read-only root. It does not show how the image works on the
real base image.
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from debian import (
    bootstrap,
    free_port,
    get,
    mirror,
    need,
    output,
    pip_options,
    run,
    say,
    step,
    wait_for,
    write_pip_config,
)

_ROOT = Path(__file__).resolve().parent.parent
_WORK = _ROOT / ".tools" / "image"
_IMAGE = "localhost/pyoci-flask:check"
_BUILDAH = ["buildah", "--root", str(_WORK / "storage"), "--runroot", str(_WORK / "run")]
_BUILDAH += ["--storage-driver", "vfs"]
_STOP_SECONDS = 120.0

# Do what a container engine does for a read-only container with a disk at /tmp.
_INSIDE = """\
mount --bind "$ROOT" "$ROOT"
mount --rbind /dev "$ROOT/dev"
mount -t proc proc "$ROOT/proc"
mount --bind "$SPOOL" "$ROOT/tmp"
mount -o remount,bind,ro "$ROOT"
exec chroot --userspec="$IMAGE_USER" "$ROOT" env --ignore-environment --chdir="$FOLDER" "$@"
"""


def main() -> None:
    """Build, run and check; the first failure ends the program."""
    need("buildah", "debootstrap", "unshare", "chroot")
    _WORK.mkdir(parents=True, exist_ok=True)
    _base_image()
    step("Build the Dockerfile")
    _build()
    try:
        config = _config()
        step(f"Run it as {config['User']} on a read-only root")
        if not re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", config["User"]):
            sys.exit("The image's user must be a number, and not root")
        with _container() as root, tempfile.TemporaryDirectory() as spool:
            Path(spool).chmod(0o1777)
            _try_out(_Container(Path(root), Path(spool), config))
    finally:
        run([*_BUILDAH, "rmi", _IMAGE], quiet=True)
    say("\nDone: every step ran, and the image serves, publishes and stops correctly")


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
        """Return the command that runs a program with the image's environment and `settings`."""
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
    port = free_port()
    storage = "/tmp/storage"  # noqa: S108 -- a folder of the image, not shared
    settings = {"PORT": str(port), "PYOCI_STORAGE": storage, "LOG_LEVEL": "warning"}
    server = container.start(container.config["Cmd"], settings)
    try:
        wait_for(port, server)
        step("Run its HEALTHCHECK, and get a page")
        kind, *health = container.config["Healthcheck"]["Test"]
        if kind != "CMD" or not container.succeeds(health, settings):
            sys.exit("The HEALTHCHECK fails on a healthy server")
        if container.succeeds(health, {**settings, "PORT": "1"}):
            sys.exit("The HEALTHCHECK succeeds without a server")
        if get(port, "/") != http.client.OK:
            sys.exit("The first page is missing")
        if container.succeeds(["touch", "/app/written"], {}):
            sys.exit("The image's user can write to its root file system")
        step("Publish and install a package through it")
        demo = [sys.executable, str(_ROOT / "scripts" / "demo.py")]
        subprocess.run(demo, env={**os.environ, "PORT": str(port)}, check=True)  # noqa: S603 -- ours
        step("Stop it")
        _signal_inside(server)
        if server.wait(_STOP_SECONDS):
            sys.exit(f"The server ended with status {server.returncode}")
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def _signal_inside(server: subprocess.Popen[bytes]) -> None:
    """Ask the image's process to stop, as an engine does; unshare ends with its status."""
    [child] = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGTERM)


def _base_image() -> None:
    """Make the stand-in under the name of the Dockerfile's base image, unless it exists."""
    [name] = set(re.findall(r"^FROM (\S+)", (_ROOT / "Dockerfile").read_text(), re.MULTILINE))
    image = f"docker.io/library/{name}"
    if image in output([*_BUILDAH, "images", "--format", "{{.Name}}:{{.Tag}}"]).splitlines():
        return
    step(f"Make a stand-in for {name} from Debian's packages")
    site, codename = mirror()
    with tempfile.TemporaryDirectory(dir=_WORK) as folder:
        bootstrap(codename, site, ["python3", "python3-venv", "ca-certificates"], Path(folder))
        Path(folder, "usr/bin/python").symlink_to("python3")
        shutil.rmtree(Path(folder, "var/cache/apt"))
        shutil.rmtree(Path(folder, "var/lib/apt/lists"))
        empty = output([*_BUILDAH, "from", "scratch"]).strip()
        run([*_BUILDAH, "copy", "--quiet", empty, folder, "/"], quiet=True)
        path = "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        run([*_BUILDAH, "config", "--env", path, empty])
        run([*_BUILDAH, "commit", "--quiet", "--rm", empty, image], quiet=True)


def _build() -> None:
    """Run the steps of the Dockerfile; pip inside uses the same index as pip here."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pip.conf")
        options = pip_options()
        write_pip_config(file)
        mounted = {
            str(file): "/etc/pip.conf",
            **{options[k]: options[k] for k in {"cert"} & options.keys()},
        }
        volumes = [
            part for here, there in mounted.items() for part in ("--volume", f"{here}:{there}:ro")
        ]
        how = ["--format", "docker", "--isolation", "chroot", "--pull=never"]
        run([*_BUILDAH, "build", *how, *volumes, "--tag", _IMAGE, str(_ROOT)])


def _config() -> Mapping[str, Any]:
    described = json.loads(output([*_BUILDAH, "inspect", "--type", "image", _IMAGE]))
    config: Mapping[str, Any] = described["Docker"]["config"]
    return config


@contextlib.contextmanager
def _container() -> Iterator[str]:
    name = output([*_BUILDAH, "from", "--pull=never", _IMAGE]).strip()
    try:
        yield output([*_BUILDAH, "mount", name]).strip()
    finally:
        run([*_BUILDAH, "rm", name], quiet=True)


if __name__ == "__main__":
    main()
