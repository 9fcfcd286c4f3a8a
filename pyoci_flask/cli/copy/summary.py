"""What a copy has come to."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pyoci_flask.cli.screen import Screen

_SHOWN = 5


@dataclass(slots=True)
class Summary:
    """Counts files; `faults` says what failed, and why."""

    present: int
    """Files that the target had already."""
    faults: list[str]
    other_kinds: Sequence[str]
    """Files that are neither wheels nor .tar.gz."""
    notes: Sequence[str] = ()
    """What is unusual at the source, and is no failure."""
    copied: int = 0
    yanked: int = 0
    not_yanked: list[str] = field(default_factory=list)
    """Files that are yanked at the source, and not at a target that cannot do it."""

    def tell(self, screen: Screen, headline: str) -> None:
        """Write it; `headline` says what was done, or would be."""
        for fault in self.faults:
            screen.say(f"failed: {fault}", "red")
        for note in self.notes[:_SHOWN]:
            screen.say(f"note: {note}", "yellow")
        if len(self.notes) > _SHOWN:
            screen.say(
                f"note: {len(self.notes) - _SHOWN} more projects have such versions", "yellow"
            )
        if self.other_kinds:
            screen.say(
                f"left out: {_files(self.other_kinds)} that are neither wheels nor .tar.gz",
                "yellow",
            )
        if self.not_yanked:
            screen.say(
                f"not yanked: {_files(self.not_yanked)}, as the target does not take yanks (it is "
                "no PyOCI); at the source they are",
                "yellow",
            )
        parts = [headline, f"{self.present} there already"]
        parts += [f"{self.yanked} yanked"] if self.yanked else []
        parts += [f"{len(self.faults)} failed"] if self.faults else []
        screen.say(", ".join(parts), "bold")


def files(count: int) -> str:
    """Say how many."""
    return f"{count} file{'' if count == 1 else 's'}"


def _files(names: Sequence[str]) -> str:
    shown = ", ".join(name[:200] for name in names[:_SHOWN])
    return f"{files(len(names))} ({shown}{', ...' if len(names) > _SHOWN else ''})"
