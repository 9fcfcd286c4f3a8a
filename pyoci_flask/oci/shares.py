"""Which registries are one, when threads are shared out among registries."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from pyoci_flask.oci.reference import Registry
from pyoci_flask.transport.egress import literal

_DOCKER_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


@dataclass(frozen=True, slots=True)
class Share:
    """A registry as an operator understands the word: a host, whatever its ports."""

    host: str
    is_named: bool = True
    """Whether a setting names it; those that none names have one share together."""

    @property
    def pool(self) -> str:
        """The host, or one name for all hosts that no setting names."""
        return self.host if self.is_named else "*"


@dataclass(frozen=True, slots=True)
class Shares:
    """Finds the share of a registry."""

    named: frozenset[str] | None = None
    """Hosts that the settings name; None = they name none, and each has a share of its own."""

    @classmethod
    def of(cls, named: Iterable[Registry]) -> Self:
        """Take the registries that the settings name one by one."""
        hosts = frozenset(host_of(registry) for registry in named)
        return cls(hosts or None)

    def __call__(self, registry: Registry) -> Share:
        """Return the share of a registry."""
        host = host_of(registry)
        return Share(host, self.named is None or host in self.named)


def host_of(registry: Registry) -> str:
    """Return one spelling of a registry's host, without its port.

    `127.1` and `0x7f000001` are `127.0.0.1`, all loopback addresses are `localhost`, an IPv4
    address inside of an IPv6 one is that address.
    """
    host = registry.host.rstrip(".").lower()
    if host in _DOCKER_HUB:
        return "docker.io"
    address = literal(host)
    if address is None:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return "localhost" if address.is_loopback else str(address)
