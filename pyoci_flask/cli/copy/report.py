"""The progress and result of a copy: a bar on a terminal, or else a line for each file."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pyoci_flask.cli.copy.plan import Plan
from pyoci_flask.cli.screen import FEW, Screen, few


class Board:
    """Shows the progress of copying `files` files and `size` bytes (None if not known).

    A terminal shows the bar inside `with board.bar:`. Several threads may call the methods.
    """

    def __init__(self, screen: Screen, files: int, size: int | None) -> None:
        self._screen = screen
        self._files = files
        self._size = size
        self._lock = threading.Lock()
        self._done = 0
        self._failed = 0
        self.came = 0
        """Bytes received so far, without those of failed files."""
        self.bar = Progress(
            BarColumn(),
            TextColumn("{task.fields[files]}"),
            TextColumn("{task.fields[bytes]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            console=screen.console,
            disable=not screen.console.is_terminal,
        )
        # If sizes are known, bytes predict the remaining time better than files.
        self._task = self.bar.add_task(
            "", total=files if size is None else size, files="", bytes=""
        )
        self._show()

    def advance(self, size: int) -> None:
        """Count received bytes; a negative number subtracts those of a failed file."""
        with self._lock:
            self.came += size
            self._show()

    def done(self, text: str, *, failed: bool = False) -> None:
        """Count a finished file; without a bar, write `text`."""
        with self._lock:
            self._done += 1
            self._failed += failed
            if not self._screen.console.is_terminal:
                self._screen.say(text)
            self._show()

    def _show(self) -> None:
        failed = f", {self._failed} failed" if self._failed else ""
        size = "" if self._size is None else f" of {decimal(self._size)}"
        self.bar.update(
            self._task,
            completed=self._done if self._size is None else self.came,
            files=f"{self._done} of {self._files} files{failed}",
            bytes=f"{decimal(self.came)}{size}",
        )


@dataclass(slots=True)
class Summary:
    """Counts the results of carrying out `plan`, to which later failures are added."""

    plan: Plan
    copied: int = 0
    yanked: int = 0
    not_yanked: list[str] = field(default_factory=list)
    """Files that are yanked only at the source, because the target does not support yanking."""

    def write(self, screen: Screen, headline: str) -> None:
        """Write the summary; `headline` says what was done or would be done."""
        plan = self.plan
        for fault in plan.faults:
            screen.say(f"failed: {fault}", "red")
        for note in plan.notes[:FEW]:
            screen.say(f"note: {note}", "yellow")
        if len(plan.notes) > FEW:
            screen.say(
                f"note: {len(plan.notes) - FEW} more projects have versions without files", "yellow"
            )
        if plan.other_kinds:
            screen.say(
                f"left out: {_files(plan.other_kinds)} that are neither wheels nor .tar.gz",
                "yellow",
            )
        if self.not_yanked:
            screen.say(
                f"not yanked: {_files(self.not_yanked)}; they are yanked at the source, but the "
                "target is not a PyOCI server and does not support yanking",
                "yellow",
            )
        parts = [headline, f"{plan.present} already present"]
        parts += [f"{self.yanked} yanked"] if self.yanked else []
        parts += [f"{len(plan.faults)} failed"] if plan.faults else []
        screen.say(", ".join(parts), "bold")


def files(count: int) -> str:
    """Return a number of files in words."""
    return f"{count} file{'' if count == 1 else 's'}"


def _files(names: Sequence[str]) -> str:
    return f"{files(len(names))} ({few([name[:200] for name in names])})"
