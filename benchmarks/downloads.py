"""Rows about downloads: over a link, over the loopback interface, and time to the first byte."""

from benchmarks.clients import client
from benchmarks.lab import MEGABYTE, Lab, StoredFile, index_path
from benchmarks.link import Link
from benchmarks.machine import hashing_seconds
from benchmarks.processes import processor_seconds
from benchmarks.results import Result, Series, Target, interleave

_STREAMS = (1, 8)


def download_link(lab: Lab) -> list[Result]:
    """Measure over 1 Gbit/s; registry and server are connected over the loopback interface."""
    note = f"the link is {lab.link.description}, between the client and the server"
    return [
        _download(lab, streams, "download-link", lab.link, Target(0.95, at_least=True), note)
        for streams in _STREAMS
    ]


def download_loopback(lab: Lab) -> list[Result]:
    """Measure over the loopback interface only: files that were sent before, and new ones."""
    target = Target(0.7, at_least=True)
    verified = [_download(lab, streams, "download-loopback", None, target) for streams in _STREAMS]
    return [*verified, *_first_downloads(lab)]


def _first_downloads(lab: Lab) -> list[Result]:
    """Measure the first download of a new server, which knows nothing of the file."""
    megabytes = _megabytes(lab)
    file = lab.stored_file(megabytes)
    path = _path(lab.registry.url, file)
    used: list[float] = []
    alone: list[float] = []

    def rate(url: str) -> float:
        return lab.load("downloads", url)["rate"] / MEGABYTE

    def figure() -> float:
        with lab.fresh() as server, client(server.url) as caller:
            caller.get(f"{path}.metadata")
            workers = server.workers
            before = processor_seconds(workers)
            reached = rate(server.url + path)
            used.append(processor_seconds(workers) - before)
        return reached

    def floor() -> float:
        alone.append(hashing_seconds("sha256", file.size))
        return rate(lab.registry.url + file.blob)

    figures, floors = interleave(lab.rounds(7, 2), figure, floor, more_is_better=True)
    title = f"first download of {megabytes} MB, 1 stream, raw loopback"
    row = "download-loopback"
    straight = "the same GET straight from the registry"
    return [
        Result(row, title, "MB/s", figures, floors, straight, "ratio"),
        Result(
            row,
            f"{title}, processor time of the worker",
            "s",
            Series(tuple(used)),
            Series(tuple(alone)),
            "sha256 alone over as many bytes, in one process",
            "ratio",
            Target(1.5),
        ),
    ]


def _download(
    lab: Lab,
    streams: int,
    row: str,
    link: Link | None,
    target: Target | None = None,
    note: str = "",
) -> Result:
    megabytes = _megabytes(lab)
    file = lab.stored_file(megabytes)
    ports = lab.warm.port, lab.registry.port
    server, registry = (
        (lab.warm.url, lab.registry.url) if link is None else (link.urls[port] for port in ports)
    )
    path = _path(lab.registry.url, file)
    with client(lab.warm.url) as caller:
        caller.get(f"{path}.metadata")  # the listing is cached from here on
        caller.get(path)  # and the file was verified

    def rate(url: str) -> float:
        return lab.load("downloads", url, "--clients", str(streams), over=link)["rate"] / MEGABYTE

    full = {(1, True): 5, (8, True): 3, (1, False): 9, (8, False): 5}
    counts: list[int] = []

    def figure() -> float:
        with lab.registry.counting() as count:
            reached = rate(server + path)
        counts.append(len(count))
        return reached

    figures, floors = interleave(
        lab.rounds(full[streams, link is not None], 1),
        figure,
        lambda: rate(registry + file.blob),
        more_is_better=True,
    )
    over = "raw loopback, verified before" if link is None else "1 Gbit/s link"
    many = "1 stream" if streams == 1 else f"{streams} streams, together"
    return Result(
        row,
        f"download {megabytes} MB, {many}, {over}",
        "MB/s",
        figures,
        floors,
        "the same GET straight from the registry" + ("" if link is None else " over the same link"),
        "ratio",
        target,
        max(counts) // streams,
        (note,) if note else (),
    )


def first_byte(lab: Lab) -> list[Result]:
    """Measure from the request to the first byte of the file, with the slow link."""
    file = lab.stored_file(10)
    path = _path(lab.far.url, file)
    with client(lab.warm.url) as caller, client(lab.far.url) as straight:
        for _ in range(2):
            caller.get(path)
        straight.get("/v2/")
        with lab.registry.counting() as count:
            caller.get(path)
        figures, floors = interleave(
            lab.rounds(20, 5),
            lambda: caller.get(path).first,
            lambda: straight.get("/v2/").total,
        )
    return [
        Result(
            "first-byte",
            f"download, first byte, warm, {lab.delay * 1000:g} ms away",
            "ms",
            figures.times(1000),
            floors.times(1000),
            "one round trip",
            "ratio",
            Target(1.2, calls=1),
            len(count),
        )
    ]


def _megabytes(lab: Lab) -> int:
    return 20 if lab.quick else 300


def _path(registry: str, file: StoredFile) -> str:
    return f"{index_path(registry)}{file.project}/{file.filename}"
