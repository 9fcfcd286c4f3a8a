"""What the rows share: the registry and its content, servers, the relay, the link."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from urllib.parse import quote

from benchmarks.calls import RunningRelay, relay
from benchmarks.clients import digests, publish
from benchmarks.filling import RegistryWriter
from benchmarks.link import Link, shaped_link
from benchmarks.processes import answers, begin, inherited, module_command, result, running
from benchmarks.registry import Registry, docker_registry
from tests.packages import make_wheel
from tests.ports import free_port
from tests.servers import LOOPBACK, RunningServer, gunicorn, gunicorn_command

NAMESPACE = "bench"
JSON = "application/vnd.pypi.simple.v1+json"
WARM_TTL = 3600
"""Seconds for which listings are cached in rows about cached listings."""
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A wheel that is in the registry."""

    project: str
    filename: str
    blob: str
    """The path of its bytes in the registry."""
    size: int


@dataclass
class Lab:
    """One run; everything in it is created when a row first asks for it, and stopped at the end."""

    folder: Path
    delay: float
    """Seconds of a round trip over the slow link."""
    quick: bool
    workers: int
    """Of each server, unless a row is about one."""
    stack: ExitStack
    baseline: Path | None = None
    """A checkout of another commit, for rows that compare with it."""
    _servers: dict[tuple[str, ...], RunningServer] = field(default_factory=dict)
    _filled: dict[tuple[int, bool], str] = field(default_factory=dict)
    _files: dict[int, StoredFile] = field(default_factory=dict)

    @cached_property
    def registry(self) -> Registry:
        """Return the registry that asks for no credentials."""
        return self.stack.enter_context(docker_registry(self.folder / "registry"))

    @cached_property
    def far(self) -> RunningRelay:
        """Return the same registry over the slow link."""
        return self.stack.enter_context(
            relay(self.folder, self.registry.port, delay=self.delay, logged=True)
        )

    @cached_property
    def link(self) -> Link:
        """Return the link of 1 Gbit/s from the clients to the warm server, and to the registry."""
        return self.stack.enter_context(
            shaped_link(self.folder, self.warm.port, self.registry.port)
        )

    @property
    def warm(self) -> RunningServer:
        """Return a server that caches listings, and lists all versions."""
        return self.server(PYOCI_CACHE_TTL=str(WARM_TTL), PYOCI_MAX_VERSIONS="0")

    @property
    def cold(self) -> RunningServer:
        """Return a server that caches no listings, and lists all versions."""
        return self.server(PYOCI_CACHE_TTL="0", PYOCI_MAX_VERSIONS="0")

    def server(self, **environ: str) -> RunningServer:
        """Return a server with these settings, the same one each time."""
        key = tuple(f"{name}={value}" for name, value in sorted(environ.items()))
        if key not in self._servers:
            self._servers[key] = self.stack.enter_context(self.fresh(**environ))
        return self._servers[key]

    @contextlib.contextmanager
    def fresh(self, **environ: str) -> Iterator[RunningServer]:
        """Run a separate server for the time of the block."""
        with gunicorn(self.folder, self._settings(environ)) as server:
            yield server

    @contextlib.contextmanager
    def fresh_baseline(self, folder: Path, **environ: str) -> Iterator[RunningServer]:
        """Run a separate server from the checkout `folder`, with the interpreter of this one."""
        port = free_port()
        settings = self._settings(environ) | {"PORT": str(port), "PYTHONPATH": str(folder)}
        log = self.folder / f"gunicorn-{port}.log"
        answering = partial(answers, port, "/health")
        with running(gunicorn_command(), log, answering, settings, cwd=folder) as process:
            yield RunningServer(f"http://{LOOPBACK}:{port}", port, process, log)

    def _settings(self, environ: Mapping[str, str]) -> dict[str, str]:
        return {
            "PYOCI_SPOOL": str(self.folder),
            "PYOCI_MAX_BODY": "4000000000",
            "WEB_CONCURRENCY": str(self.workers),
            **inherited(),
            **environ,
        }

    def project(self, versions: int, *, old: bool = False) -> str:
        """Return a project with this number of versions of three files, in the registry.

        They were published now, or, if they are to be `old`, days ago.
        """
        if (versions, old) not in self._filled:
            name = f"{'old' if old else 'pages'}-{versions}"
            say(f"filling the registry: {versions} versions of three files")
            writer = RegistryWriter(self.registry.url, repository(name))
            writer.fill(name, version_numbers(versions), days_ago() if old else None)
            self._filled[versions, old] = name
        return self._filled[versions, old]

    def wheel(self, name: str, version: str, size: int) -> Path:
        """Return a wheel of about this size."""
        made = make_wheel(self.folder, name, version, requires_python=">=3.11", size=size)
        with made.open("rb") as file:
            os.fsync(file)  # otherwise the disk would be busy with it during a measurement
        return made

    def stored_file(self, megabytes: int) -> StoredFile:
        """Return a wheel of this many MB in the registry, published by the application."""
        if megabytes not in self._files:
            say(f"publishing a wheel of {megabytes} MB")
            name = f"file-{megabytes}"
            wheel = self.wheel(name, "1.0", megabytes * MEGABYTE)
            fields = digests(wheel)
            publish(self.index(self.warm), wheel, name, "1.0", fields)
            size = wheel.stat().st_size
            wheel.unlink()
            blob = f"/v2/{repository(name)}/blobs/sha256:{fields['sha256_digest']}"
            self._files[megabytes] = StoredFile(name, wheel.name, blob, size)
        return self._files[megabytes]

    def index(self, server: RunningServer, registry: str | None = None) -> str:
        """Return the index URL of a server, for the registry at another URL if one is given."""
        return f"{server.url}{index_path(registry or self.registry.url)}"

    def rounds(self, full: int, quick: int) -> int:
        """Return how often to measure."""
        return quick if self.quick else full

    def load(self, *arguments: str, over: Link | None = None) -> dict[str, float]:
        """Run clients in a separate process, over the link or on this machine."""
        log = self.folder / f"load-{time.monotonic_ns()}.log"
        prefix = over.prefix if over else ()
        found = result(begin([*prefix, *module_command("load", *arguments)], log), log)
        return {str(name): float(value) for name, value in found.items()}


def version_numbers(count: int) -> list[str]:
    """Return the versions of a project that has this many; their tags are spelled the same."""
    return [f"1.{number}" for number in range(count)]


def days_ago() -> datetime:
    """Return when old versions were published."""
    return datetime.now(UTC) - timedelta(days=30)


def repository(project: str) -> str:
    """Return the repository that holds a project."""
    return f"{NAMESPACE}/{project.replace('-', '_')}"


def index_path(registry: str) -> str:
    """Return the path of the index in the registry at this URL."""
    return f"/{quote(registry, safe='')}/{NAMESPACE}/"


def say(text: str) -> None:
    """Print progress to standard error, so that it stays out of the table."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
