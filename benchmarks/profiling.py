"""Where a worker spends its time under load: py-spy's samples by function and by module."""

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from benchmarks.clients import digests, publish
from benchmarks.lab import JSON, MEGABYTE, Lab
from benchmarks.pages import page_path
from tests.servers import RunningServer

_SECONDS = 6
_RATE = 200
"""Samples a second."""
_SHOWN = 15
_WHEELS = 12
_IDLE = ("concurrent/futures/thread.py _worker", "select", "deadline.py Deadlines._watch")
"""Where an idle thread is."""
_FRAME = re.compile(r"(?P<function>.+) \((?P<file>[^()]+?)(:\d+)?\)")


def profiles(lab: Lab) -> str:
    """Profile a worker with each kind of work; return the text of all reports."""
    file = lab.stored_file(300)
    # Each with different bytes: content that the registry has is not pushed again.
    wheels = [
        (wheel, digests(wheel))
        for number in range(_WHEELS)
        for wheel in [lab.wheel("profiled", f"1.{number}", 300 * MEGABYTE)]
    ]

    def pages(server: RunningServer) -> None:
        options = ["--clients", "8", "--seconds", str(_SECONDS + 1), "--accept", JSON]
        lab.load("pages", server.url + page_path(lab, 100), *options)

    def download(server: RunningServer) -> None:
        url = f"{lab.index(server)}{file.project}/{file.filename}"
        lab.load("downloads", url, "--clients", "8", "--seconds", str(_SECONDS))

    def publishing(server: RunningServer) -> None:
        until = time.monotonic() + _SECONDS
        while wheels and time.monotonic() < until:
            wheel, fields = wheels.pop()
            publish(lab.index(server), wheel, "profiled", wheel.name.split("-")[1], fields)
            wheel.unlink()

    return "\n".join(
        [
            _profile(lab, "warm pages, 8 clients", lab.warm, pages),
            _profile(lab, "cold pages, 8 clients", lab.cold, pages),
            _profile(lab, "downloads of 300 MB, 8 clients, loopback", lab.warm, download),
            _profile(lab, "publishing 300 MB again and again", lab.warm, publishing),
        ]
    )


def report(stacks: Iterable[str]) -> str:
    """Sum up the collapsed stacks of threads that ran, `frame;frame;frame count` a line."""
    own: Counter[str] = Counter()
    cumulative: Counter[str] = Counter()
    modules: Counter[str] = Counter()
    for frames, count in _samples(stacks):
        own[frames[-1]] += count
        modules[frames[-1].rpartition(" ")[0]] += count
        for frame in set(frames):
            cumulative[frame] += count
    ours = Counter({name: count for name, count in cumulative.items() if "pyoci_flask" in name})
    return "\n".join(
        [
            _top("own, by module", modules, own.total()),
            _top("own, by function", own, own.total()),
            _top("with what it calls, by function of the application", ours, own.total()),
        ]
    )


def waiting(stacks: Iterable[str]) -> str:
    """Sum up where threads with a request or a call are, whether they run or not."""
    own: Counter[str] = Counter()
    for frames, count in _samples(stacks):
        if not frames[-1].endswith(_IDLE):
            own[frames[-1]] += count
    return _top("own, by function", own, own.total())


def _samples(stacks: Iterable[str]) -> Iterator[tuple[list[str], int]]:
    for line in stacks:
        text, _, count = line.rpartition(" ")
        yield [_function(frame) for frame in text.split(";")], int(count)


def _profile(
    lab: Lab, title: str, server: RunningServer, work: Callable[[RunningServer], None]
) -> str:
    [worker] = server.workers
    held = _recorded(lab, worker, lambda: work(server), "--gil")
    everywhere = _recorded(lab, worker, lambda: work(server))
    return "\n".join(
        [
            title,
            " Threads that held the interpreter (py-spy --gil)",
            report(held),
            " All threads with something to do, also those that waited, hashed, sent or received",
            waiting(everywhere),
            "",
        ]
    )


def _recorded(lab: Lab, pid: int, work: Callable[[], None], *options: str) -> list[str]:
    """Return the stacks of a process during the work."""
    output = lab.folder / f"profile-{time.monotonic_ns()}.txt"
    program = str(Path(sys.executable).with_name("py-spy"))
    shape = ["--format", "raw", "--function", "--rate", str(_RATE), "--duration", str(_SECONDS)]
    command = [program, "record", "--pid", str(pid), "--output", str(output), *shape, *options]
    with ThreadPoolExecutor(1) as pool:
        done: Future[None] = pool.submit(work)
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 -- the profiler
        done.result()
    return output.read_text().splitlines()


def _function(frame: str) -> str:
    """Return `module function` of a frame; the module by its path below the folder of packages."""
    match = _FRAME.fullmatch(frame.strip())
    return f"{match['file']} {match['function']}" if match else f"- {frame.strip()}"


def _top(title: str, counts: Counter[str], total: int) -> str:
    lines = [
        f"    {100 * count / max(total, 1):5.1f} %  {name}"
        for name, count in counts.most_common(_SHOWN)
    ]
    return "\n".join([f"  {title}", *lines])
