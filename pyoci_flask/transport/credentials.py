"""The caller's credentials: forwarded during one request, never kept."""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Protocol

_KEY = secrets.token_bytes(32)
"""The key of this process: a fingerprint means nothing elsewhere and cannot be looked up."""


class Credentials(Protocol):
    """What the caller sent in `Authorization`."""

    @property
    def header(self) -> str:
        """The value of an Authorization header."""


@dataclass(frozen=True, slots=True)
class BasicCredentials:
    """User name and password (RFC 7617)."""

    username: str
    password: str = field(repr=False)

    @property
    def header(self) -> str:
        """`Basic` and the base64 of both, in UTF-8."""
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode('ascii')}"


@dataclass(frozen=True, slots=True)
class BearerCredentials:
    """A token that the registry itself understands (RFC 6750), passed on unchanged."""

    token: str = field(repr=False)

    @property
    def header(self) -> str:
        """`Bearer` and the token."""
        return f"Bearer {self.token}"


def fingerprint(credentials: Credentials | None) -> str:
    """Return a name for credentials in a key, without holding them: a keyed hash."""
    if credentials is None:
        return "anonymous"
    return hashlib.blake2b(credentials.header.encode(), key=_KEY, digest_size=16).hexdigest()
