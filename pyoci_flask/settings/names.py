"""The names of all variables, and warnings about variables that nothing reads."""

import difflib
import re
from collections.abc import Iterator, Mapping

from pyoci_flask.settings import Settings

COMMAND_LINE = frozenset(
    f"PYOCI_{prefix}{name}"
    for prefix in ("", "SOURCE_", "TARGET_")
    for name in ("USERNAME", "PASSWORD")
)
"""What the command line reads in addition to the settings."""

INTERNAL = frozenset(
    {
        "PYOCI_FLASK_CACHE_FOLDER",
        "PYOCI_FLASK_HOW_TO",
        "PYOCI_FLASK_METRICS_STARTED",
        "PYOCI_FLASK_STARTED",
        "PYOCI_RUN_PIP_INDEX_URL",
    }
)
"""What one process of the server passes to the next."""

# Kubernetes adds such variables for a service whose name begins with `pyoci`.
_SERVICE_LINK = re.compile(
    r"PYOCI_(\w+_)?(SERVICE_HOST|SERVICE_PORT\w*|PORT_[0-9]+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)"
)
_MOST = 20
"""Maximum number of warnings."""


def setting_names() -> frozenset[str]:
    """Return the names of the variables that `Settings` reads."""
    environ = _Recorder()
    Settings.from_env(environ)
    return frozenset(environ.asked)


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a warning for each `PYOCI_` variable that nothing reads, without its value.

    An empty variable counts as unset. At most 20 warnings are returned.
    """
    known = setting_names() | COMMAND_LINE | INTERNAL
    unknown = sorted(
        name
        for name, value in environ.items()
        if name.startswith("PYOCI_")
        and name not in known
        and value.strip()
        and not _is_service_link(name, value)
    )
    return [_warning(name, known - INTERNAL) for name in unknown[:_MOST]]


def _is_service_link(name: str, value: str) -> bool:
    return bool(_SERVICE_LINK.fullmatch(name)) or (
        name.endswith("_PORT") and value.startswith(("tcp://", "udp://"))
    )


def _warning(name: str, known: frozenset[str]) -> str:
    bare = name.removeprefix("PYOCI_")
    nearest = [bare] if bare in known else difflib.get_close_matches(name, sorted(known), 1, 0.75)
    hint = f"; did you mean {nearest[0]}?" if nearest else " (docs/settings.md lists all settings)"
    return f"{name} is not a setting, so it has no effect{hint}"


class _Recorder(Mapping[str, str]):
    """An environment without variables that records the names it was asked for."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0
