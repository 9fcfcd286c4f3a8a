"""Which addresses count as one registry when threads are divided among registries."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from pyoci_flask.oci.peculiarities import SAME_REGISTRY
from pyoci_flask.oci.reference import DEFAULT_PORTS, Registry
from pyoci_flask.transport.egress import literal


@dataclass(frozen=True, slots=True)
class Share:
    """A registry as an operator understands the word.

    It is what a setting names: a host and a port, or a host with any port. If no setting names it,
    it is a host.
    """

    host: str
    """With a port if the setting names one."""
    is_named: bool = True
    """Whether a setting names it; all registries that no setting names share one pool."""

    @property
    def pool(self) -> str:
        """The host, or one name for all hosts that no setting names."""
        return self.host if self.is_named else "*"


@dataclass(frozen=True, slots=True)
class Shares:
    """Finds the share of a registry."""

    named: frozenset[str] = frozenset()
    """`host:port`, or `host` for every port; empty = each host has a share of its own."""

    @classmethod
    def of(cls, exact: Iterable[Registry], hosts: Iterable[Registry]) -> Self:
        """Take the registries that the settings name, those with a port and those with any port."""
        return cls(frozenset([*map(_with_port, exact), *map(host_of, hosts)]))

    def __call__(self, registry: Registry) -> Share:
        """Return the share of a registry."""
        with_port, host = _with_port(registry), host_of(registry)
        if with_port in self.named:
            return Share(with_port)
        return Share(host, not self.named or host in self.named)


def _with_port(registry: Registry) -> str:
    return f"{host_of(registry)}:{registry.port or DEFAULT_PORTS[registry.scheme]}"


def host_of(registry: Registry) -> str:
    """Return the one spelling of a registry's host, without its port.

    `127.1` and `0x7f000001` are `127.0.0.1`, all loopback addresses are `localhost`, an IPv4
    address inside an IPv6 one is that IPv4 address.
    """
    host = registry.host.rstrip(".").lower()
    host = SAME_REGISTRY.get(host, host)
    address = literal(host)
    if address is None:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return "localhost" if address.is_loopback else str(address)
