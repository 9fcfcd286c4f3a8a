"""Measure what hostile input costs a server: `python -m benchmarks.hostile`."""

import importlib
import pkgutil

from benchmarks.hostile.attack import Attack


def attacks() -> list[Attack]:
    """Return the `ATTACKS` of every module of this package, by the rule that they test."""
    found: list[Attack] = []
    for module in pkgutil.iter_modules(__path__):
        if module.name not in {"__main__", "attack"}:
            found += importlib.import_module(f"{__name__}.{module.name}").ATTACKS
    return sorted(found, key=lambda one: int(one.point.split(".")[0]))
