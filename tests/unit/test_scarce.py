"""Where the system gives no more files, or no more threads."""

import subprocess
import sys
from pathlib import Path

from tests.patience import PATIENCE
from tests.servers import ROOT

_THREADS = """\
import re, resource, sys, threading
from pathlib import Path
from pyoci_flask.index.fetch import FetchPool
from pyoci_flask.common.threads import FrugalExecutor, in_background

def used():
    return int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

def only(stacks):
    threading.stack_size(64 << 20)
    limit = used() + int(stacks * (64 << 20))
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))

def names(pool):
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(pool)}
"""

_FILES = """\
import contextlib, os, resource, sys
from pathlib import Path
from pyoci_flask.errors import BusyError
from pyoci_flask.index.lock import VersionLocks

locks = VersionLocks(Path(sys.argv[1]))
locks.prepare()
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
with contextlib.suppress(OSError):
    while True:
        os.dup(0)
"""


def _said(code: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_pool_makes_do_with_the_threads_that_it_gets() -> None:
    code = """
only(4.5)
gate = threading.Event()
with FrugalExecutor(8, thread_name_prefix="few") as pool:
    futures = [pool.submit(gate.wait, 20) for _ in range(8)]
    print(0 < len(names("few")) < 8)
    gate.set()
    print(sum(future.result() for future in futures))
"""
    assert _said(_THREADS + code) == ["True", "8"]


def test_without_any_thread_calls_are_made_all_the_same() -> None:
    code = """
only(0.5)
pool = FetchPool(2)
for _ in range(3):
    print(sum(pool.map("registry", lambda number: number + 1, range(10))))
with in_background(lambda: "parallel") as result:
    print(result())
with in_background(lambda: 1 / 0) as result:
    try:
        result()
    except ZeroDivisionError:
        print("raised")
print(len(names("fetch")))
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(sum(pool.map("registry", lambda number: number + 1, range(10))), len(names("fetch")) > 0)
"""
    assert _said(_THREADS + code) == ["55", "55", "55", "parallel", "raised", "0", "55 True"]


def test_without_any_file_locks_are_busy(tmp_path: Path) -> None:
    code = """
try:
    with locks.hold("a"):
        print("held")
except BusyError as error:
    print(error)
"""
    busy = "this server has too many files open; try again"
    assert _said(_FILES + code, str(tmp_path / "locks")) == [busy]
