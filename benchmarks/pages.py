"""Rows about project pages, one request at a time."""

import time
from collections.abc import Callable
from dataclasses import replace

from benchmarks.calls import connections, relay
from benchmarks.clients import Client, client
from benchmarks.filling import ARCHITECTURES, RegistryWriter, basic
from benchmarks.floors import PageFloor
from benchmarks.lab import JSON, Lab, index_path, repository, version_numbers
from benchmarks.processes import processor_seconds
from benchmarks.registry import docker_registry
from benchmarks.results import Comparison, Result, Series, Target, interleave
from benchmarks.tokens import fill, token_registry
from tests.servers import RunningServer

WIDTH = 32
"""Connections of the floor's pool: as many as PYOCI_FETCH_THREADS."""

_PAUSE = 1.2
"""Seconds after which a listing that is kept for one has expired."""
_BARE = "the tags and all indexes by a bare urllib3 pool of 32 connections"
_TAGS = "one GET of tags/list"


def page_cold(lab: Lab) -> list[Result]:
    """Measure a page without a cached listing; connections are open."""
    title = "page, 100 versions x 3 files, cold"
    line = cold(lab, 100, "page-cold", title, Target(1.3, calls=101))
    return [line, _processor_time(lab, f"{title}, processor time of each call", line.calls or 1)]


def _processor_time(lab: Lab, title: str, calls: int) -> Result:
    """Compare the processor time of a cold page, by its calls, with that of the same bare calls."""
    versions = 100
    numbers, name = version_numbers(versions), repository(lab.project(versions))
    with (
        client(lab.cold.url) as caller,
        PageFloor(lab.registry.url, name, WIDTH) as floor,
    ):
        fetch = fetching(caller, page_path(lab, versions), versions)
        workers = lab.cold.workers

        def figure() -> float:
            before = processor_seconds(workers)
            fetch()
            return (processor_seconds(workers) - before) / calls

        def bare() -> float:
            before = time.process_time()
            floor.seconds(numbers)
            return (time.process_time() - before) / (versions + 1)

        bare()
        figures, floors = interleave(lab.rounds(20, 4), figure, bare)
    return timed("page-cold", title, figures, floors, _BARE, "ratio")


def page_expired(lab: Lab) -> list[Result]:
    """Measure a page whose cached listing has expired, where all of it has to be asked for."""
    server = lab.server(PYOCI_CACHE_TTL="1", PYOCI_CACHE_STALE="0", PYOCI_MAX_VERSIONS="0")
    title = "page, 100 versions x 3 files, its listing expired"
    return [cold(lab, 100, "page-expired", title, Target(1.7, calls=101), server, _PAUSE)]


def page_first(lab: Lab) -> list[Result]:
    """Measure the very first page of a server: nothing is cached, and no connection is open."""
    path = page_path(lab, 100)

    def figure() -> float:
        with lab.fresh(PYOCI_MAX_VERSIONS="0") as server, client(server.url) as caller:
            caller.get("/health")
            return caller.get(path, {"Accept": JSON}).total

    with PageFloor(lab.registry.url, repository(lab.project(100)), WIDTH) as floor:
        figures, floors = interleave(
            lab.rounds(5, 2),
            figure,
            lambda: floor.seconds(version_numbers(100), new_connections=True),
        )
    title = "page, 100 versions x 3 files, first request of a new server"
    return [timed("page-first", title, figures, floors, f"{_BARE}, not connected before", "ratio")]


def page_warm(lab: Lab) -> list[Result]:
    """Measure a page with a cached listing."""
    target = Target(3.0, calls=1)
    return [warm(lab, 100, "page-warm", "page, 100 versions x 3 files, warm", target)]


def page_html(lab: Lab) -> list[Result]:
    """Measure the same page as HTML."""
    title = "page, 100 versions x 3 files, warm, HTML"
    return [warm(lab, 100, "page-html", title, Target(3.0, calls=1), accept="text/html")]


def page_1000(lab: Lab) -> list[Result]:
    """Measure a page that is ten times as long."""
    title = "page, 1,000 versions x 3 files, warm"
    return [warm(lab, 1000, "page-1000", title, Target(15.0, calls=1))]


def page_credential(lab: Lab) -> list[Result]:
    """Measure a page with a cached listing, for a user who has not been seen before."""
    users = (("alice", "alice-password"), ("bob", "bob-password"))
    with docker_registry(lab.folder / "private", users=users) as registry:
        project = "pages-100"
        writer = RegistryWriter(registry.url, repository(project), basic(*users[0]))
        writer.fill(project, version_numbers(100))
        path = f"{index_path(registry.url)}{project}/"
        with client(lab.warm.url) as caller:
            for _ in range(2):
                caller.get(path, {"Accept": JSON, "Authorization": basic(*users[0])})
            other = {"Accept": JSON, "Authorization": basic(*users[1])}
            with registry.counting() as count:
                first = caller.get(path, other)
            with registry.counting() as again:
                caller.get(path, other)
    note = f"{len(again)} call for that credential's second request; a registry with htpasswd"
    series = Series((first.total * 1000,))
    title = "page, 100 versions x 3 files, warm, first with another credential"
    calls = Series((float(len(count)),))
    return [
        Result("page-credential", title, "calls", calls, target=Target(2), notes=(note,)),
        Result("page-credential", f"{title}, time", "ms", series, calls=len(count)),
    ]


