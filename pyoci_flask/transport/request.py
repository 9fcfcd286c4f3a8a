"""One call to a registry, its token service or its storage, as a value.

It holds the caller's credentials: forwarded during one request, never kept.
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import IO, Literal, Protocol, Self
from urllib.parse import urlsplit

Body = bytes | IO[bytes] | None
Access = Literal["none", "pull", "push", "delete", "catalog"]

_PORTS = {"http": 80, "https": 443}
_KEY = secrets.token_bytes(32)
"""The key of this process: a fingerprint means nothing elsewhere and cannot be looked up."""


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


@dataclass(frozen=True, slots=True)
class Scope:
    """What a call needs: access to a repository, or (with any name) to the registry's catalog."""

    repository: str
    access: Access

    def __str__(self) -> str:
        if self.access == "none":
            return ""
        if self.access == "catalog":
            return "registry:catalog:*"
        # `delete` is asked for only in the words of the registry's own challenge: some token
        # services refuse the whole request for an action that they do not know.
        actions = "pull" if self.access == "pull" else "pull,push"
        return f"repository:{self.repository}:{actions}"


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
    """The number of bytes of a file `body`."""
    credentials: Credentials | None = None
    scope: Scope = Scope("", "none")
    idempotent: bool = False
    """Whether the call may be made again after a failure."""
    patience: float | None = None
    """Seconds that replace the read time-out."""
    may_be_private: bool = True
    """Whether a registry at a private address may lead to another private host with this call."""

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
        """The number of bytes of the body."""
        return len(self.body) if isinstance(self.body, bytes) else self.length

    def authorized(self, authorization: str | None) -> Self:
        """Return the request with an Authorization header; the same request for None."""
        if authorization is None:
            return self
        return replace(self, headers={**self.headers, "Authorization": authorization})

    def moved(self, url: str) -> Self:
        """Return the request to another URL. Another origin does not get the Authorization.

        Storage services answer 400 to a signed URL that comes with one.
        """
        headers = dict(self.headers)
        if origin_of(url) != origin_of(self.url):
            headers.pop("Authorization", None)
        return replace(self, url=url, headers=headers)


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port (RFC 6454, section 5), with the scheme's port if it has none."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)
