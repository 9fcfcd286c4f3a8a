"""Rows about downloads: over a link, over the loopback interface, and time to the first byte."""

from benchmarks.clients import client
from benchmarks.lab import MEGABYTE, Lab, StoredFile, index_path
from benchmarks.link import Link
from benchmarks.results import Result, Target, interleave

_STREAMS = (1, 8)


def download_link(lab: Lab) -> list[Result]:
    """Measure over 1 Gbit/s; registry and server are connected over the loopback interface."""
    note = f"the link is {lab.link.description}, between the client and the server"
    return [
        _download(lab, streams, "download-link", lab.link, Target(0.95, at_least=True), note)
        for streams in _STREAMS
    ]


def download_loopback(lab: Lab) -> list[Result]:
    """Measure over the loopback interface only."""
    return [_download(lab, streams, "download-loopback", None) for streams in _STREAMS]


def _download(
    lab: Lab,
    streams: int,
    row: str,
    link: Link | None,
    target: Target | None = None,
    note: str = "",
) -> Result:
    megabytes = 20 if lab.quick else 300
    file = lab.stored_file(megabytes)
    ports = lab.warm.port, lab.registry.port
    server, registry = (
        (lab.warm.url, lab.registry.url) if link is None else (link.urls[port] for port in ports)
    )
    path = _path(lab.registry.url, file)
    with client(lab.warm.url) as caller:
        caller.get(f"{path}.metadata")  # the listing is cached from here on

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
    over = "raw loopback" if link is None else "1 Gbit/s link"
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


def _path(registry: str, file: StoredFile) -> str:
    return f"{index_path(registry)}{file.project}/{file.filename}"