def page_tokens(lab: Lab) -> list[Result]:
    """Measure the first page of a new server for a registry with tokens."""
    versions = 10 if lab.quick else 100
    counts = []
    with token_registry(lab.folder) as registry:
        fill(registry, repository("tokens"), "tokens", version_numbers(versions))
        headers = {"Accept": JSON, "Authorization": basic(registry.username, registry.password)}
        with (
            relay(lab.folder, registry.port, logged=True, port=registry.public) as seen,
            lab.fresh(PYOCI_CACHE_TTL="0") as server,
            client(server.url) as caller,
        ):
            for _ in range(2):
                begun = time.monotonic()
                caller.get(f"{index_path(seen.url)}tokens/", headers)
                counts.append(len(seen.calls(begun)))
    note = f"{counts[1]} for the second, uncached; zuul-registry, {versions} versions"
    title = f"calls of a first page with tokens, {versions} versions"
    figure = Series((float(counts[0]),))
    return [
        Result("page-tokens", title, "calls", figure, target=Target(versions + 3), notes=(note,))
    ]


def page_far(lab: Lab) -> list[Result]:
    """Measure cold and warm pages over the slow link, in round trips."""
    results = []
    for kind, server, target in (
        ("cold", lab.cold, Target(6.0, calls=101)),
        ("warm", lab.warm, Target(1.2, calls=1)),
    ):
        path = f"{index_path(lab.far.url)}{lab.project(100)}/"
        with client(server.url) as caller, client(lab.far.url) as straight:
            fetch = fetching(caller, path, 100)
            straight.get("/v2/")
            before = lab.far.calls()
            with lab.registry.counting() as count:
                fetch()
            opened = connections(lab.far.calls(), before)
            figures, floors = interleave(
                lab.rounds(15, 3), fetch, lambda: straight.get("/v2/").total
            )
            notes = [f"{opened} connections opened for it"]
            if kind == "cold":
                notes.append(
                    f"the bare pool needs {_bare_far(lab) / floors.median:.1f} round trips"
                )
        title = f"page, 100 versions x 3 files, {lab.delay * 1000:g} ms away, {kind}"
        line = timed("page-far", title, figures, floors, "one round trip", "ratio", target)
        results.append(replace(line, calls=len(count), notes=tuple(notes)))
    return results


def _bare_far(lab: Lab) -> float:
    """Return the seconds of a bare pool for the calls of a cold page over the slow link."""
    with PageFloor(lab.far.url, repository(lab.project(100)), WIDTH) as floor:
        floor.seconds(version_numbers(100))
        taken = [floor.seconds(version_numbers(100)) for _ in range(lab.rounds(5, 2))]
    return Series(tuple(taken)).median


def cold(
    lab: Lab,
    versions: int,
    row: str,
    title: str,
    target: Target | None = None,
    server: RunningServer | None = None,
    pause: float = 0.0,
) -> Result:
    """Compare the time of a page without any cache with the same bare calls.

    `pause` is the seconds to wait before each page.
    """
    path = page_path(lab, versions)
    name = repository(lab.project(versions))
    with (
        client((server or lab.cold).url) as caller,
        PageFloor(lab.registry.url, name, WIDTH) as floor,
    ):
        fetch = fetching(caller, path, versions)
        floor.seconds(version_numbers(versions))

        def figure() -> float:
            time.sleep(pause)
            return fetch()

        with lab.registry.counting() as count:
            figure()
        rounds = _rounds(lab, versions, pause)
        figures, floors = interleave(
            rounds, figure, lambda: floor.seconds(version_numbers(versions))
        )
    return timed(row, title, figures, floors, _BARE, "ratio", target, len(count))


def warm(
    lab: Lab,
    versions: int,
    row: str,
    title: str,
    target: Target | None = None,
    accept: str = JSON,
) -> Result:
    """Compare the time of a page with a cached listing with that of the one call it makes."""
    path = page_path(lab, versions)
    tags = f"/v2/{repository(lab.project(versions))}/tags/list"
    with client(lab.warm.url) as caller, client(lab.registry.url) as straight:
        fetch = fetching(caller, path, versions, accept)
        straight.get(tags)
        with lab.registry.counting() as count:
            fetch()
        figures, floors = interleave(lab.rounds(200, 30), fetch, lambda: straight.get(tags).total)
    return timed(row, title, figures, floors, _TAGS, "difference", target, len(count))


def _rounds(lab: Lab, versions: int, pause: float) -> int:
    return lab.rounds(20, 2 if pause else 4) if versions < 1000 else lab.rounds(7, 2)


def page_path(lab: Lab, versions: int) -> str:
    """Return the path of the page of a project that is in the registry."""
    return f"{index_path(lab.registry.url)}{lab.project(versions)}/"


def fetching(caller: Client, path: str, versions: int, accept: str = JSON) -> Callable[[], float]:
    """Return a function that fetches a page and returns its seconds; check and warm the page."""
    for _ in range(2):
        page = caller.get(path, {"Accept": accept}).body
        mark = b"<a " if accept != JSON else b'"filename"'
        if page.count(mark) < versions * len(ARCHITECTURES):
            raise RuntimeError(f"{path}: not all files are on the page")
    return lambda: caller.get(path, {"Accept": accept}).total


def timed(
    row: str,
    title: str,
    figures: Series,
    floors: Series,
    floor_title: str,
    compared: Comparison,
    target: Target | None = None,
    calls: int | None = None,
) -> Result:
    """Make a line in milliseconds from measurements in seconds."""
    return Result(
        row,
        title,
        "ms",
        figures.times(1000),
        floors.times(1000),
        floor_title,
        compared,
        target,
        calls,
    )
