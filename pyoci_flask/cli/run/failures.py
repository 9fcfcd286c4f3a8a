"""Failures of a registry, which are reported once, when COMMAND has ended."""

import threading

from pyoci_flask.cli.run.logins import UsedLogin

_MOST = 5


class Failures:
    """Collects failures from all threads, each once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, None] = {}

    def add(self, registry: str, text: str, login: UsedLogin | None = None) -> None:
        """Remember a failure, and where the login came from that was used."""
        host = registry.removeprefix("https://").removeprefix("http://")
        hint = ""
        if login is not None and login.source is None:
            hint = f" (no login for {host} was found; `docker login {host}` creates one)"
        elif login is not None:
            hint = f" (the login is from {login.source})"
        with self._lock:
            self._lines.setdefault(f"{text}{hint}")

    def lines(self) -> list[str]:
        """Return the first few failures, as lines for people."""
        with self._lock:
            lines = list(self._lines)
        more = len(lines) - _MOST
        return lines[:_MOST] + ([f"{more} more failures are in the log"] if more > 0 else [])
