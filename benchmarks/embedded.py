"""Rows about the embedded registry: its first page, small uploads side by side, a download."""

import contextlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.clients import client, digests, publish
from benchmarks.filling import LayoutWriter
from benchmarks.lab import JSON, MEGABYTE, NAMESPACE, Lab, repository, say, version_numbers
from benchmarks.machine import touch_memory
from benchmarks.pages import fetching, timed
from benchmarks.results import Result, Target, interleave
from tests.ports import free_port
from tests.servers import LOOPBACK, RunningServer, nginx_site

_VERSIONS = 100
_CLIENTS = 8
_SMALL = 2000
"""Bytes of a small wheel, about."""
_INDEX = f"/embedded/{NAMESPACE}/"


@dataclass(frozen=True, slots=True)
class EmbeddedFile:
    """A wheel in a folder of the embedded registry."""

    storage: Path
    path: str
    """On a server with this folder."""
    blob: Path
    """Below the folder."""


@dataclass(frozen=True, slots=True)
class _Upload:
    wheel: Path
    project: str
    fields: dict[str, str]

    def send(self, url: str) -> None:
        publish(url, self.wheel, self.project, "1.0", self.fields)


def embedded_page(lab: Lab) -> list[Result]:
    """Measure the first page of a project, after one of a small project: all code is loaded."""
    storage = lab.folder / "embedded-pages"
    large, small = storage / repository("large"), storage / repository("small")
    LayoutWriter(large).fill("large", version_numbers(_VERSIONS))
    LayoutWriter(small).fill("small", version_numbers(1))

    def figure() -> float:
        with (
            lab.fresh(PYOCI_STORAGE=str(storage), PYOCI_MAX_VERSIONS="0") as server,
            client(server.url) as caller,
        ):
            fetching(caller, f"{_INDEX}small/", 1)
            begun = time.perf_counter()
            first = caller.get(f"{_INDEX}large/", {"Accept": JSON})
            taken = time.perf_counter() - begun
            if first.body.count(b'"filename"') < 3 * _VERSIONS:
                raise RuntimeError("not all files are on the first page")
            return taken

    figures, floors = interleave(lab.rounds(9, 2), figure, lambda: _read_layout(large))
    title = "embedded registry: first page of 100 versions x 3 files"
    read = "reading and parsing index.json and the 100 indexes that it names, in one thread"
    return [timed("embedded-page", title, figures, floors, read, "alone", Target(30.0))]


def embedded_publish(lab: Lab) -> list[Result]:
    """Measure small wheels of many projects, which clients upload side by side."""
    count = 80 if lab.quick else 300
    say(f"making {count} small wheels")
    uploads = [
        _Upload(wheel, name, digests(wheel))
        for number in range(count)
        for name in [f"small-{number}"]
        for wheel in [lab.wheel(name, "1.0", _SMALL)]
    ]
    numbers = itertools.count()

    def storage() -> Path:
        return lab.folder / f"embedded-uploads-{next(numbers)}"

    def figure() -> float:
        place = str(storage())
        with lab.fresh(PYOCI_STORAGE=place) as server:
            return _send_all(uploads, server)

    baseline = lab.baseline
    if baseline is not None:

        def floor() -> float:
            with lab.fresh_baseline(baseline, PYOCI_STORAGE=str(storage())) as server:
                return _send_all(uploads, server)

        floor_title, target = "the same with the checkout of --baseline", Target(0.5)
    else:

        def floor() -> float:
            folder = storage()
            folder.mkdir()
            return _side_by_side(uploads, lambda upload: _write(folder, upload.wheel))

        floor_title, target = "writing as many files to the disk (fsync), as many at a time", None
    figures, floors = interleave(lab.rounds(5, 1), figure, floor)
    title = f"embedded registry: publish {count} small wheels, {_CLIENTS} clients"
    row = "embedded-publish"
    return [Result(row, title, "s", figures, floors, floor_title, "ratio", target)]


def embedded_download(lab: Lab) -> list[Result]:
    """Measure a file that was sent before, against nginx, which has the same file."""
    megabytes = 20 if lab.quick else 300
    file = embedded_file(lab, megabytes)
    with (
        _nginx(lab, file.storage) as floor_url,
        lab.fresh(PYOCI_STORAGE=str(file.storage)) as server,
    ):
        with client(server.url) as caller:
            caller.get(file.path)

        def rate(url: str) -> float:
            return lab.load("downloads", url)["rate"] / MEGABYTE

        figures, floors = interleave(
            lab.rounds(9, 2),
            lambda: rate(server.url + file.path),
            lambda: rate(f"{floor_url}/{file.blob}"),
            more_is_better=True,
        )
    title = f"embedded registry: download {megabytes} MB, 1 stream, raw loopback, verified before"
    target = Target(0.7, at_least=True)
    straight = "the same file from nginx with sendfile"
    row = "embedded-download"
    return [Result(row, title, "MB/s", figures, floors, straight, "ratio", target)]


def embedded_file(lab: Lab, megabytes: int) -> EmbeddedFile:
    """Return a wheel of this many MB in an embedded registry, published by the application."""
    storage, name = lab.folder / f"embedded-{megabytes}-mb", f"file-{megabytes}"
    wheel = lab.wheel(name, "1.0", megabytes * MEGABYTE)
    fields = digests(wheel)
    if not storage.exists():
        say(f"publishing a wheel of {megabytes} MB into the embedded registry")
        touch_memory(3 * megabytes * MEGABYTE)
        with lab.fresh(PYOCI_STORAGE=str(storage)) as server:
            publish(f"{server.url}{_INDEX}", wheel, name, "1.0", fields)
    wheel.unlink()
    blob = Path(repository(name), "blobs", "sha256", fields["sha256_digest"])
    return EmbeddedFile(storage, f"{_INDEX}{name}/{wheel.name}", blob)


def _send_all(uploads: Sequence[_Upload], server: RunningServer) -> float:
    url = f"{server.url}{_INDEX}"
    with client(server.url) as caller:
        caller.get("/health")
    return _side_by_side(uploads, lambda upload: upload.send(url))


def _side_by_side(uploads: Sequence[_Upload], send: Callable[[_Upload], None]) -> float:
    begun = time.perf_counter()
    with ThreadPoolExecutor(_CLIENTS) as pool:
        for _ in pool.map(send, uploads):
            pass
    return time.perf_counter() - begun


def _write(folder: Path, wheel: Path) -> None:
    with (folder / wheel.name).open("wb") as file:
        file.write(wheel.read_bytes())
        file.flush()
        os.fsync(file)


def _read_layout(layout: Path) -> float:
    begun = time.perf_counter()
    document = json.loads((layout / "index.json").read_bytes())
    for entry in document["manifests"]:
        json.loads((layout / "blobs" / "sha256" / entry["digest"].split(":")[1]).read_bytes())
    return time.perf_counter() - begun


@contextlib.contextmanager
def _nginx(lab: Lab, root: Path) -> Iterator[str]:
    """Run nginx over a folder."""
    port = free_port()
    site = f"server {{ listen {LOOPBACK}:{port}; root {root}; sendfile on; }}\n"
    with nginx_site(lab.folder, port, site) as running:
        yield running.url
