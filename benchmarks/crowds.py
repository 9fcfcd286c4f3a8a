"""Rows about many requests: warm pages a second, and how pages grow with versions and clients."""

import contextlib
import sys
from collections.abc import Iterator

from benchmarks.clients import client
from benchmarks.lab import JSON, Lab, repository
from benchmarks.pages import cold, page_path, warm
from benchmarks.processes import answers, running
from benchmarks.results import Result, Series, Target, interleave
from tests.ports import free_port
from tests.servers import LOOPBACK

_CLIENTS = 8


def pages_per_second(lab: Lab) -> list[Result]:
    """Measure the warm pages that one worker answers, against a route that makes one call each."""
    url = lab.warm.url + page_path(lab, 100)
    with _floor_app(lab) as floor_url:
        lab.load("pages", url, *_loaded(_CLIENTS, 0.7))
        lab.load("pages", floor_url, *_loaded(_CLIENTS, 0.7))
        seconds = 2.0 if lab.quick else 4.0
        with lab.registry.counting() as count:
            one = lab.load("pages", url, *_loaded(_CLIENTS, 0.7))
        figures, floors = interleave(
            lab.rounds(7, 1),
            lambda: lab.load("pages", url, *_loaded(_CLIENTS, seconds))["rate"],
            lambda: lab.load("pages", floor_url, *_loaded(_CLIENTS, seconds))["rate"],
            more_is_better=True,
        )
    return [
        Result(
            "pages-per-second",
            f"warm pages of 100 versions x 3 files a second, {_CLIENTS} clients",
            "/s",
            figures,
            floors,
            "a Flask route under the same gunicorn settings, one GET with requests each",
            "ratio",
            Target(0.7, at_least=True, calls=1),
            round(len(count) / one["count"]),
        )
    ]


def growth_versions(lab: Lab) -> list[Result]:
    """Measure pages of 1, 10, 100 and 1,000 versions."""
    results = []
    for versions in (1, 10, 100) if lab.quick else (1, 10, 100, 1000):
        many = "1 version" if versions == 1 else f"{versions:,} versions"
        results.append(cold(lab, versions, "growth-versions", f"page of {many}, cold"))
        results.append(warm(lab, versions, "growth-versions", f"page of {many}, warm"))
    return results


def growth_clients(lab: Lab) -> list[Result]:
    """Measure warm pages for 1, 4, 16 and 64 clients."""
    url = lab.warm.url + page_path(lab, 100)
    lab.load("pages", url, *_loaded(1, 0.5))
    results = []
    for clients in (1, 4, 16, 64):
        found = [
            lab.load("pages", url, *_loaded(clients, 0.7 if lab.quick else 4.0))
            for _ in range(lab.rounds(3, 1))
        ]
        rates = Series(tuple(one["rate"] for one in found), more_is_better=True)
        median = Series(tuple(one["median"] for one in found)).times(1000).median
        p99 = Series(tuple(one["p99"] for one in found)).times(1000).median
        note = f"median {median:.1f} ms, p99 {p99:.1f} ms"
        title = f"warm pages a second, {clients} client{'s' if clients > 1 else ''}"
        results.append(Result("growth-clients", title, "/s", rates, notes=(note,)))
    return results


@contextlib.contextmanager
def _floor_app(lab: Lab) -> Iterator[str]:
    """Run the Flask route; it returns a page of the same size as the application's."""
    page = lab.folder / "page"
    with client(lab.warm.url) as caller:
        page.write_bytes(caller.get(page_path(lab, 100), {"Accept": JSON}).body)
    port = free_port()
    environ = {
        "PORT": str(port),
        "WEB_CONCURRENCY": str(lab.workers),
        "BENCHMARK_PAGE": str(page),
        "BENCHMARK_TAGS": f"{lab.registry.url}/v2/{repository(lab.project(100))}/tags/list",
    }
    command = [sys.executable, "-m", "gunicorn", "benchmarks.floor_app:app"]
    log = lab.folder / "floor-app.log"
    with running(command, log, lambda: answers(port, "/"), environ):
        yield f"http://{LOOPBACK}:{port}/"


def _loaded(clients: int, seconds: float) -> list[str]:
    return ["--clients", str(clients), "--seconds", str(seconds), "--accept", JSON]
