"""The command: `python -m benchmarks --help`."""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from benchmarks import crowds, downloads, embedded, growth, idle, pages, publishing, resources
from benchmarks.lab import Lab, say
from benchmarks.machine import describe, processor_times
from benchmarks.profiling import profiles
from benchmarks.report import markdown, plain, write_json
from benchmarks.results import Result

_ROWS: Mapping[str, Callable[[Lab], list[Result]]] = {
    "page-cold": pages.page_cold,
    "page-expired": pages.page_expired,
    "page-first": pages.page_first,
    "page-warm": pages.page_warm,
    "page-html": pages.page_html,
    "page-credential": pages.page_credential,
    "page-tokens": pages.page_tokens,
    "page-far": pages.page_far,
    "page-1000": pages.page_1000,
    "page-idle": idle.page_idle,
    "page-idle-far": idle.page_idle_far,
    "page-restart": idle.page_restart,
    "page-changed": idle.page_changed,
    "pages-per-second": crowds.pages_per_second,
    "download-link": downloads.download_link,
    "download-loopback": downloads.download_loopback,
    "first-byte": downloads.first_byte,
    "publish-large": publishing.publish_large,
    "publish-small": publishing.publish_small,
    "publish-embedded": publishing.publish_embedded,
    "embedded-page": embedded.embedded_page,
    "embedded-publish": embedded.embedded_publish,
    "embedded-download": embedded.embedded_download,
    "memory": resources.memory,
    "health": resources.health,
    "start-up": resources.start_up,
    "growth-versions": crowds.growth_versions,
    "growth-clients": crowds.growth_clients,
    "growth-idle": growth.growth_idle,
    "growth-distance": growth.growth_distance,
}


def main() -> None:
    """Run what is asked for and print the table."""
    given = _arguments()
    # Otherwise processes and the network namespace would remain.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="pyoci-bench-", dir=given.folder) as folder,
        ExitStack() as stack,
    ):
        if given.profile:
            sys.stdout.write(profiles(Lab(Path(folder), 0.0, False, 1, stack)) + "\n")
            return
        delay = given.delay / 1000
        lab = Lab(Path(folder), delay, given.quick, given.workers, stack, given.baseline)
        machine, before = describe(lab.folder), processor_times()
        results = [result for name in given.rows for result in _run(name, lab)]
        passed, taken = (b - a for a, b in zip(before, processor_times(), strict=True))
        network = lab.__dict__.get("link")  # made by the first row that needed it
    machine["link"] = network.description if network else "not used"
    workers = f"WEB_CONCURRENCY={given.workers}"
    machine["server"] = f"gunicorn with gunicorn.conf.py, {workers}, no telemetry, logs at info"
    machine["run"] = (
        f"{'quick, ' if given.quick else ''}{(time.monotonic() - begun) / 60:.1f} minutes, "
        f"{100 * taken / max(passed, 1):.1f} % of the processors taken by the host; "
        "medians, in brackets the best round and the quartiles"
    )
    heading = [f"{name}: {text}" for name, text in machine.items()]
    sys.stdout.write((markdown if given.markdown else plain)(results, heading))
    if given.json is not None:
        write_json(given.json, results, machine)


def _run(name: str, lab: Lab) -> list[Result]:
    begun = time.monotonic()
    results = _ROWS[name](lab)
    say(f"{name}: {time.monotonic() - begun:.1f} s")
    return results


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures the application against floors that are measured in the same run.",
        epilog=f"Rows: {', '.join(_ROWS)}",
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds and smaller files")
    parser.add_argument("--rows", type=_rows, default=list(_ROWS), metavar="NAME,...")
    parser.add_argument(
        "--delay", type=float, default=30.0, help="milliseconds per round trip (30)"
    )
    parser.add_argument("--workers", type=int, default=1, help="workers of each server (1)")
    parser.add_argument(
        "--baseline",
        type=_checkout,
        metavar="FOLDER",
        help="a checkout of another commit, which embedded-publish compares with",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--profile", action="store_true", help="sample the worker with py-spy")
    parser.add_argument("--folder", type=Path, help="where to put the registry's files for the run")
    return parser.parse_args()


def _checkout(text: str) -> Path:
    folder = Path(text).resolve()
    if not (folder / "wsgi.py").is_file():
        raise argparse.ArgumentTypeError(f"no wsgi.py in {folder}")
    return folder


def _rows(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in _ROWS]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}")
    return names


if __name__ == "__main__":
    main()
