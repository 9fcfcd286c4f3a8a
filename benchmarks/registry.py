"""The registry behind everything that is measured: Debian's docker-registry (distribution 2.8)."""

import contextlib
import http.client
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import answers, running
from tests.ports import free_port
from tests.registries import write_htpasswd
from tests.servers import LOOPBACK, wait_until

_SERVER = "pyoci-flask/"
"""How the User-Agent of the application's calls begins."""


@dataclass(frozen=True, slots=True)
class LoggedCall:
    """A call of the application, as the registry's own log shows it."""

    method: str
    path: str
    status: int


@dataclass(slots=True)
class CallCount:
    """The application's calls within a `Registry.counting` block; filled at its end."""

    calls: tuple[LoggedCall, ...] = ()

    def __len__(self) -> int:
        return len(self.calls)


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry that listens on all addresses of this machine."""

    port: int
    log: Path
    users: tuple[tuple[str, str], ...] = ()
    """Names and passwords of its users; empty: everyone may use it."""

    @property
    def url(self) -> str:
        """Its address on the loopback interface."""
        return f"http://{LOOPBACK}:{self.port}"

    @contextlib.contextmanager
    def counting(self) -> Iterator[CallCount]:
        """Count the calls that the application makes while the block runs."""
        begun = self._position("begin")
        count = CallCount()
        yield count
        ended = self._position("end")
        lines = self._written(begun)[: ended - begun].splitlines()
        count.calls = tuple(call for line in lines if (call := _call(line)) is not None)

    def wait_until_quiet(self, seconds: float = 0.5) -> None:
        """Wait until no call has ended for this long."""
        size, since = -1, time.monotonic()

        def quiet() -> bool:
            nonlocal size, since
            if (now := self.log.stat().st_size) != size:
                size, since = now, time.monotonic()
            return time.monotonic() - since >= seconds

        wait_until(quiet)

    def _position(self, name: str) -> int:
        """Return a length of the log that includes the lines of all calls that are over now.

        Lines are written in the order in which calls end, so a known call marks the place.
        """
        size = self.log.stat().st_size
        mark = f"benchmark-{name}-{size}".encode()
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/v2/", headers={"User-Agent": mark.decode()})
            connection.getresponse().read()
        wait_until(lambda: mark in self._written(size))
        return size + self._written(size).rindex(mark)

    def _written(self, since: int) -> bytes:
        with self.log.open("rb") as file:
            file.seek(since)
            return file.read()


@contextlib.contextmanager
def docker_registry(folder: Path, *, users: tuple[tuple[str, str], ...] = ()) -> Iterator[Registry]:
    """Run it until the block ends, set up as Debian ships it: descriptors cached in memory."""
    program = shutil.which("docker-registry")
    if program is None:
        raise FileNotFoundError("docker-registry is needed: install the Debian package")
    folder.mkdir()
    port = free_port()
    config: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "info", "formatter": "json", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "storage")},
            "cache": {"blobdescriptor": "inmemory"},
        },
        "http": {"addr": f":{port}"},
    }
    if users:
        write_htpasswd(folder / "htpasswd", list(users))
        config["auth"] = {"htpasswd": {"realm": "benchmark", "path": str(folder / "htpasswd")}}
    file = folder / "config.yml"
    file.write_text(json.dumps(config))  # JSON is YAML
    log = folder / "log"
    with running([program, "serve", str(file)], log, lambda: answers(port, "/v2/")):
        yield Registry(port, log, users)


def _call(line: bytes) -> LoggedCall | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None  # the line that a mark was found in
    if not str(entry.get("http.request.useragent", "")).startswith(_SERVER):
        return None
    if not str(entry.get("msg", "")).startswith("response completed"):
        return None
    return LoggedCall(
        str(entry["http.request.method"]),
        str(entry["http.request.uri"]),
        int(entry["http.response.status"]),
    )
