"""Checks at startup that the undocumented parts of other packages that this program needs exist.

Some time-outs and limits work only because a method of a base class is overridden. If another
version of the package renamed the method, the limit would silently be lost.
"""

import inspect
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from types import ModuleType
from typing import TypeVar

from pyoci_flask.errors import ConfigurationError

PYTHONS = ("3.11", "3.12", "3.13")
"""The versions of Python whose standard library has been tested."""

_T = TypeVar("_T", bound=type)


@dataclass(frozen=True, slots=True)
class Part:
    """A name that must exist in a class, module or object of another package."""

    owner: object
    name: str
    user: str
    override: Callable[..., object] | None = None


_OURS = "pyoci_flask."
_parts: list[Part] = []


def overrides(*names: str) -> Callable[[_T], _T]:
    """Return a class decorator. The other package's base class must have the methods `names`."""

    def register(cls: _T) -> _T:
        base = next(one for one in cls.__mro__ if not one.__module__.startswith(_OURS))
        _parts.extend(Part(base, name, cls.__qualname__, vars(cls)[name]) for name in names)
        return cls

    return register


def relies_on(owner: object, *names: str, user: str) -> None:
    """Record that `user` (a module or file) needs the attributes `names` of `owner`."""
    _parts.extend(Part(owner, name, user) for name in names)


def registered() -> tuple[Part, ...]:
    """Return all parts that the modules imported so far rely on."""
    return tuple(_parts)


def check_overrides(*modules: str) -> None:
    """Import `modules`, then check every part that imported modules rely on.

    Raises:
        ConfigurationError: a part is missing or has other arguments. The text is one line with the
            part's name, the installed version and what to do.
    """
    for module in modules:
        try:
            import_module(module)
        except ImportError as error:
            package = _installed(error.name) if error.name else "a package"
            raise ConfigurationError(
                f"{module} does not work with {package} ({error.msg}): {_remedy(error.name or '')}"
            ) from error
    for part in _parts:
        check(part)


def check(part: Part) -> None:
    """Check one part.

    Raises:
        ConfigurationError: the part is missing or has other arguments.
    """
    module, owner = _described(part.owner)
    found = inspect.getattr_static(part.owner, part.name, None)
    if found is None:
        fault = f"has no {owner}.{part.name}, which {part.user} needs"
    elif part.override is not None and not _accepts(part.override, found):
        fault = f"calls {owner}.{part.name} with other arguments than {part.user} accepts"
    else:
        return
    raise ConfigurationError(f"{_installed(module)} {fault}: {_remedy(module)}")


def _accepts(override: Callable[..., object], overridden: object) -> bool:
    """Return whether the override accepts each call that the overridden method accepts."""
    try:
        theirs = inspect.signature(overridden).parameters.values()  # type: ignore[arg-type] # TypeError is caught
    except (TypeError, ValueError):
        return True  # written in C, without a signature
    ours = inspect.signature(override)
    by_position = [p for p in theirs if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    required = [p for p in by_position if p.default is p.empty]
    by_name = {p.name: p for p in theirs if p.kind is p.KEYWORD_ONLY}
    try:
        ours.bind(*by_position, **by_name)
        ours.bind(*required, **{n: p for n, p in by_name.items() if p.default is p.empty})
    except TypeError:
        return False
    return True


def _described(owner: object) -> tuple[str, str]:
    if isinstance(owner, ModuleType):
        return owner.__name__, owner.__name__
    kind = owner if isinstance(owner, type) else type(owner)
    return kind.__module__, kind.__qualname__


def _installed(module: str) -> str:
    """Return the name and version of the distribution to which `module` belongs."""
    package = module.partition(".")[0]
    if package in sys.stdlib_module_names:
        return f"Python {platform.python_version()}"
    distribution = packages_distributions().get(package, [package])[0]
    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return distribution


def _remedy(module: str) -> str:
    if module.partition(".")[0] in sys.stdlib_module_names:
        return f"run this with Python {', '.join(PYTHONS)}"
    return "install the version that the project's requirements.txt specifies"
