"""One soak test: two workers with docker-registry under a mixed load."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.registries import docker_registry
from tests.servers import RunningServer, gunicorn
from tests.soak.load import Tally, mixed_load
from tests.soak.measure import Sample, faults, growth, usage

_WARM = 2.0
"""Minutes after which nothing may grow any more; half of the time if a run is too short for that.
"""
_CLIENTS = 8
_SETTLE = 0.5
"""Seconds for the server to notice that the last clients have gone."""


def soak(
    folder: Path,
    minutes: float,
    *,
    seed: int,
    write: Callable[[str], None],
    every: float = 10.0,
    environ: Mapping[str, str] | None = None,
) -> list[str]:
    """Run for some minutes and measure every so many seconds; return the problems.

    `write` gets a line a minute; `environ` adds to the server's settings.
    """
    settings = {
        "WEB_CONCURRENCY": "2",
        "PYOCI_THREADS": "16",
        "LOG_LEVEL": "warning",
        **(environ or {}),
    }
    samples: list[Sample] = []
    with (
        docker_registry(folder) as registry,
        gunicorn(folder, settings) as server,
        mixed_load(f"{server.url}/{registry.address}/soak", folder, _CLIENTS, seed) as load,
    ):
        pauses, tally = load
        begun, written = time.monotonic(), 0
        while not samples or samples[-1].minute < minutes:
            time.sleep(every)
            with pauses.quiet():
                time.sleep(_SETTLE)
                samples.append(_sample(server, (time.monotonic() - begun) / 60))
            if samples[-1].minute >= written + 1 or samples[-1].minute >= minutes:
                written = int(samples[-1].minute)
                write(f"{samples[-1]}; {tally.statuses.total()} answers, {tally.failures} failed")
    write(f"answers by status: {dict(sorted(tally.statuses.items()))}")
    return [*_complaints(tally), *_judged(samples, minutes, write)]


def _sample(server: RunningServer, minute: float) -> Sample:
    return Sample(minute, tuple(usage(pid) for pid in (server.process.pid, *server.workers)))


def _complaints(tally: Tally) -> list[str]:
    failed = [f"{tally.failures} answers of 500 and above"] if tally.failures else []
    return [*failed, *tally.complaints[:20]]


def _judged(samples: list[Sample], minutes: float, write: Callable[[str], None]) -> list[str]:
    warm = [sample for sample in samples if sample.minute >= min(_WARM, minutes / 2)]
    write(f"memory since it was warm: {growth(warm) / 2**20:+.2f} MiB a minute")
    return faults(warm)
