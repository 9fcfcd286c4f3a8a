"""A call to a registry, its token service or its storage, as a value.

It contains the caller's credentials, which are forwarded during one request and never kept.
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import IO, Literal, NamedTuple, Protocol, Self
from urllib.parse import urlsplit

from pyoci_flask.common.url import DEFAULT_PORTS

Body = bytes | IO[bytes] | None
Access = Literal["none", "pull", "push", "delete", "catalog"]

_KEY = secrets.token_bytes(32)
"""The key of this process. Without it, a fingerprint is meaningless and cannot be looked up."""


class Credentials(Protocol):
    """What the caller sent in `Authorization`."""

    @property
    def header(self) -> str:
        """The value of an Authorization header."""
        ...


@dataclass(frozen=True, slots=True)
class BasicCredentials:
    """User name and password (RFC 7617)."""

    username: str
    password: str = field(repr=False)

    @property
    def header(self) -> str:
        """`Basic` and the base64 encoding of user name and password in UTF-8."""
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


@dataclass(frozen=True, slots=True)
class IdentityToken:
    """A refresh token of the registry's token service (`identitytoken` in Docker's config.json).

    Only the token service gets it, in exchange for a Bearer token.
    """

    username: str
    token: str = field(repr=False)

    @property
    def header(self) -> str:
        """What stands for the token in keys. It is never sent."""
        return f"IdentityToken {self.token}"


def fingerprint(credentials: Credentials | None) -> str:
    """Return a keyed hash that stands for credentials in keys but does not contain them."""
    if credentials is None:
        return "anonymous"
    return hashlib.blake2b(credentials.header.encode(), key=_KEY, digest_size=16).hexdigest()


class Scope(NamedTuple):
    """What a call needs access to: a repository, or (with any name) the registry's catalog."""

    repository: str
    access: Access

    def __str__(self) -> str:
        if self.access == "none":
            return ""
        if self.access == "catalog":
            return "registry:catalog:*"
        # `delete` is requested only with the scope of the registry's own challenge, because some
        # token services refuse a whole request that contains an action they do not know.
        actions = "pull" if self.access == "pull" else "pull,push"
        return f"repository:{self.repository}:{actions}"


_NOTHING = Scope("", "none")


@dataclass(frozen=True, slots=True)
class Request:
    """What to send, for whom, and how long to wait. `dataclasses.replace` makes variants.

    `Transport` sends the headers as they are. `Authenticator` adds an Authorization for
    `credentials` and `scope`.
    """

    method: str
    url: str
    registry: str
    """The origin of the registry on whose behalf the call is made."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Body = field(default=None, repr=False)
    length: int = 0
    """The number of bytes in `body` if it is a file."""
    credentials: Credentials | None = None
    scope: Scope = _NOTHING
    idempotent: bool = False
    """Whether the call may be repeated after a failure."""
    patience: float | None = None
    """Seconds to use instead of the read time-out."""
    may_be_private: bool = True
    """Whether a registry at a private address may send this call to another private host."""
    may_wait: bool = True
    """Whether to pause and try again where the registry is busy. If not, there is one attempt."""

    @property
    def host(self) -> str:
        """Host and port of the URL."""
        return urlsplit(self.url).netloc

    @property
    def authorization(self) -> str | None:
        """The Authorization header."""
        return self.headers.get("Authorization")

    @property
    def size(self) -> int:
        """The number of bytes in the body."""
        return len(self.body) if isinstance(self.body, bytes) else self.length

    def authorized(self, authorization: str | None) -> Self:
        """Return the request with an Authorization header, or unchanged if it is None."""
        if authorization is None:
            return self
        return replace(self, headers={**self.headers, "Authorization": authorization})

    def moved(self, url: str) -> Self:
        """Return the request with another URL. Another origin does not receive the Authorization.

        Storage services return 400 for a signed URL that comes with an Authorization.
        """
        headers = dict(self.headers)
        if origin_of(url) != origin_of(self.url):
            headers.pop("Authorization", None)
        return replace(self, url=url, headers=headers)


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port (RFC 6454, section 5), with the scheme's port if it has none."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme)
