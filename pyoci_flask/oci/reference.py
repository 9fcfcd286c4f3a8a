"""References of the OCI distribution specification: digests, tags, registries and repositories.

Each type can only be made from checked text, so that no later code builds a URL from unchecked
text of a client, a registry or a package.
"""

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from typing import Self

from pyoci_flask.common.grammar import (
    MAX_REPOSITORY_NAME,
    is_repository_name,
    is_tag,
)
from pyoci_flask.common.redaction import shown
from pyoci_flask.common.url import DEFAULT_PORTS
from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.oci.peculiarities import API_HOSTS, SAME_REGISTRY

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# A container's name may contain an underscore; a DNS name may not.
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*|[a-z0-9](?:[a-z0-9_-]{{0,61}}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""Text that the system's resolver reads as an IPv4 address, not as a name."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_URL = re.compile(r"(?P<scheme>https?):/{1,2}(?P<authority>.*)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The sha256 of some content: `sha256:` and 64 lower-case hex digits (image-spec, Digests)."""

    text: str

    def __post_init__(self) -> None:
        if _DIGEST.fullmatch(self.text) is None:
            raise InvalidRequestError(f"{shown(self.text)} is not a sha256 digest")

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Return the digest of `content`."""
        return cls(f"sha256:{hashlib.sha256(content).hexdigest()}")

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """Read the hexadecimal digits without the algorithm, as package indexes write them."""
        return cls(f"sha256:{text}")

    @property
    def hex(self) -> str:
        """The 64 digits without the algorithm."""
        return self.text.removeprefix("sha256:")

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, order=True)
class Tag:
    """A tag (distribution-spec, Pulling manifests): at most 128 word characters, `.` and `-`."""

    text: str

    def __post_init__(self) -> None:
        if not is_tag(self.text):
            raise InvalidRequestError(
                f"{shown(self.text)} cannot be the tag of a version",
                advice="Check the version in the address",
            )

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry's address: scheme, host in lower case (IPv6 in brackets) and port.

    The scheme's default port is stored as None, and the other hosts of Docker Hub as `docker.io`,
    because memories, locks, tokens and the allow-list use this address as their key, and one
    registry must not have two keys.
    """

    scheme: str
    host: str
    port: int | None = None

    def __post_init__(self) -> None:
        if self.port == DEFAULT_PORTS[self.scheme]:
            object.__setattr__(self, "port", None)
        if self.scheme == "https" and self.port is None:
            object.__setattr__(self, "host", SAME_REGISTRY.get(self.host, self.host))

    @property
    def netloc(self) -> str:
        """`host[:port]`, as people see it and as the allow-list matches it."""
        return self.host if self.port is None else f"{self.host}:{self.port}"

    @property
    def address(self) -> str:
        """What people write to refer to the registry; `parse` reads it."""
        bare = self.scheme == "https" and (self.port is not None or not self.has_one_label)
        return self.netloc if bare or self == EMBEDDED else f"{self.scheme}://{self.netloc}"

    @property
    def has_one_label(self) -> bool:
        """Whether the host, without a port, could be the first segment of any path."""
        return "." not in self.host and not self.host.startswith("[")

    @property
    def origin(self) -> str:
        """The scheme and host to send requests to."""
        return f"{self.scheme}://{API_HOSTS.get(self.netloc, self.netloc)}"

    @classmethod
    def parse(cls, text: str, *, any_host: bool = False) -> Self | None:
        """Read `host[:port]`, a URL without a path, or `embedded`; return None for other text.

        A host without a `.`, such as `localhost` or a container's name, needs a port or scheme,
        because `text` may be the first segment of any path. If `any_host` is true, it needs
        neither (for an operator's own setting).
        """
        if text == EMBEDDED.host:
            return cls(EMBEDDED.scheme, EMBEDDED.host)
        scheme, authority = "https", text
        explicit = _URL.fullmatch(text)
        if explicit:
            scheme, authority = explicit["scheme"].lower(), explicit["authority"].removesuffix("/")
        match = _AUTHORITY.fullmatch(authority)
        if match is None:
            return None
        host, port = match["host"].lower(), match["port"]
        if port is not None and not 0 < int(port) < 65536:
            return None
        if host.startswith("["):
            if not _is_ipv6(host[1:-1]):
                return None
        elif len(host) > 253 or not _HOST.fullmatch(host):
            return None
        found = cls(scheme, host, None if port is None else int(port))
        if any_host:
            return found
        if found.has_one_label and ((not explicit and port is None) or _NUMBER.fullmatch(host)):
            return None
        return None if found == EMBEDDED else found


EMBEDDED = Registry("http", "embedded")
"""The registry in this process. Its adapter is mounted at this origin."""


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository in a registry. The name follows the grammar of distribution-spec."""

    registry: Registry
    name: str

    def __post_init__(self) -> None:
        if len(self.name) > MAX_REPOSITORY_NAME:
            raise InvalidRequestError(
                f"namespace and project together are longer than {MAX_REPOSITORY_NAME} characters",
                advice="Use a shorter namespace or project name",
            )
        if not is_repository_name(self.name):
            raise InvalidRequestError(
                f"{shown(self.name)} cannot be the name of a repository: its segments must be "
                "lower-case letters and digits, joined by single dots, dashes or underscores",
                advice="Write the namespace in lower-case letters, as the registry shows it",
            )

    def __str__(self) -> str:
        return f"{self.registry.netloc}/{self.name}"

    @property
    def location(self) -> str:
        """The key for locks and memories, which is the same however the registry is written.

        It contains the scheme, because a response over http must not be used over https.
        """
        return f"{self.registry.origin}/{self.name}"
