#!/usr/bin/env python3
"""Count how many small faults in a module are noticed by its own tests: `make mutation`.

One fault at a time is written to a copy of the tree, and the module's tests run there. A fault is
killed if they fail or hang. mutmut was tried first, but it mostly changes texts of log lines and
errors, and it does not change properties, handlers, `with` blocks or whole statements.
"""

import argparse
import ast
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from faults import Mutant, mutants

ROOT = Path(__file__).resolve().parent.parent
MEMORY = Path("/dev/shm")  # noqa: S108 - a private folder is made in it


@dataclass(frozen=True, slots=True)
class Target:
    """A module, the files (globs) of its tests, and the lowest score that is accepted."""

    tests: tuple[str, ...]
    least: float


TARGETS = {
    "index/rewrite.py": Target(("tests/unit/test_index_rewrite*.py",), 0.90),
    "index/cache.py": Target(
        (
            "tests/unit/test_index_cache*.py",
            "tests/unit/test_stale_checks.py",
            "tests/unit/test_stale_listings.py",
        ),
        0.85,
    ),
    "index/entries.py": Target(
        ("tests/unit/test_index_entries*.py", "tests/unit/test_index_cache*.py"), 0.85
    ),
    "index/known.py": Target(
        ("tests/unit/test_stale_known.py", "tests/unit/test_stale_listings.py"), 0.90
    ),
    "index/lifetimes.py": Target(("tests/unit/test_index_entries_old.py",), 0.90),
    "index/recheck.py": Target(
        ("tests/unit/test_stale_checks.py", "tests/unit/test_stale_listings.py"), 0.90
    ),
    "transport/challenge.py": Target(("tests/unit/test_transport_challenge.py",), 0.85),
    "web/conditional.py": Target(
        ("tests/unit/test_web_conditional*.py", "tests/unit/test_web_files.py"), 0.90
    ),
}


def passes(tree: Path, tests: Sequence[str], seconds: float) -> bool:
    """Return whether the tests pass in a tree within `seconds`."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    environment = {key: text for key, text in os.environ.items() if key != "PYTHONPATH"}
    with subprocess.Popen(  # noqa: S603 - our own tests
        [*command, "--hypothesis-seed=0", *tests],
        cwd=tree,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as running:
        try:
            return running.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)


def score_of(module: str, tests: Sequence[str], trees: Sequence[Path], only: set[int]) -> float:
    """Run the tests on every fault of a module, print the faults that survive, return the score."""
    path = Path("pyoci_flask", module)
    source = (ROOT / path).read_text()
    began = time.monotonic()
    # Write the module as the faults are written, so that only the fault makes a difference.
    (trees[0] / path).write_text(ast.unparse(ast.parse(source)))
    if not passes(trees[0], tests, 600):
        raise SystemExit(f"the tests of {module} fail without a fault: {' '.join(tests)}")
    limit = 10 + 5 * (time.monotonic() - began)
    free: SimpleQueue[Path] = SimpleQueue()
    for tree in trees:
        free.put(tree)

    def is_killed(mutant: Mutant) -> bool:
        tree = free.get()
        (tree / path).write_text(mutant.text)
        # Python mistakes a file of the same size and second for the one that it compiled before.
        os.utime(tree / path, (mutant.number, mutant.number))
        killed = not passes(tree, tests, limit)
        if not killed:
            print(f"  {path}:{mutant.line} ({mutant.number}) {mutant.what}", flush=True)  # noqa: T201 - the report
        free.put(tree)
        return killed

    made = [one for one in mutants(source) if not only or one.number in only]
    with ThreadPoolExecutor(len(trees)) as threads:
        killed = sum(threads.map(is_killed, made))
    for tree in trees:
        shutil.copy(ROOT / path, tree / path)
    score = killed / len(made)
    seconds = time.monotonic() - began
    print(f"{module}: {killed} of {len(made)} killed, {score:.0%}, {seconds:.0f} s", flush=True)  # noqa: T201 - the report
    return score


def main() -> None:
    """Measure the given modules, by default all; fail if a score is too low."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=", ".join(TARGETS))
    parser.add_argument("--tests", nargs="+", help="other test files, for one module")
    parser.add_argument("--only", nargs="+", type=int, default=[], help="numbers of faults")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    low = []
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        trees = [Path(folder, str(number)) for number in range(arguments.jobs)]
        for tree in trees:
            shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "data", "__pycache__"))
        for module in arguments.modules or TARGETS:
            target = TARGETS.get(module, Target((), 0))
            globs = arguments.tests or target.tests
            tests = [str(one.relative_to(ROOT)) for glob in globs for one in ROOT.glob(glob)]
            if not tests:
                raise SystemExit(f"no tests of {module}: {' '.join(globs)}")
            if score_of(module, tests, trees, set(arguments.only)) < target.least:
                low.append(f"{module} is under {target.least:.0%}")
    if low:
        raise SystemExit("; ".join(low))


if __name__ == "__main__":
    main()
