#!/usr/bin/env python3
"""Run the make targets on a fresh Debian system without other packages (Debian, as root).

For each SUITE, debootstrap makes a minimal system in a temporary folder, with Python, make and what
`python3 -m venv` needs, but without a compiler. An ordinary user there has a clone of this
checkout's last commit, and runs `make run`, `make demo` and `make unit`. With --test, root then
runs `make test`, which installs Debian's packages. Debian's mirror and pip's index are those that
this machine uses.
"""

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from debian import (
    bootstrap,
    free_port,
    mirror,
    need,
    pip_options,
    run,
    say,
    step,
    wait_for,
    write_pip_config,
)

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("ca-certificates", "make", "python3", "python3-venv")
_COMPILERS = "cc", "gcc", "clang", "tcc"
_NETWORK = ("http_proxy", "https_proxy", "no_proxy")
_USER = "newcomer"
_CHECKOUT = f"/home/{_USER}/pyoci-flask"
_STOP_SECONDS = 120.0

# The mounts and processes end with the namespaces, even if this program is killed.
_APART = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
_INSIDE = """\
root=$1 user=$2 folder=$3
shift 3
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
exec chroot --userspec="$user" "$root" env --ignore-environment --chdir="$folder" "$@"
"""


def main() -> None:
    """Check each suite; the first failure ends the program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suites", nargs="+", metavar="SUITE", help="such as bookworm or trixie")
    parser.add_argument("--mirror", metavar="URL", help="Debian mirror to use instead of apt's")
    parser.add_argument(
        "--newest-pip", action="store_true", help="first upgrade the pip in the virtual environment"
    )
    parser.add_argument("--test", action="store_true", help="run `make test` as well")
    options = parser.parse_args()
    need("debootstrap", "unshare", "chroot", "git")
    site = options.mirror or mirror()[0]
    for suite in options.suites:
        with tempfile.TemporaryDirectory(prefix=f"pyoci-{suite}-") as folder:
            Path(folder).chmod(0o755)
            machine = _Machine(Path(folder))
            step(f"Make a minimal Debian {suite}")
            machine.install(suite, site)
            machine.check(newest_pip=options.newest_pip)
            if options.test:
                step(f"{suite}: make test, as root")
                machine.run("chown", "-R", "root:root", _CHECKOUT, user="root")
                machine.run("make", "test", user="root")
        say(f"\nDone: all targets work on {suite}")


class _Machine:
    """A Debian system in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def install(self, suite: str, site: str) -> None:
        """Make the system, a user, and a clone of the checkout that belongs to the user."""
        bootstrap(suite, site, _PACKAGES, self.root)
        (self.root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")
        certificates = pip_options().get("cert")
        if certificates:
            there = self.root / certificates.lstrip("/")
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(certificates, there)
        self.run("useradd", "--create-home", _USER, user="root", folder="/")
        config = self.root / "etc/pip.conf"
        write_pip_config(config)
        clone = self.root / _CHECKOUT.lstrip("/")
        run(["git", "clone", "--quiet", "--no-local", str(_ROOT), str(clone)])
        self.run("chown", "-R", f"{_USER}:{_USER}", _CHECKOUT, "/etc/pip.conf", user="root")

    def check(self, *, newest_pip: bool) -> None:
        """Run the targets that need no compiler."""
        if any(
            (self.root / folder / c).exists() for folder in ("bin", "usr/bin") for c in _COMPILERS
        ):
            sys.exit("This system has a compiler")
        self.run("make", "--silent", ".venv/bin/python")
        if newest_pip:
            self.run(".venv/bin/python", "-m", "pip", "install", "--quiet", "--upgrade", "pip")
        self.run(".venv/bin/python", "--version")
        self.run(".venv/bin/python", "-m", "pip", "--version")
        step("make run")
        with self._serving() as port:
            step("make demo, with that server and with its own")
            self.run("make", "demo", f"PORT={port}")
        self.run("make", "demo", f"PORT={free_port()}")
        step("make unit")
        self.run("make", "unit")

    def run(self, *command: str, user: str = _USER, folder: str = _CHECKOUT) -> None:
        """Run a command to its end; a failure ends the program."""
        say(f"{user}$ {shlex.join(command)}")
        run(self._command(command, user, folder))

    @contextlib.contextmanager
    def _serving(self) -> Iterator[int]:
        port = free_port()
        command = self._command(["make", "run", f"PORT={port}"], _USER, _CHECKOUT)
        with subprocess.Popen(command, start_new_session=True) as server:  # noqa: S603 -- ours
            try:
                wait_for(port, server)
                yield port
                os.killpg(server.pid, signal.SIGINT)  # as Ctrl-C does
                server.wait(_STOP_SECONDS)
            finally:
                server.kill()

    def _command(self, command: Sequence[str], user: str, folder: str) -> list[str]:
        home = "/root" if user == "root" else f"/home/{user}"
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        values = {"HOME": home, "PATH": path, "USER": user, "LANG": "C.UTF-8"}
        values |= {k: v for k, v in os.environ.items() if k.lower() in _NETWORK}
        inside = ["bash", "-euc", _INSIDE, "inside", str(self.root), user, folder]
        return [*_APART, *inside, *(f"{k}={v}" for k, v in values.items()), *command]


if __name__ == "__main__":
    main()
