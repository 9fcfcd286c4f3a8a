"""Rows about what a worker uses: memory, its response time under load, the time of its start."""

import sys
import time
from collections.abc import Callable

from benchmarks.clients import client, digests, publish
from benchmarks.embedded import embedded_file
from benchmarks.idle import IDLE_SETTINGS, view_and_check
from benchmarks.lab import MEGABYTE, Lab, index_path
from benchmarks.processes import Memory, begin, module_command, result
from benchmarks.results import Result, Series, Target, interleave
from tests.servers import RunningServer

_MEBIBYTE = 1024 * 1024
_MOST = Target(32.0)
_STREAMS = 32
_RATE = 10 * MEGABYTE
"""Bytes a second of each slow download."""
_SPREAD = 1.5
"""Seconds over which the downloads start: together they would be a burst, again and again."""

_WSGI = "import json, time; a = time.perf_counter(); import wsgi; b = time.perf_counter()"
_BARE = (
    "import json, time; a = time.perf_counter(); import flask, requests; b = time.perf_counter()"
)


def memory(lab: Lab) -> list[Result]:
    """Measure the peak of a worker's resident memory over that of a new worker."""
    large, small = (200, 20) if lab.quick else (1500, 100)
    wheel = lab.wheel("huge", "1.0", large * MEGABYTE)
    fields = digests(wheel)
    path = f"{index_path(lab.registry.url)}huge/{wheel.name}"

    def up(server: RunningServer) -> None:
        publish(lab.index(server), wheel, "huge", "1.0", fields)
        wheel.unlink()

    def down(server: RunningServer) -> None:
        lab.load("downloads", server.url + path)

    def side_by_side(server: RunningServer) -> None:
        file = lab.stored_file(small)
        url = f"{lab.index(server)}{file.project}/{file.filename}"
        lab.load("downloads", url, "--clients", str(_STREAMS))

    return [
        _memory(lab, f"memory over idle, {large} MB up", up),
        _memory(lab, f"memory over idle, {large} MB down", down),
        _memory(lab, f"memory over idle, {_STREAMS} streams of {small} MB down", side_by_side),
        _memory(
            lab,
            "memory over idle, page of 100 old versions and the check behind it",
            lambda server: view_and_check(lab, server),
            **IDLE_SETTINGS,
        ),
        _embedded(lab, small),
    ]


def _embedded(lab: Lab, megabytes: int) -> Result:
    file = embedded_file(lab, megabytes)

    def down(server: RunningServer) -> None:
        lab.load("downloads", server.url + file.path, "--clients", str(_STREAMS))

    title = f"memory over idle, {_STREAMS} streams of {megabytes} MB down, embedded registry"
    return _memory(lab, title, down, PYOCI_STORAGE=str(file.storage))


def _memory(lab: Lab, title: str, work: Callable[[RunningServer], None], **environ: str) -> Result:
    with lab.fresh(WEB_CONCURRENCY="1", **environ) as server:
        [worker] = server.workers
        held = Memory(worker)
        work(server)
        over = held.over_idle() / _MEBIBYTE
    note = f"idle {held.idle / _MEBIBYTE:.0f} MiB"
    return Result("memory", title, "MiB", Series((over,)), target=_MOST, notes=(note,))


def health(lab: Lab) -> list[Result]:
    """Measure how long /health takes while 32 clients download slowly."""
    file = lab.stored_file(20 if lab.quick else 100)
    seconds = 3.0 if lab.quick else 15.0
    server = lab.warm
    idle = lab.load("probes", f"{server.url}/health", "--seconds", str(seconds / 4))
    url = f"{lab.index(server)}{file.project}/{file.filename}"
    options = ["--clients", str(_STREAMS), "--rate", str(_RATE), "--spread", str(_SPREAD)]
    options += ["--seconds", str(_SPREAD + seconds + 1)]
    log = lab.folder / "slow-downloads.log"
    downloads = begin(module_command("load", "downloads", url, *options), log)
    time.sleep(_SPREAD + 0.5)
    found = lab.load("probes", f"{server.url}/health", "--seconds", str(seconds))
    reached = result(downloads, log)["of_each"] / MEGABYTE
    probed = (
        f"{found['count']:.0f} probes, each on a new connection; median "
        f"{found['median'] * 1000:.1f} ms, longest {found['longest'] * 1000:.1f} ms; without "
        f"downloads p99 {idle['p99'] * 1000:.1f} ms"
    )
    loaded = (
        f"a download reached {reached:.1f} MB/s; each client sleeps after a piece until it is due "
        "at its rate, and they begin one after the other"
    )
    p99 = Series((found["p99"] * 1000,))
    title = f"/health, p99, with {_STREAMS} downloads at 10 MB/s each"
    return [Result("health", title, "ms", p99, target=Target(50.0), notes=(probed, loaded))]


def start_up(lab: Lab) -> list[Result]:
    """Measure the import of the application in a new process until it can answer; no telemetry."""

    def seconds(code: str) -> float:
        log = lab.folder / "start-up.log"
        written = "; print(json.dumps(b - a))"
        return float(result(begin([sys.executable, "-c", code + written], log), log))

    seconds(_WSGI)  # bytecode exists from here on
    figures, floors = interleave(lab.rounds(9, 3), lambda: seconds(_WSGI), lambda: seconds(_BARE))
    with lab.fresh() as server, client(server.url) as caller:
        first = caller.get("/health").total * 1000
    return [
        Result(
            "start-up",
            "start of a worker: import of wsgi.py",
            "s",
            figures,
            floors,
            "import of flask and requests",
            "alone",
            Target(1.0),
            notes=(f"its first answer, /health, took {first:.1f} ms",),
        )
    ]
