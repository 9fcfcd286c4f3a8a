"""The first steps of a check: name, connection, TLS and the registry's API."""

import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from pyoci_flask.cli.check.report import Report, StopError
from pyoci_flask.cli.screen import few
from pyoci_flask.cli.tls import explained, tls_fault
from pyoci_flask.common.url import DEFAULT_PORTS
from pyoci_flask.errors import PyOCIError
from pyoci_flask.oci.reference import EMBEDDED, Registry
from pyoci_flask.transport.challenge import Challenge, parse_challenges
from pyoci_flask.transport.egress import resolve
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.observe import redacted
from pyoci_flask.transport.request import Request
from pyoci_flask.transport.session import Transport

_CONNECT_SECONDS = 5.0
_SHOWN_ADDRESSES = 3


@dataclass(frozen=True, slots=True)
class Greeting:
    """How the registry responds to a call without credentials."""

    open: bool
    """Whether the registry requires no credentials."""
    challenges: tuple[Challenge, ...]


def reach(report: Report, transport: Transport, network: Network, registry: Registry) -> Greeting:
    """Find the registry and call its API (distribution-spec, Determining Support).

    Raises:
        StopError: the registry cannot be reached.
    """
    url = f"{registry.origin}/v2/"
    if registry == EMBEDDED:
        report.note("connection", "the embedded registry is called within this process")
    elif network.proxies_for(url):
        report.note("connection", "uses the proxy that is set in the environment")
    else:
        _connect(report, registry)
    return _greeting(report, transport, registry, url)


def _connect(report: Report, registry: Registry) -> None:
    parts = urlsplit(registry.origin)
    host = parts.hostname or ""
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    try:
        with report.screen.working("name"):
            found = resolve(host, port)
    except OSError as error:
        report.failed(
            "name",
            f"{host} is not known: {error.strerror}",
            "check the spelling, and whether this machine can resolve the registry's name",
        )
        raise StopError from error
    shown = few([str(address) for address, _ in found], _SHOWN_ADDRESSES)
    report.ok("name", f"{host} is at {shown}")
    try:
        with report.screen.working("connection"):
            socket.create_connection((host, port), _CONNECT_SECONDS).close()
    except OSError as error:
        late = isinstance(error, TimeoutError)
        report.failed(
            "connection",
            f"port {port} of {host}: {'no answer' if late else error.strerror}",
            "check that the registry is running and that no firewall blocks the connection"
            if late
            else "check that the registry is running and that the port is correct",
        )
        raise StopError from error
    report.ok("connection", f"port {port} takes connections")


def _greeting(report: Report, transport: Transport, registry: Registry, url: str) -> Greeting:
    with report.step("API"):
        try:
            reply = transport.send(Request("GET", url, registry.origin, idempotent=True))
        except PyOCIError as error:
            fault = tls_fault(error)
            if fault is None:
                raise
            report.failed("TLS", *_explained(fault, registry))
            raise StopError from error
    reply.close()
    if registry.scheme == "https":
        report.ok("TLS", "the certificate is trusted")
    kind = reply.headers.get("Content-Type", "")
    if reply.status not in {200, 401} or (reply.status == 200 and kind.startswith("text/html")):
        shown = f"{redacted(reply.url)} returns {reply.status}"
        report.failed(
            "API",
            f"{shown}{' with a web page' if reply.status == 200 else ''}",
            "check the host and the port, because this is not a registry",
        )
        raise StopError
    report.ok("API", f"/v2/ returns {reply.status}, as expected of a registry")
    return Greeting(
        reply.status == 200, parse_challenges(reply.headers.get("WWW-Authenticate", ""))
    )


def _explained(fault: ssl.SSLError, registry: Registry) -> tuple[str, str]:
    if isinstance(fault, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {registry.netloc} is not accepted: {explained(fault)}",
            "to trust your own certificate authority, set REQUESTS_CA_BUNDLE to its certificate",
        )
    return (
        f"{registry.netloc} does not respond with TLS ({explained(fault)})",
        f"if the registry has no TLS, write http://{registry.netloc}/NAMESPACE",
    )
