"""The command: `python -m benchmarks.hostile --help`."""

import argparse
import contextlib
import http.client
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hostile import attacks
from benchmarks.hostile.attack import Attack, Target
from benchmarks.processes import running
from tests.ports import free_port
from tests.servers import LOOPBACK, ROOT

_HEALTH_PAUSE = 0.05
_HEALTH_PATIENCE = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one attack cost the server."""

    outcome: str
    seconds: float
    """Processor time of all of the server's processes."""
    memory: float
    """MiB by which the resident memory of its processes peaked over what they had before."""
    health: float
    """Seconds of the slowest answer of `/health` while the attack ran."""

    def __str__(self) -> str:
        late = f"{self.health:.2f} s" if self.health < _HEALTH_PATIENCE else "no answer"
        figures = f"{self.seconds:.2f} s, {self.memory:.0f} MiB, /health {late}"
        return f"{self.outcome}; {figures}"


def main() -> None:
    """Run the attacks against this checkout, and against an older commit if one is named."""
    given = _arguments()
    wanted = [one for one in attacks() if given.only in f"{one.point} {one.input}"]
    with contextlib.ExitStack() as stack:
        trees = {"after": ROOT}
        if given.before is not None:
            trees = {"before": stack.enter_context(_checkout(given.before)), **trees}
        print(f"| rule | input | {' | '.join(trees)} |")  # noqa: T201 -- the table is the result
        print("|" + "---|" * (2 + len(trees)))  # noqa: T201
        for attack in wanted:
            costs = " | ".join(str(_measured(attack, tree)) for tree in trees.values())
            print(f"| {attack.point} | {attack.input} | {costs} |", flush=True)  # noqa: T201


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile", description=__doc__)
    parser.add_argument("--before", metavar="COMMIT", help="measure this commit as well")
    parser.add_argument("--only", metavar="TEXT", default="", help="attacks that contain this text")
    return parser.parse_args()


@contextlib.contextmanager
def _checkout(commit: str) -> Iterator[Path]:
    """Check a commit out into a temporary folder until the block ends."""
    with tempfile.TemporaryDirectory(prefix="pyoci-before-") as folder:
        tree = Path(folder, "tree")
        _git("worktree", "add", "--detach", str(tree), commit)
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> None:
    command = ["git", "-C", str(ROOT), *arguments]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 -- git of this checkout


def _measured(attack: Attack, tree: Path) -> Cost:
    with tempfile.TemporaryDirectory(prefix="pyoci-hostile-") as name:
        folder = Path(name)
        port = free_port()
        (folder / "spool").mkdir()
        (folder / "attack").mkdir()
        for given, text in attack.files.items():
            (folder / given).write_text(text)
        environ = {
            "PORT": str(port),
            "WEB_CONCURRENCY": "1",
            "PYOCI_SPOOL": str(folder / "spool"),
            **{key: text.format(folder=folder, port=port) for key, text in attack.environ.items()},
        }
        with _server(tree, folder, port, environ) as process:
            pids = [process.pid, *_children(process.pid)]
            seconds, memory = _processor_time(pids), _memory(pids, "VmRSS")
            with _Health(port) as health:
                outcome = attack.send(Target(f"http://{LOOPBACK}:{port}", port, folder / "attack"))
            spent, peak = _processor_time(pids) - seconds, _memory(pids, "VmHWM") - memory
        return Cost(outcome, spent, max(0.0, peak) / 2**20, health.slowest)


@contextlib.contextmanager
def _server(
    tree: Path, folder: Path, port: int, environ: Mapping[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "gunicorn", "--chdir", str(tree), "--pythonpath", str(tree)]
    command += ["--config", str(tree / "gunicorn.conf.py"), "wsgi:app"]
    # Whichever tree this program runs from, the server runs from its own.
    extra = {**environ, "PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}
    log = folder / "log"
    # gunicorn puts the folder that it starts in before all others in the import path.
    with running(command, log, lambda: _health(port) is not None, extra, cwd=tree) as process:
        yield process


class _Health:
    """Asks `/health` repeatedly, each time on a new connection."""

    def __init__(self, port: int) -> None:
        self.slowest = 0.0
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "_Health":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._over.wait(_HEALTH_PAUSE):
            taken = _health(self._port)
            self.slowest = max(self.slowest, _HEALTH_PATIENCE if taken is None else taken)


def _health(port: int) -> float | None:
    """Return the seconds until `/health` answered 200; None if it did not."""
    begun = time.monotonic()
    probe = http.client.HTTPConnection(LOOPBACK, port, timeout=_HEALTH_PATIENCE)
    with contextlib.closing(probe):
        try:
            probe.request("GET", "/health")
            ok = probe.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return None
    return time.monotonic() - begun if ok else None


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _processor_time(pids: list[int]) -> float:
    """Return the seconds that these processes have used, with children that they waited for."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(one) for one in fields[11:15])
    return total / _TICKS


def _memory(pids: list[int], field: str) -> float:
    """Return the bytes of these processes; `field` is one of /proc/PID/status."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                total += int(line.split()[1]) * 1024
    return total


if __name__ == "__main__":
    main()
