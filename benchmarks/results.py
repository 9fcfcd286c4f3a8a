"""The result of a row: a figure, its floor, how they compare, and the target."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Comparison = Literal["ratio", "difference", "alone"]


@dataclass(frozen=True, slots=True)
class Series:
    """Measurements of one thing in one unit."""

    values: tuple[float, ...]
    more_is_better: bool = False

    @property
    def median(self) -> float:
        """Half of the measurements are above it."""
        return statistics.median(self.values)

    @property
    def best(self) -> float:
        """Return the measurement with the least disturbance."""
        return max(self.values) if self.more_is_better else min(self.values)

    @property
    def quartiles(self) -> tuple[float, float] | None:
        """Half of the measurements are between these; None if there is only one measurement."""
        if len(self.values) == 1:
            return None
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return low, high

    def times(self, factor: float) -> "Series":
        """Return the same in another unit."""
        return Series(tuple(value * factor for value in self.values), self.more_is_better)


@dataclass(frozen=True, slots=True)
class Target:
    """The limit of what a row compares."""

    limit: float
    at_least: bool = False
    """The limit is the least, not the most."""
    calls: int | None = None
    """The most calls to the registry."""


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table."""

    row: str
    title: str
    unit: str
    figure: Series
    floor: Series | None = None
    floor_title: str = ""
    compared: Comparison = "alone"
    target: Target | None = None
    calls: int | None = None
    """Calls to the registry for one request, as they were counted."""
    notes: tuple[str, ...] = field(default=())

    @property
    def value(self) -> float:
        """Return what the target applies to: the medians, compared."""
        return self._compare(lambda series: series.median)

    @property
    def best_value(self) -> float:
        """Return the same for the best measurements."""
        return self._compare(lambda series: series.best)

    @property
    def met(self) -> bool | None:
        """Return whether the target is met; None if there is none."""
        if self.target is None:
            return None
        limit, calls = self.target.limit, self.target.calls
        within = self.value >= limit if self.target.at_least else self.value <= limit
        return within and (calls is None or (self.calls is not None and self.calls <= calls))

    def to_json(self) -> dict[str, Any]:
        """Return everything, including each measurement."""
        floor = self.floor
        return {
            "row": self.row,
            "title": self.title,
            "unit": self.unit,
            "figure": _summary(self.figure),
            "figures": list(self.figure.values),
            "floor": None if floor is None else _summary(floor),
            "floors": None if floor is None else list(floor.values),
            "floor_title": self.floor_title,
            "compared": self.compared,
            "value": self.value,
            "best_value": self.best_value,
            "target": None if self.target is None else self.target.limit,
            "target_is_least": bool(self.target and self.target.at_least),
            "calls": self.calls,
            "calls_target": None if self.target is None else self.target.calls,
            "met": self.met,
            "notes": list(self.notes),
        }

    def _compare(self, of: Callable[[Series], float]) -> float:
        if self.compared == "alone" or self.floor is None:
            return of(self.figure)
        if self.compared == "ratio":
            return of(self.figure) / of(self.floor)
        return of(self.figure) - of(self.floor)


def _summary(series: Series) -> dict[str, Any]:
    return {"median": series.median, "best": series.best, "quartiles": series.quartiles}


def interleave(
    rounds: int,
    figure: Callable[[], float],
    floor: Callable[[], float],
    *,
    more_is_better: bool = False,
) -> tuple[Series, Series]:
    """Measure both in turn, so that any disturbance of the machine affects both."""
    figures, floors = [], []
    for _ in range(rounds):
        floors.append(floor())
        figures.append(figure())
    return Series(tuple(figures), more_is_better), Series(tuple(floors), more_is_better)
