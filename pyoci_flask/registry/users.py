"""The users of the registry: Basic authentication (RFC 7617) against an htpasswd file.

A line is `name:hash`, `name:hash:write` or `name:hash:read`, with a bcrypt hash as written by
`htpasswd -B`. A user with `write`, the default, may pull, push and delete. A user with `read` may
only pull.
"""

import enum
import hashlib
import hmac
import logging
import re
import secrets
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import bcrypt
from werkzeug.datastructures import Authorization

from pyoci_flask.common.memory import Memory
from pyoci_flask.registry.call import Call
from pyoci_flask.registry.errors import DistributionError, denied, unforeseen
from pyoci_flask.registry.files import FileCache

logger = logging.getLogger(__name__)

CHALLENGE = 'Basic realm="PyOCI registry"'
REMEMBERED_SECONDS = 300.0
REMEMBERED_CHECKS = 1024
PASSWORD_BYTES = 72
"""bcrypt ignores or refuses everything after this number of bytes."""

HIGHEST_COST = 16
"""The highest cost of a hash in the users file. Its check takes seconds; one more doubles that."""
_USUAL_COST = 10
_CHECKS_AT_ONCE = 2
_CHECKS_BEGUN = 8

_HASH = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_READING = frozenset({"GET", "HEAD"})


class UsersFileError(ValueError):
    """The users file is not valid. The text states the line and the reason."""


class Role(enum.Enum):
    """The rights of a user."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class User:
    """An entry of the users file."""

    password_hash: str
    role: Role

    @property
    def cost(self) -> int:
        """The cost of the hash. Each increase by one doubles the time of a check."""
        return int(self.password_hash[4:6])


class Access:
    """Decides which requests are allowed. Without a users file, anyone may do anything."""

    def __init__(self, users: Path | None) -> None:
        self._file = users
        self._users = None if users is None else FileCache(users, parse_users)
        self._checks = _Checks()

    def check_file(self) -> None:
        """Raise `UsersFileError` if the users file is not valid."""
        if self._users is not None:
            self._read(self._users)

    def check(self, call: Call) -> None:
        """Raise `DistributionError` (UNAUTHORIZED, DENIED) unless the request is allowed."""
        if self._users is None:
            return
        try:
            users = self._read(self._users)
        except UsersFileError as error:
            # While the file is not valid, all requests are refused: a user may have been removed.
            logger.error("%s", error)  # noqa: TRY400 - the text says it all
            raise unforeseen("the registry's users file is not valid", status=503) from error
        user = self._authenticate(call, users)
        if user.role is Role.READ and call.method not in _READING:
            raise denied("this user is only allowed to pull")

    def _read(self, users: FileCache[Mapping[str, User]]) -> Mapping[str, User]:
        try:
            return users.get()
        except OSError as error:
            raise UsersFileError(f"users file {self._file}: {error.strerror}") from error
        except UsersFileError as error:
            raise UsersFileError(f"users file {self._file}, {error}") from error

    def _authenticate(self, call: Call, users: Mapping[str, User]) -> User:
        credentials = Authorization.from_header(call.headers.get("Authorization"))
        if credentials is None or credentials.type != "basic":
            raise _unauthorized()
        name, password = credentials.username or "", (credentials.password or "").encode()
        if len(password) > PASSWORD_BYTES or b"\0" in password:
            raise _unauthorized()
        user = users.get(name)
        # A refusal always takes as long as a check of the highest cost in the file, so its
        # duration does not reveal which names exist.
        highest = max((one.cost for one in users.values()), default=_USUAL_COST)
        known_hash = _unmatchable(highest) if user is None else user.password_hash
        if not self._checks.passes(name, password, known_hash, highest) or user is None:
            raise _unauthorized()
        return user


class _Checks:
    """Checks passwords and remembers the correct ones for a while, because bcrypt is slow.

    It remembers a keyed hash of name, password and password hash, so that passwords are checked
    again if an entry of the users file changes.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._right: Memory[bytes, bool] = Memory(
            entries=REMEMBERED_CHECKS, max_bytes=512 * 1024, ttl=REMEMBERED_SECONDS
        )
        self._lock = threading.Lock()
        self._begun: dict[bytes, Future[bool]] = {}
        self._places = threading.BoundedSemaphore(_CHECKS_AT_ONCE)

    def passes(self, name: str, password: bytes, known_hash: str, cost: int) -> bool:
        """Return whether the password is correct; a wrong one takes as long as a hash of `cost`.

        Raises `DistributionError` (503) if too many passwords are waiting to be checked.
        """
        proof = self._proof(name.encode(), password, known_hash.encode())
        own: Future[bool] = Future()
        with self._lock:
            if proof in self._right:
                return True
            # A client's first requests arrive together and share one check.
            check = self._begun.get(proof, own)
            if check is own:
                if len(self._begun) >= _CHECKS_BEGUN:
                    busy = {"Retry-After": "1"}
                    raise DistributionError(
                        503, "UNKNOWN", "too many passwords are being checked", headers=busy
                    )
                self._begun[proof] = own
        if check is own:
            try:
                with self._places:
                    own.set_result(_check(password, known_hash, cost))
            except BaseException as error:
                own.set_exception(error)
                raise
            finally:
                with self._lock:
                    del self._begun[proof]
                    if own.exception() is None and own.result():
                        self._right.put(proof, True)
        return check.result()

    def _proof(self, *parts: bytes) -> bytes:
        digest = hmac.new(self._key, digestmod=hashlib.blake2b)
        for part in parts:
            digest.update(len(part).to_bytes(4, "big") + part)
        return digest.digest()


def _check(password: bytes, known_hash: str, cost: int) -> bool:
    """Return whether a password is correct; a wrong one takes as long as a hash of `cost`."""
    try:
        if bcrypt.checkpw(password, known_hash.encode()):
            return True
    except ValueError:  # the salt is not valid, so no hash was computed
        bcrypt.checkpw(password, _unmatchable(cost).encode())
        return False
    # Each cost takes twice as long as the one below, so these checks add up to the missing time.
    for missing in range(int(known_hash[4:6]), cost):
        bcrypt.checkpw(password, _unmatchable(missing).encode())
    return False


def parse_users(content: bytes) -> Mapping[str, User]:
    """Parse a users file; raise `UsersFileError` if a line is not valid."""
    users: dict[str, User] = {}
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise UsersFileError("the text is not UTF-8") from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        password_hash, _, role = rest.partition(":")
        if not name or not rest:
            raise UsersFileError(f"line {number}: expected name:hash or name:hash:role")
        if not _HASH.fullmatch(password_hash):
            raise UsersFileError(f"line {number}: not a bcrypt hash (make one with htpasswd -B)")
        if int(password_hash[4:6]) > HIGHEST_COST:
            raise UsersFileError(
                f"line {number}: the cost of the hash is over {HIGHEST_COST}, so its check would "
                "take too long (make one with htpasswd -B -C 12)"
            )
        if name in users:
            raise UsersFileError(f"line {number}: the file contains the name twice")
        try:
            users[name] = User(password_hash, Role(role or "write"))
        except ValueError:
            raise UsersFileError(f"line {number}: the role must be read or write") from None
    return users


def _unmatchable(cost: int) -> str:
    return f"$2b${cost:02}${'.' * 53}"


def _unauthorized() -> DistributionError:
    return DistributionError(
        401, "UNAUTHORIZED", "authentication required", headers={"WWW-Authenticate": CHALLENGE}
    )
