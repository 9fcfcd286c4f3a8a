"""Rows about how pages grow with the time for which they were not asked for, and with distance."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from benchmarks.calls import relay
from benchmarks.clients import Client, client
from benchmarks.filling import RegistryWriter
from benchmarks.idle import IDLE_SETTINGS, Views, grow_old, observe
from benchmarks.lab import Lab, index_path, repository, version_numbers
from benchmarks.pages import fetching, timed
from benchmarks.results import Result, Series, interleave
from tests.servers import RunningServer

_VERSIONS = 100
_PUBLISHED = 120
"""Seconds over which versions were published, a tenth of them at a time."""
_STEPS = 10


def growth_idle(lab: Lab) -> list[Result]:
    """Measure a page after longer and longer times, of versions of all ages.

    Seconds stand for hours here: what is asked for depends on the ratio of the two times.
    """
    return [_after(lab, seconds) for seconds in ((2,) if lab.quick else (2, 6, 14))]


def growth_distance(lab: Lab) -> list[Result]:
    """Measure fresh, old and uncached pages over links of different lengths."""
    results = []
    for milliseconds in (10,) if lab.quick else (10, 30, 100):
        with relay(lab.folder, lab.registry.port, delay=milliseconds / 1000) as link:
            for kind, server, old in (
                ("warm", lab.warm, False),
                ("asked again later", lab.server(**IDLE_SETTINGS), True),
                ("cold", lab.cold, False),
            ):
                title = f"page of old versions, {milliseconds} ms away, {kind}"
                results.append(_away(lab, title, link.url, server, wait=old))
    return results


def _after(lab: Lab, seconds: int) -> Result:
    name = f"ages-{seconds}"
    writer = RegistryWriter(lab.registry.url, repository(name))
    numbers = version_numbers(_VERSIONS)
    # The newest last: what is filled before it grows older meanwhile.
    for step in reversed(range(_STEPS)):
        age = timedelta(seconds=_PUBLISHED * step / _STEPS)
        writer.fill(name, numbers[step::_STEPS], datetime.now(UTC) - age)
    with (
        lab.fresh(**{**IDLE_SETTINGS, "PYOCI_CACHE_TTL": "1"}) as server,
        client(server.url) as caller,
    ):
        fetch = fetching(caller, f"{index_path(lab.far.url)}{name}/", _VERSIONS)
        read = time.monotonic()
        lab.registry.wait_until_quiet()
        time.sleep(max(0.0, read + seconds - time.monotonic()))
        taken: list[float] = []

        def view() -> float:
            taken.append(fetch())
            return taken[-1]

        seen: Views = observe(lab, view)
    trip = _round_trip(lab)
    over = f"published over {_PUBLISHED} s, asked again after {seconds} s"
    title = f"page of 100 versions x 3 files, {over}, {lab.delay * 1000:g} ms away"
    figure = Series((taken[0],))
    line = timed("growth-idle", title, figure, trip, "one round trip", "ratio")
    return replace(line, calls=len(seen.before), notes=(f"{len(seen.behind)} calls behind it",))


def _round_trip(lab: Lab) -> Series:
    with client(lab.far.url) as straight:
        straight.get("/v2/")
        return Series(tuple(straight.get("/v2/").total for _ in range(5)))


def _away(lab: Lab, title: str, url: str, server: RunningServer, *, wait: bool) -> Result:
    path = f"{index_path(url)}{lab.project(_VERSIONS, old=True)}/"
    with client(server.url) as caller, client(url) as straight:
        fetch = fetching(caller, path, _VERSIONS)
        straight.get("/v2/")

        def floor() -> float:
            if wait:
                grow_old(lab)
            return _second(straight)

        figures, floors = interleave(lab.rounds(5, 1), fetch, floor)
    return timed("growth-distance", title, figures, floors, "one round trip", "ratio")


def _second(straight: Client) -> float:
    straight.get("/v2/")
    return straight.get("/v2/").total
