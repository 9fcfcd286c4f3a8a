"""The application under gunicorn and nginx in front of it, as processes on free loopback ports."""

import contextlib
import http.client
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tests.patience import PATIENCE
from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers at `url`, without a slash at its end."""

    url: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    certificate: Path | None = None
    """The certificate of an https server, which is self-signed."""

    @property
    def workers(self) -> list[int]:
        """Return the process ids of its workers."""
        master = self.process.pid
        return [
            int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()
        ]

    def logged(self) -> str:
        """Return what it has written so far."""
        return self.log.read_text(errors="replace")


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a new user on a new machine, without the developer's settings."""
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONWARNINGS": "default",
        **(extra or {}),
    }


def gunicorn_command(*options: str, app: str = "wsgi:app") -> list[str]:
    """Return the command of the Procfile."""
    return [sys.executable, "-m", "gunicorn", app, *options]


@contextlib.contextmanager
def gunicorn(
    tmp: Path,
    environ: Mapping[str, str] | None = None,
    *options: str,
    faults: str = "Traceback",
    ready: Callable[[], bool] | None = None,
    open_files: tuple[int, int] | None = None,
    app: str = "wsgi:app",
) -> Iterator[RunningServer]:
    """Run the application on a free port until the block ends, then stop it gracefully.

    `environ` adds to the settings, `options` to gunicorn's command line. Its log must not match the
    regular expression `faults`. `ready` says when it has started, in place of a response at its
    port. `open_files`: its soft and hard limit.
    """
    port = free_port()
    log = tmp / f"gunicorn-{port}.log"
    settings = environment(tmp, {"PORT": str(port), "WEB_CONCURRENCY": "1", **(environ or {})})
    command = gunicorn_command(*options, app=app)
    if open_files is not None:
        soft, hard = open_files
        command = ["sh", "-c", f'ulimit -Sn {soft}; ulimit -Hn {hard}; exec "$@"', "sh", *command]
    with _process(command, settings, log) as process:
        wait_until(lambda: _running(process, log) and (ready or (lambda: _answers(port)))())
        yield RunningServer(f"http://{LOOPBACK}:{port}", port, process, log)
    found = re.findall(faults, log.read_text(errors="replace"))
    assert not found, log.read_text(errors="replace")


@contextlib.contextmanager
def nginx(tmp: Path, backend: RunningServer, *, location: str = "/") -> Iterator[RunningServer]:
    """Run Debian's nginx with deploy/nginx.conf in front of `backend`.

    Only the ports, the names of the certificate's files and, if another is wanted, the path of the
    location are replaced in that file.
    """
    port = free_port()
    certificate, key = self_signed(tmp)
    shipped = (ROOT / "deploy" / "nginx.conf").read_text()
    site = _replaced(
        shipped,
        {
            "127.0.0.1:8080": f"{LOOPBACK}:{backend.port}",
            "listen 443 ssl;": f"listen {LOOPBACK}:{port} ssl;",
            "listen [::]:443 ssl;": "",
            "/etc/ssl/certs/packages.example.com.pem": str(certificate),
            "/etc/ssl/private/packages.example.com.key": str(key),
            "location / {": f"location {location} {{",
        },
    )
    with nginx_site(tmp, port, site) as running:
        yield replace(running, url=f"https://{LOOPBACK}:{port}", certificate=certificate)


@contextlib.contextmanager
def nginx_site(tmp: Path, port: int, site: str) -> Iterator[RunningServer]:
    """Run Debian's nginx with the server blocks `site`, which listen on `port`."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if program is None:
        raise FileNotFoundError("nginx is needed by the tests: install the Debian package nginx")
    folder = tmp / "nginx"
    folder.mkdir()
    paths = "".join(
        f"    {kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    # As root, it would otherwise become a user who cannot read the tests' folders.
    user = pwd.getpwuid(os.getuid()).pw_name
    config.write_text(
        f"user {user};\npid {folder}/pid;\nworker_rlimit_nofile 8192;\n"
        f"events {{ worker_connections 4096; }}\n"
        f"http {{\n    access_log off;\n{paths}{site}}}\n"
    )
    log = folder / "log"
    command = [program, "-c", str(config), "-p", str(folder), "-g", "daemon off;", "-e", "stderr"]
    with _process(command, environment(tmp), log) as process:
        wait_until(lambda: _running(process, log) and _listens(port))
        yield RunningServer(f"http://{LOOPBACK}:{port}", port, process, log)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subject = ["-subj", "/CN=test", "-addext", f"subjectAltName=IP:{LOOPBACK}"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        ["openssl", "req", "-x509", *kind, *subject, *files], check=True, capture_output=True
    )
    return certificate, key


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Ask until the condition is true; raise an error if that takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"still false after {seconds} seconds: {condition}")
        time.sleep(0.02)


@contextlib.contextmanager
def _process(
    command: list[str], environ: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        except BaseException:
            sys.stderr.write(log.read_text(errors="replace")[-6000:])
            raise
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


def _answers(port: int) -> bool:
    with contextlib.closing(http.client.HTTPConnection(LOOPBACK, port, timeout=PATIENCE)) as probe:
        try:
            probe.request("GET", "/health")
            return probe.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=PATIENCE).close()
    except OSError:
        return False
    return True


def _running(process: subprocess.Popen[bytes], log: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"the server ended; it logged:\n{log.read_text(errors='replace')}")
    return True


def _replaced(text: str, replacements: Mapping[str, str]) -> str:
    for old, new in replacements.items():
        assert old in text, old
        text = text.replace(old, new)
    return text
