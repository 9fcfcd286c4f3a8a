"""What the rows share: the registry and what is in it, servers, the relay, the link."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from benchmarks.calls import RunningRelay, relay
from benchmarks.clients import digests, publish
from benchmarks.filling import RegistryWriter
from benchmarks.link import Link, shaped_link
from benchmarks.processes import begin, module_command, result
from benchmarks.registry import Registry, docker_registry
from tests.packages import make_wheel
from tests.servers import RunningServer, gunicorn

NAMESPACE = "bench"
JSON = "application/vnd.pypi.simple.v1+json"
WARM_TTL = 3600
"""Seconds for which listings are kept where a row is about those that are."""
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A wheel that is in the registry."""

    project: str
    filename: str
    blob: str
    """The path of its bytes in the registry."""


@dataclass
class Lab:
    """One run; everything in it is made when a row first asks for it and stopped at the end."""

    folder: Path
    delay: float
    """Seconds of a round trip over the slow link."""
    quick: bool
    workers: int
    """Of each server, unless a row is about one."""
    stack: ExitStack
    _servers: dict[tuple[str, ...], RunningServer] = field(default_factory=dict)
    _filled: dict[int, str] = field(default_factory=dict)
    _files: dict[int, StoredFile] = field(default_factory=dict)

    @cached_property
    def registry(self) -> Registry:
        """The registry that asks for no credentials."""
        return self.stack.enter_context(docker_registry(self.folder / "registry"))

    @cached_property
    def far(self) -> RunningRelay:
        """The same registry over the slow link."""
        return self.stack.enter_context(
            relay(self.folder, self.registry.port, delay=self.delay, logged=True)
        )

    @cached_property
    def link(self) -> Link:
        """The link of 1 Gbit/s from the clients to the server that is warm, and to the registry."""
        return self.stack.enter_context(
            shaped_link(self.folder, self.warm.port, self.registry.port)
        )

    @property
    def warm(self) -> RunningServer:
        """A server that keeps listings, and lists all versions."""
        return self.server(PYOCI_CACHE_TTL=str(WARM_TTL), PYOCI_MAX_VERSIONS="0")

    @property
    def cold(self) -> RunningServer:
        """A server that keeps no listings, and lists all versions."""
        return self.server(PYOCI_CACHE_TTL="0", PYOCI_MAX_VERSIONS="0")

    def server(self, **environ: str) -> RunningServer:
        """A server with these settings, the same one each time."""
        key = tuple(f"{name}={value}" for name, value in sorted(environ.items()))
        if key not in self._servers:
            self._servers[key] = self.stack.enter_context(self.fresh(**environ))
        return self._servers[key]

    @contextlib.contextmanager
    def fresh(self, **environ: str) -> Iterator[RunningServer]:
        """A server of its own for the time of the block."""
        settings = {
            "PYOCI_SPOOL": str(self.folder),
            "PYOCI_MAX_BODY": "4000000000",
            "WEB_CONCURRENCY": str(self.workers),
            **environ,
        }
        with gunicorn(self.folder, settings) as server:
            yield server

    def project(self, versions: int) -> str:
        """A project of so many versions of three files, in the registry."""
        if versions not in self._filled:
            name = f"pages-{versions}"
            say(f"filling the registry: {versions} versions of three files")
            writer = RegistryWriter(self.registry.url, repository(name))
            writer.fill(name, version_numbers(versions))
            self._filled[versions] = name
        return self._filled[versions]

    def wheel(self, name: str, version: str, size: int) -> Path:
        """A wheel of about so many bytes."""
        made = make_wheel(self.folder, name, version, requires_python=">=3.11", size=size)
        with made.open("rb") as file:
            os.fsync(file)  # or the disk would be busy with it while something is measured
        return made

    def stored_file(self, megabytes: int) -> StoredFile:
        """A wheel of so many MB in the registry, published by the application."""
        if megabytes not in self._files:
            say(f"publishing a wheel of {megabytes} MB")
            name = f"file-{megabytes}"
            wheel = self.wheel(name, "1.0", megabytes * MEGABYTE)
            fields = digests(wheel)
            publish(self.index(self.warm), wheel, name, "1.0", fields)
            wheel.unlink()
            blob = f"/v2/{repository(name)}/blobs/sha256:{fields['sha256_digest']}"
            self._files[megabytes] = StoredFile(name, wheel.name, blob)
        return self._files[megabytes]

    def index(self, server: RunningServer, registry: str | None = None) -> str:
        """The index URL of a server, for the registry at another URL than its own if given."""
        return f"{server.url}{index_path(registry or self.registry.url)}"

    def rounds(self, full: int, quick: int) -> int:
        """How often to measure."""
        return quick if self.quick else full

    def load(self, *arguments: str, over: Link | None = None) -> dict[str, float]:
        """Run clients in a process of their own, over the link or on this machine."""
        log = self.folder / f"load-{time.monotonic_ns()}.log"
        prefix = over.prefix if over else ()
        found = result(begin([*prefix, *module_command("load", *arguments)], log), log)
        return {str(name): float(value) for name, value in found.items()}


def version_numbers(count: int) -> list[str]:
    """The versions of a project that has so many; their tags are spelled the same."""
    return [f"1.{number}" for number in range(count)]


def repository(project: str) -> str:
    """The repository that holds a project."""
    return f"{NAMESPACE}/{project.replace('-', '_')}"


def index_path(registry: str) -> str:
    """The path of the index in the registry at this URL."""
    return f"/{quote(registry, safe='')}/{NAMESPACE}/"


def say(text: str) -> None:
    """Tell what is going on, beside the table."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
