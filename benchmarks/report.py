"""The table, for people, as Markdown and as JSON."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.results import Result, Series

_HEADINGS = ("row", "figure", "floor", "compared", "target", "met", "calls")
_VERDICTS = {True: "yes", False: "NO", None: ""}


def cells(result: Result) -> tuple[str, ...]:
    """Return one line of the table: medians, in brackets the best round and the quartiles."""
    return (
        result.title,
        _with_unit(result.figure, result.unit),
        "" if result.floor is None else _with_unit(result.floor, result.unit),
        _compared(result),
        _target(result),
        _VERDICTS[result.met],
        _calls(result),
    )


def plain(results: Sequence[Result], heading: Iterable[str]) -> str:
    """Return the table in columns, then the meaning of each floor and other remarks."""
    rows = [_HEADINGS, *(cells(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*heading, "", *lines, "", *_remarks(results), ""])


def markdown(results: Sequence[Result], heading: Iterable[str]) -> str:
    """Return the same for docs/performance.md."""
    lines = [f"- {line}" for line in heading]
    lines += ["", _piped(_HEADINGS), "|" + "---|" * len(_HEADINGS)]
    lines += [_piped(cells(result)) for result in results]
    return "\n".join([*lines, "", *(f"- {line}" for line in _remarks(results)), ""])


def write_json(path: Path, results: Sequence[Result], machine: dict[str, str]) -> None:
    """Write everything that was measured."""
    document = {"machine": machine, "results": [result.to_json() for result in results]}
    path.write_text(json.dumps(document, indent=2) + "\n")


def _remarks(results: Sequence[Result]) -> list[str]:
    """Return each remark once, with the line or the rows that it is about."""
    said: dict[str, list[Result]] = {}
    for result in results:
        floors = [f"the floor is {result.floor_title}"] if result.floor_title else []
        for text in (*floors, *result.notes):
            said.setdefault(text, []).append(result)
    return [f"{_of(lines)}: {text}" for text, lines in said.items()]


def _of(lines: Sequence[Result]) -> str:
    if len(lines) == 1:
        return lines[0].title
    return ", ".join(dict.fromkeys(line.row for line in lines))


def _with_unit(series: Series, unit: str) -> str:
    if series.quartiles is None:
        return f"{_number(series.median)} {unit}"
    low, high = series.quartiles
    spread = f"{_number(series.best)}; {_number(low)} to {_number(high)}"
    return f"{_number(series.median)} ({spread}) {unit}"


def _compared(result: Result) -> str:
    if result.compared == "alone":
        return ""
    median, best = _number(result.value), _number(result.best_value)
    if result.compared == "ratio":
        return f"x {median} ({best})"
    return f"{_signed(median)} ({_signed(best)}) {result.unit}"


def _target(result: Result) -> str:
    if result.target is None:
        return ""
    sign = ">=" if result.target.at_least else "<="
    kind = {"ratio": "x ", "difference": "+", "alone": ""}[result.compared]
    unit = "" if result.compared == "ratio" else f" {result.unit}"
    return f"{sign} {kind}{_number(result.target.limit)}{unit}"


def _calls(result: Result) -> str:
    if result.calls is None:
        return ""
    wanted = result.target.calls if result.target else None
    return str(result.calls) if wanted is None else f"{result.calls} (<= {wanted})"


def _number(value: float) -> str:
    """Return three significant digits."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _signed(number: str) -> str:
    return number if number.startswith("-") else f"+{number}"


def _piped(row: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
