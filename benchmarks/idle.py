"""Rows about old versions whose page was not asked for in a while.

Calls are counted over the slow link: a call that ended before the answer came was waited for, and
all others were made behind the answer.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from benchmarks.calls import Call, longest_chain
from benchmarks.clients import Client, client
from benchmarks.filling import ARCHITECTURES, RegistryWriter
from benchmarks.lab import JSON, Lab, days_ago, index_path, repository, version_numbers
from benchmarks.pages import fetching, timed
from benchmarks.results import Result, Series, Target, interleave
from tests.servers import RunningServer

_VERSIONS = 100
_TTL = 2
"""Seconds; what happens behind an answer and the next view take less."""
IDLE_SETTINGS = {"PYOCI_CACHE_TTL": str(_TTL), "PYOCI_MAX_VERSIONS": "0"}
"""Of a server whose listings become old soon."""

_TITLE = "page, 100 versions x 3 files, published days ago, asked again later"
_FURTHER = "cp312-cp312-manylinux_2_28_x86_64.whl"
_CHANGING = 10
"""Versions of a project of which one is changed."""
_MOST_VIEWS = 5
_FOUND = "calls are counted over the slow link"


@dataclass(frozen=True, slots=True)
class Views:
    """The calls of a view after a while, and those of a second one within the TTL."""

    before: list[Call]
    """They ended before the answer."""
    behind: list[Call]
    again: list[Call]

    @classmethod
    def of(cls, calls: Sequence[Call], answered: float, again: list[Call]) -> "Views":
        """Sort the calls of the first view, whose answer had come at `answered`."""
        return cls(
            [call for call in calls if call.end <= answered],
            [call for call in calls if call.end > answered],
            again,
        )


def page_idle(lab: Lab) -> list[Result]:
    """Measure a page that was not asked for within the TTL, against a page with a fresh listing."""
    server = lab.server(**IDLE_SETTINGS)
    with (
        client(server.url) as caller,
        client(lab.warm.url) as warm,
        client(lab.registry.url) as straight,
    ):
        fetch = _viewing(lab, caller, lab.registry.url)
        view_warm = _viewing(lab, warm, lab.registry.url)

        def floor() -> float:
            grow_old(lab)
            straight.get("/v2/")  # neither side is the first to wake up the registry
            return view_warm()

        figures, floors = interleave(lab.rounds(15, 2), fetch, floor)
        view_far = _viewing(lab, caller, lab.far.url)
        grow_old(lab)
        seen = observe(lab, view_far)
    title = "a page with a fresh listing"
    target = Target(1.0, calls=2)
    line = timed("page-idle", _TITLE, figures, floors, title, "difference", target)
    return [replace(line, calls=len(seen.before), notes=(_FOUND,)), *_counted("page-idle", seen)]


def page_idle_far(lab: Lab) -> list[Result]:
    """Measure the same over the slow link, in round trips."""
    with client(lab.server(**IDLE_SETTINGS).url) as caller, client(lab.far.url) as straight:
        fetch = _viewing(lab, caller, lab.far.url)

        def floor() -> float:
            grow_old(lab)
            straight.get("/v2/")
            return straight.get("/v2/").total

        figures, floors = interleave(lab.rounds(10, 2), fetch, floor)
        grow_old(lab)
        seen = observe(lab, fetch)
    title = f"{_TITLE}, {lab.delay * 1000:g} ms away"
    target = Target(1.2, calls=2)
    line = timed("page-idle-far", title, figures, floors, "one round trip", "ratio", target)
    return [replace(line, calls=len(seen.before))]


def page_restart(lab: Lab) -> list[Result]:
    """Measure the first page of a server that finds the listings of the one before it."""
    folder = lab.folder / "kept"
    folder.mkdir(mode=0o700)
    tags = f"/v2/{repository(lab.project(_VERSIONS, old=True))}/tags/list"
    with _restarted(lab, folder) as caller:
        for registry in (lab.registry.url, lab.far.url):
            _viewing(lab, caller, registry)
        lab.registry.wait_until_quiet()

    def figure() -> float:
        with _restarted(lab, folder) as caller:
            taken = caller.get(_path(lab, lab.registry.url), {"Accept": JSON}).total
            lab.registry.wait_until_quiet()
            return taken

    def floor() -> float:
        with client(lab.registry.url) as straight:
            return straight.get(tags).total

    figures, floors = interleave(lab.rounds(5, 1), figure, floor)
    with _restarted(lab, folder) as caller:
        path = _path(lab, lab.far.url)
        seen = observe(lab, lambda: caller.get(path, {"Accept": JSON}).total)
    title = "page, 100 versions x 3 files, published days ago, after a restart"
    straight = "one GET of tags/list on a new connection"
    line = timed("page-restart", title, figures, floors, straight, "difference")
    chain, *_ = _counted("page-restart", seen)
    return [replace(line, calls=len(seen.before), notes=(_FOUND,)), chain]


def page_changed(lab: Lab) -> list[Result]:
    """Count the views until a change without the server shows, of old and of new versions."""
    return [
        _changed(lab, "changed-old", "published days ago", Target(2), days_ago()),
        _changed(lab, "changed-new", "published just now", Target(1)),
    ]


def _changed(
    lab: Lab, project: str, published: str, target: Target, created: datetime | None = None
) -> Result:
    views = []
    with client(lab.server(**IDLE_SETTINGS).url) as caller:
        for number in range(lab.rounds(3, 1)):
            # A new one each time: "just now" has to be true when the page is read.
            name = f"{project}-{number}"
            path = f"{index_path(lab.registry.url)}{name}/"
            writer = RegistryWriter(lab.registry.url, repository(name))
            writer.fill(name, version_numbers(_CHANGING), created)
            fetching(caller, path, _CHANGING)
            writer.fill(name, ["1.0"], architectures=(*ARCHITECTURES, _FURTHER))
            grow_old(lab)
            views.append(float(_views_until(lab, caller, path, f"-1.0-{_FURTHER}".encode())))
    title = f"a version, {published}, changed without this server: views until the change shows"
    figure = Series(tuple(views))
    return Result("page-changed", title, "views", figure, target=target)


def view_and_check(lab: Lab, server: RunningServer) -> None:
    """View the page twice with the TTL between, and wait for what happens behind the answer."""
    with client(server.url) as caller:
        fetch = _viewing(lab, caller, lab.registry.url)
        grow_old(lab)
        fetch()
        lab.registry.wait_until_quiet()


def _views_until(lab: Lab, caller: Client, path: str, text: bytes) -> int:
    """Return how many views it takes until the page has the text.

    Raises:
        RuntimeError: none of the first few has it.
    """
    for number in range(1, _MOST_VIEWS + 1):
        found = text in caller.get(path, {"Accept": JSON}).body
        lab.registry.wait_until_quiet()
        if found:
            return number
    raise RuntimeError(f"{path}: {text!r} is on none of {_MOST_VIEWS} pages")


def observe(lab: Lab, fetch: Callable[[], float]) -> Views:
    """View a page over the slow link, and again when the calls behind the first view are over."""
    begun = time.monotonic()
    fetch()
    answered = time.monotonic()
    lab.registry.wait_until_quiet()
    calls, again = lab.far.calls(begun), time.monotonic()
    fetch()
    return Views.of(calls, answered, lab.far.calls(again))


def _counted(row: str, seen: Views) -> list[Result]:
    """Make lines of the calls that were seen."""
    heads = sum(call.line.startswith("HEAD ") for call in seen.behind)
    of = "page of old versions" + (" after a restart" if row == "page-restart" else "")

    def line(title: str, count: int, most: int, *notes: str) -> Result:
        figure = Series((float(count),))
        return Result(row, f"{of}, {title}", "calls", figure, target=Target(most), notes=notes)

    note = f"{heads} of them are HEAD"
    return [
        line("calls one after the other before the answer", len(longest_chain(seen.before)), 1),
        line("calls behind the answer", len(seen.behind), 100, note),
        line("calls of the next view within the TTL", len(seen.again), 1),
    ]


def grow_old(lab: Lab) -> None:
    """Wait until the calls of the last view are over and what they found is older than the TTL."""
    lab.registry.wait_until_quiet()
    time.sleep(_TTL + 0.1)


@contextlib.contextmanager
def _restarted(lab: Lab, folder: Path) -> Iterator[Client]:
    """Provide a client of a new server with this folder, whose listings are older than the TTL."""
    with (
        lab.fresh(PYOCI_CACHE_FOLDER=str(folder), **IDLE_SETTINGS) as server,
        client(server.url) as caller,
    ):
        caller.get("/health")
        grow_old(lab)
        yield caller


def _viewing(lab: Lab, caller: Client, registry: str) -> Callable[[], float]:
    return fetching(caller, _path(lab, registry), _VERSIONS)


def _path(lab: Lab, registry: str) -> str:
    return f"{index_path(registry)}{lab.project(_VERSIONS, old=True)}/"
