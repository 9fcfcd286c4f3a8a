"""Failures of a registry, which are reported once, when COMMAND has ended."""

import threading

from pyoci_flask.cli.run.logins import UsedLogin

_MOST = 3
"""Lines that are shown. One more is kept, to know whether there are more."""


class Failures:
    """Collects failures from all threads.

    A registry that refuses a login refuses it for each project. This is one failure.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[object, str] = {}

    def add(self, registry: str, text: str, login: UsedLogin | None = None) -> None:
        """Remember what the person should know.

        `registry` is its address, or empty if the failure is not one of a registry. `login` is the
        one with which the registry denied the request, or None if it did not deny it.
        """
        host = registry.removeprefix("https://").removeprefix("http://")
        key: object = text if login is None else (host, login.source)
        hint = "" if login is None else _hint(host, login)
        with self._lock:
            if len(self._lines) <= _MOST:
                self._lines.setdefault(key, f"{text}{hint}")

    def lines(self) -> list[str]:
        """Return the first few failures, as lines for people."""
        with self._lock:
            lines = list(self._lines.values())
        return lines[:_MOST] + (["the log has more failures"] if len(lines) > _MOST else [])


def _hint(host: str, login: UsedLogin) -> str:
    if login.source is None:
        return f". No login for {host} was found. `docker login {host}` creates one"
    user = f"{login.username}, " if login.username else ""
    advice = f"`{login.command}` replaces it" if login.command else "replace it there"
    return f". The login is {user}from {login.source}. If it is wrong or has expired, {advice}"
