"""Debian systems made by debootstrap, and the commands of the scripts that use them."""

import http.client
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

_PIP_OPTIONS = frozenset({"index-url", "extra-index-url", "trusted-host", "cert", "proxy"})
_SCRIPTS = Path("/usr/share/debootstrap/scripts")
_START_SECONDS = 120.0


def mirror() -> tuple[str, str]:
    """Return the URL of the mirror that apt uses here, and the name of this machine's release."""
    listed = ["--format", "$(SITE) $(CODENAME)", "Created-By: Packages", "Origin: Debian"]
    site, codename = output(["apt-get", "indextargets", *listed]).split()[:2]
    return site, codename


def bootstrap(suite: str, site: str, packages: Sequence[str], root: Path) -> None:
    """Make a minimal Debian system with `packages` in `root`; this needs the user root.

    An older debootstrap does not know the newest suites; they are made like `sid`.
    """
    script = [] if (_SCRIPTS / suite).exists() else [str(_SCRIPTS / "sid")]
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}"]
    # Its own mount namespace removes all its mounts when it ends, even if it fails.
    run(["unshare", "--mount", *command, suite, str(root), site, *script], quiet=True)


def pip_options() -> dict[str, str]:
    """Return this machine's pip options for its index; later lines take precedence, as in pip."""
    listed = output([sys.executable, "-m", "pip", "config", "list"])
    found = re.findall(r"^\S*?\.([a-z-]+)='(.*)'$", listed, re.MULTILINE)
    return {name: value for name, value in found if name in _PIP_OPTIONS}


def write_pip_config(file: Path) -> None:
    """Write these options to a pip configuration that only root can read (for any password)."""
    lines = "".join(f"{name} = {value}\n" for name, value in pip_options().items())
    file.touch(mode=0o600)
    file.write_text(f"[global]\n{lines}")


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until a server on this machine is healthy."""
    deadline = time.monotonic() + _START_SECONDS
    while get(port, "/health") != http.client.OK:
        if server.poll() is not None or time.monotonic() > deadline:
            sys.exit("The server did not start")
        time.sleep(0.1)


def get(port: int, path: str) -> int | None:
    """Return the status that a server on this machine returns, or None without a response."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None


def free_port() -> int:
    """Return a free port of the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def need(*programs: str) -> None:
    """End the program if one of Debian's `programs`, or the user root, is missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        packages = f"apt-get install {' '.join(missing)}" if missing else "be root"
        sys.exit(f"This needs Debian's {', '.join(programs)}, and root: {packages}")


def run(command: Sequence[str], *, quiet: bool = False) -> None:
    """Run a command; a failure ends the program."""
    stdout = subprocess.DEVNULL if quiet else None
    done = subprocess.run(command, stdout=stdout, check=False)  # noqa: S603 -- put together here
    if done.returncode:
        sys.exit(f"{shlex.join(command)}: status {done.returncode}")


def output(command: Sequence[str]) -> str:
    """Run a command and return what it wrote; a failure ends the program."""
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False, text=True)  # noqa: S603 - commands of this script
    if done.returncode:
        sys.exit(f"{shlex.join(command)}: status {done.returncode}")
    return done.stdout


def step(text: str) -> None:
    """Print the title of a step."""
    say(f"\n==> {text}")


def say(text: str) -> None:
    """Print a line and flush it."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
