"""Real OCI registries on free ports of the loopback interface, each with its own storage.

Each context manager waits until the registry answers, stops it at the end, and prints its log if
the block or the start failed.
"""

import contextlib
import http.client
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlsplit

import bcrypt

from pyoci_flask.registry import create_registry
from tests.client_tools import client_tool
from tests.doubles import LOOPBACK, wsgi_server
from tests.patience import PATIENCE
from tests.ports import free_port

IN_PROCESS = "embedded-in-process"
"""Kind of the embedded registry inside the application."""

_STARTS = 3
_LOG_TAIL = 6000


@dataclass(frozen=True, slots=True)
class RunningRegistry:
    """A registry that answers at `url` (scheme, host and port).

    `username` and `password` may read, write and, with `can_delete`, delete; None if the registry
    asks for no credentials. `log` is the file that its process writes to, `storage` the folder of
    the embedded registry.
    """

    url: str
    netloc: str
    username: str | None
    password: str | None
    can_delete: bool
    kind: str
    log: Path | None = None
    storage: Path | None = None

    @property
    def address(self) -> str:
        """Return the registry as the first path segment of an index URL."""
        return "embedded" if self.kind == IN_PROCESS else quote(self.url, safe="")

    @property
    def auth(self) -> tuple[str, str] | None:
        """Return the credentials in the form for `requests`."""
        if self.username is None or self.password is None:
            return None
        return self.username, self.password


@contextlib.contextmanager
def docker_registry(
    tmp: Path,
    *,
    htpasswd: tuple[str, str] | None = None,
    delete: bool = True,
    remembers: bool = False,
) -> Iterator[RunningRegistry]:
    """Run Debian's docker-registry (distribution 2.8).

    `htpasswd`: its only user and the password; it then challenges with Basic. `remembers`: it
    caches facts about blobs in memory, as in its shipped configuration.
    """
    program = _program("docker-registry", "the Debian package docker-registry")
    root = tmp / "docker-registry"
    root.mkdir()
    users = root / "htpasswd"
    if htpasswd is not None:
        write_htpasswd(users, [htpasswd])

    def command(port: int) -> list[str]:
        config: dict[str, object] = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(root / "storage")},
                "delete": {"enabled": delete},
                **({"cache": {"blobdescriptor": "inmemory"}} if remembers else {}),
            },
            "http": {"addr": f"{LOOPBACK}:{port}"},
        }
        if htpasswd is not None:
            config["auth"] = {"htpasswd": {"realm": "test registry", "path": str(users)}}
        file = root / "config.yml"
        file.write_text(json.dumps(config))  # JSON is YAML
        return [program, "serve", str(file)]

    username, password = htpasswd or (None, None)
    kind = "docker-registry" if htpasswd is None else "docker-registry-htpasswd"
    with _process(command, root / "log") as netloc:
        yield RunningRegistry(
            f"http://{netloc}", netloc, username, password, delete, kind, root / "log"
        )


@contextlib.contextmanager
def zuul_registry(tmp: Path, *, anonymous_read: bool = False) -> Iterator[RunningRegistry]:
    """Run zuul-registry: Bearer tokens, unknown names list as empty, no Range, no delete.

    `anonymous_read`: everyone gets tokens to pull.
    """
    program = client_tool("zuul-registry")
    root = tmp / "zuul-registry"
    root.mkdir()
    username, password = "writer", "write-password"
    users = [{"name": username, "pass": password, "access": "write"}]
    if not anonymous_read:
        # It asks readers for credentials only if there is a user who may only read.
        users.append({"name": "reader", "pass": "read-password", "access": "read"})

    def command(port: int) -> list[str]:
        config = {
            "address": LOOPBACK,
            "port": port,
            "public-url": f"http://{LOOPBACK}:{port}",
            "secret": "unused by the program",
            "users": users,
            "storage": {"driver": "filesystem", "root": str(root / "storage")},
        }
        file = root / "registry.yaml"
        file.write_text(json.dumps({"registry": config}))
        return [str(program), "-c", str(file)]

    with _process(command, root / "log") as netloc:
        yield RunningRegistry(
            f"http://{netloc}", netloc, username, password, False, "zuul-registry", root / "log"
        )


@contextlib.contextmanager
def embedded_registry(
    tmp: Path, *, users: tuple[str, str] | None = None
) -> Iterator[RunningRegistry]:
    """Serve the embedded registry on a socket; `users`: its only user and the password."""
    root = tmp / "embedded-registry"
    storage = root / "storage"
    storage.mkdir(parents=True)
    file = None
    if users is not None:
        file = root / "htpasswd"
        write_htpasswd(file, [users])
    username, password = users or (None, None)
    with wsgi_server(create_registry(storage, file)) as url:
        netloc = urlsplit(url).netloc
        yield RunningRegistry(
            url, netloc, username, password, True, "embedded-registry", storage=storage
        )


def write_htpasswd(file: Path, users: list[tuple[str, str]]) -> None:
    """Write an htpasswd file of bcrypt hashes, as cheap to check as the format allows."""
    hashed = (
        (name, bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode())
        for name, password in users
    )
    file.write_text("".join(f"{name}:{password}\n" for name, password in hashed))


def log_tail(registry: RunningRegistry) -> str:
    """Return the end of the log of the registry's process; empty if it has none."""
    return "" if registry.log is None else registry.log.read_text(errors="replace")[-_LOG_TAIL:]


def _program(name: str, origin: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is needed by the tests: install {origin}")
    return found


@contextlib.contextmanager
def _process(command: Callable[[int], list[str]], log: Path) -> Iterator[str]:
    """Run a registry; yield its `host:port`."""
    with log.open("wb") as output:
        process, netloc = _started(command, output, log)
        try:
            yield netloc
        except BaseException:
            sys.stderr.write(log.read_text(errors="replace")[-_LOG_TAIL:])
            raise
        finally:
            _stop(process)


def _started(
    command: Callable[[int], list[str]], output: IO[bytes], log: Path
) -> tuple[subprocess.Popen[bytes], str]:
    # A free port may be taken by the time the process binds it, so start more than once.
    for _ in range(_STARTS):
        port = free_port()
        process = subprocess.Popen(
            command(port), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            if _answers(process, port):
                return process, f"{LOOPBACK}:{port}"
        except BaseException:
            _stop(process)
            raise
        _stop(process)
    raise RuntimeError(f"the registry did not start; it logged:\n{log.read_text(errors='replace')}")


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the registry answers; return False if it ended or took too long."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.closing(
            http.client.HTTPConnection(LOOPBACK, port, timeout=PATIENCE)
        ) as probe:
            try:
                probe.request("GET", "/v2/")
                if probe.getresponse().status in {200, 401}:
                    return True
            except (OSError, http.client.HTTPException):
                pass
        time.sleep(0.05)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
