"""Decides which addresses count as one registry when threads are divided among registries."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from pyoci_flask.common.url import DEFAULT_PORTS
from pyoci_flask.oci.peculiarities import SAME_REGISTRY
from pyoci_flask.oci.reference import Registry
from pyoci_flask.transport.egress import literal


@dataclass(frozen=True, slots=True)
class Share:
    """A registry as an operator understands the word.

    If a setting contains it, it is a host with a port, or a host with any port, as written there.
    Otherwise it is a host.
    """

    host: str
    """The host, with a port if the setting contains one."""
    is_named: bool = True
    """Whether a setting contains it. All registries that no setting contains share one pool."""

    @property
    def pool(self) -> str:
        """The host, or one name for all hosts that no setting contains."""
        return self.host if self.is_named else "*"


@dataclass(frozen=True, slots=True)
class Shares:
    """Finds the share of a registry."""

    named: frozenset[str] = frozenset()
    """`host:port`, or `host` for every port. If this is empty, each host has its own share."""

    @classmethod
    def of(cls, exact: Iterable[Registry], hosts: Iterable[Registry]) -> Self:
        """Take the registries from the settings: `exact` with their port, `hosts` with any port."""
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
    """Return a registry's host in its only spelling, without the port.

    `127.1` and `0x7f000001` become `127.0.0.1`, all loopback addresses become `localhost`, and an
    IPv4 address embedded in an IPv6 address becomes that IPv4 address.
    """
    host = registry.host.rstrip(".").lower()
    host = SAME_REGISTRY.get(host, host)
    address = literal(host)
    if address is None:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return "localhost" if address.is_loopback else str(address)
