"""The allow-list of registries: patterns of origins (RFC 6454)."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Self

from pyoci_flask.common.url import DEFAULT_PORTS
from pyoci_flask.oci.peculiarities import API_HOSTS, SAME_REGISTRY
from pyoci_flask.oci.reference import EMBEDDED, Registry

_ENTRY = re.compile(
    r"(?:(?P<scheme>https?)://)?"
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_.*?-]+)"
    r"(?::(?P<port>[0-9]{1,5}|\*))?/?",
    re.IGNORECASE,
)
_WILDCARD = re.compile(r"[*?]")


@dataclass(frozen=True, slots=True)
class OriginPattern:
    """Origins that may be called: one scheme, and a host and a port that may be wildcards."""

    scheme: str
    host: str
    """In lower case; IPv6 in brackets; `*` and `?` as in file names."""
    port: str
    """A number, or `*` for every port."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `ghcr.io`, `host:port`, `*.azurecr.io`, `http://localhost:5000` or `embedded`.

        The default scheme is https, and the default port is that of the scheme.

        Raises:
            ValueError: the text is none of these.
        """
        match = _ENTRY.fullmatch(text)
        if match is None:
            raise ValueError(text)
        scheme, host = (match["scheme"] or "https").lower(), match["host"].lower()
        port = match["port"] or str(DEFAULT_PORTS[scheme])
        sample = f"{scheme}://{_WILDCARD.sub('a', host)}:{'1' if port == '*' else port}"
        if Registry.parse(sample, any_host=True) is None:
            raise ValueError(text)
        if text.lower() == EMBEDDED.host:
            return cls.of(EMBEDDED)
        return cls(scheme, host, port if port == "*" else str(int(port)))

    @classmethod
    def of(cls, registry: Registry) -> Self:
        """Return the pattern that matches the origin of `registry` and no other."""
        port = registry.port or DEFAULT_PORTS[registry.scheme]
        return cls(registry.scheme, registry.host, str(port))

    @property
    def registry(self) -> Registry | None:
        """The only registry that this matches, or None if it contains a wildcard."""
        if _WILDCARD.search(self.host) or self.port == "*":
            return None
        return Registry(self.scheme, self.host, int(self.port))

    @property
    def every_port(self) -> Registry | None:
        """The only host that this matches, on every port, or None for other patterns."""
        if _WILDCARD.search(self.host) or self.port != "*":
            return None
        return Registry(self.scheme, self.host)

    def matches(self, scheme: str, host: str, port: int) -> bool:
        """Return whether this matches an origin; `host` is in lower case, IPv6 in brackets.

        Docker Hub's hosts are one registry: an entry for one of them matches all of them.
        """
        # The brackets of an IPv6 address are not part of a pattern.
        pattern = SAME_REGISTRY.get(self.host, self.host).replace("[", "[[]")
        known = SAME_REGISTRY.get(host, host)
        hosts = {host, known, API_HOSTS.get(known, known)}
        return (
            self.scheme == scheme
            and self.port in {"*", str(port)}
            and any(fnmatchcase(one, pattern) for one in hosts)
        )
