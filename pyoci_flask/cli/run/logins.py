"""The logins of one run: found when they are needed, and kept in this process only."""

import logging
import time
from dataclasses import dataclass

from pyoci_flask.cli.login import login_for_registry
from pyoci_flask.cli.login.credentials import to_credentials
from pyoci_flask.common.memory import KeyedLocks, Memory
from pyoci_flask.errors import LoginError
from pyoci_flask.oci.reference import Registry
from pyoci_flask.settings import PinnedIndex
from pyoci_flask.transport.request import BasicCredentials, Credentials

logger = logging.getLogger("pyoci.run")

_SECONDS = 300.0
"""How long a login is used before it is looked up again, because some are short-lived."""
_GIVEN = "PYOCI_USERNAME and PYOCI_PASSWORD"


@dataclass(frozen=True, slots=True)
class UsedLogin:
    """The credentials for an index, and where they were found; None if there are none."""

    credentials: Credentials | None = None
    source: str | None = None
    username: str = ""
    """Empty if the login is a token."""
    command: str = ""
    """The command that replaces the login; empty if a person has to edit a file."""


class Logins:
    """Finds the login for each index of a run."""

    def __init__(
        self,
        given: Credentials | None,
        given_for: Registry | None,
        bearer_username: str | None,
    ) -> None:
        """Use `given`, if there is any, for the registry `given_for`, and no other."""
        self._given = given
        self._given_for = given_for
        self._bearer_username = bearer_username
        self._found: Memory[PinnedIndex, UsedLogin] = Memory(
            entries=100, max_bytes=1024 * 1024, ttl=_SECONDS
        )
        self._locks: KeyedLocks[PinnedIndex] = KeyedLocks()
        self._failed: dict[PinnedIndex, tuple[float, str]] = {}
        """When a search failed last, and why."""

    def find(self, index: PinnedIndex) -> UsedLogin:
        """Return the login for an index.

        Threads that wait for the search of another one share its result, also if it fails. A helper
        may take long to fail, and clients send many requests at once.

        Raises:
            LoginError: a file with logins cannot be read, or a helper fails.
        """
        if self._given is not None and index.registry == self._given_for:
            return _used(self._given, _GIVEN)
        asked = time.monotonic()
        with self._locks.hold(index):
            failed, why = self._failed.get(index, (0.0, ""))
            if failed > asked:
                raise LoginError(why)
            try:
                return self._found.get_or_make(index, lambda: self._look_up(index))
            except LoginError as error:
                self._failed[index] = time.monotonic(), str(error)
                raise

    def forget(self, index: PinnedIndex) -> None:
        """Look up the login again before the next request."""
        self._found.remove(index)

    def _look_up(self, index: PinnedIndex) -> UsedLogin:
        place = f"{index.registry.netloc}/{index.namespace}"
        found = login_for_registry(index.registry, index.namespace)
        if found is None:
            logger.info("no login was found for %s", place)
            return UsedLogin()
        logger.info("the login for %s is from %s", place, found.source)
        return _used(to_credentials(found, self._bearer_username), found.source, found.command)


def _used(credentials: Credentials, source: str, command: str = "") -> UsedLogin:
    username = credentials.username if isinstance(credentials, BasicCredentials) else ""
    return UsedLogin(credentials, source, username, command)
