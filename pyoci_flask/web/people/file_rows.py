"""The files of a version as a page lists them: by system, then by version of Python."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from pyoci_flask.index.project import File
from pyoci_flask.index.wheel_tags import SYSTEMS, RunsOn, runs_on

_USUAL = ("Windows x86-64", "Linux x86-64")
"""The machines that most people have, which come first."""


@dataclass(frozen=True, slots=True)
class Row:
    """A file and what it runs on."""

    file: File
    runs: RunsOn


@dataclass(frozen=True, slots=True)
class System:
    """The files for one kind of system."""

    name: str
    rows: Sequence[Row]


def rows_of(files: Iterable[File]) -> list[Row]:
    """Sort the files: by system, then for the newest Python first, then for each machine."""
    rows = [Row(file, runs_on(file.filename)) for file in files]
    return sorted(rows, key=_order)


def by_system(rows: Iterable[Row]) -> list[System]:
    """Group files that are sorted by system."""
    groups = groupby(rows, key=lambda row: row.runs.system)
    return [System(name, list(some)) for name, some in groups]


def _order(row: Row) -> tuple[int, int, int, bool, str, str]:
    major, minor = row.runs.python
    words, name = row.runs.words, row.file.filename.text
    usual = words.startswith(_USUAL)
    return SYSTEMS.index(row.runs.system), -major, -minor, not usual, words, name
