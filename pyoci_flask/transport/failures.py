"""Why a call was not answered, in words that say what to do, and in the log.

A registry that is down, a name that is unknown, a certificate that is not trusted and an answer
that comes too late need different remedies. So each has its own text.
"""

import errno
import logging
import socket
import ssl
from collections.abc import Iterator

import requests

from pyoci_flask.common.redaction import redact
from pyoci_flask.errors import (
    PyOCIError,
    RegistryError,
    RegistryTimeoutError,
    RegistryUnreachableError,
)
from pyoci_flask.logs import one_line
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.request import Request, origin_of

logger = logging.getLogger("pyoci.registry")

_DEPTH = 12
_CAUSE_LIMIT = 300
LATER = "Try again later, and ask the administrator of {host} if the problem persists"
SLOW_DOWN = "Wait a few minutes; most registries allow more requests to users who sign in"
PROXY_LOGIN = (
    "Put a valid user name and password into HTTPS_PROXY or HTTP_PROXY "
    "(http://USER:PASSWORD@HOST:PORT)"
)
"""Advice that other modules give as well; `LATER` needs a host."""

_NOT_THERE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN})
_NO_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
)
"""What versions of OpenSSL call an answer that is not TLS."""
_UNKNOWN_NAME = frozenset(
    {None, socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
)
"""Errors that no later attempt changes. A name that is not valid has no number."""


class ConnectionLostError(RegistryUnreachableError):
    """The connection was refused, or broke before a response. This is known quickly, so retry."""


def unanswered(error: requests.RequestException, request: Request, network: Network) -> PyOCIError:
    """Return the error for a call that had no response, with the remedy for its cause."""
    host = request.host
    found = list(causes(error))
    if isinstance(error, requests.exceptions.InvalidURL):
        return RegistryError(
            f"{host} is not an address that can be called",
            advice="Check the host name and the port in the address",
        )
    if isinstance(error, requests.exceptions.ProxyError):
        return _proxy_failure(found, host)
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return RegistryUnreachableError(
            f"{_named(request)} did not accept a connection in time",
            advice=f"Check that {host} is running and that no firewall blocks its port",
        )
    # A time-out while the body is being sent is reported as a connection error.
    if any(isinstance(one, requests.exceptions.Timeout | TimeoutError) for one in found):
        return late(request, "did not answer in time")
    fault = next((one for one in found if isinstance(one, ssl.SSLError)), None)
    if fault is not None or isinstance(error, requests.exceptions.SSLError):
        return _no_secure_connection(fault, request, network)
    return _no_connection(found, request)


def late(request: Request, what: str) -> RegistryTimeoutError:
    """Return the error for a time-out; `what` says what the host did not do in time."""
    return RegistryTimeoutError(
        f"{request.host} {what}{_sent_there(request)}", advice=LATER.format(host=request.host)
    )


def log_failure(error: PyOCIError) -> None:
    """Log once that a call failed, with the class and text of the exception that caused it."""
    text = redact(one_line(str(error)))
    if error.__cause__ is None:
        logger.warning("%s", text)
        return
    *_, cause = causes(error.__cause__)
    said = redact(one_line(str(cause)))[:_CAUSE_LIMIT]
    logger.warning("%s (%s: %s)", text, type(cause).__name__, said)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what requests and urllib3 have wrapped in it, outermost first."""
    seen: BaseException | None = error
    for _ in range(_DEPTH):
        if seen is None:
            return
        yield seen
        reason = getattr(seen, "reason", None)
        inner = [one for one in (reason, *seen.args) if isinstance(one, BaseException)]
        seen = inner[-1] if inner else seen.__cause__ or seen.__context__


def _named(request: Request) -> str:
    return f"{request.host}{_sent_there(request)}"


def _sent_there(request: Request) -> str:
    """Say which registry refers to the host, if the host is not the registry itself."""
    registry, there = origin_of(request.registry), origin_of(request.url)
    if registry == there:
        return ""
    return f" ({request.registry.partition('://')[2]} refers to it for tokens or content)"


def _no_connection(causes: list[BaseException], request: Request) -> PyOCIError:
    host = request.host
    unknown = next((one for one in causes if isinstance(one, socket.gaierror)), None)
    if unknown is not None and unknown.errno not in _UNKNOWN_NAME:
        return ConnectionLostError(
            f"no connection to {_named(request)}: the name server did not answer",
            advice="Try again later, and check the name server (DNS) of this machine if "
            "the problem persists",
        )
    if unknown is not None:
        return RegistryUnreachableError(
            f"no connection to {_named(request)}: its name is unknown",
            advice=f"Check the spelling of {host}, and that this machine can resolve it",
        )
    number = next((one.errno for one in causes if isinstance(one, OSError) and one.errno), None)
    if number == errno.ECONNREFUSED:
        return ConnectionLostError(
            f"no connection to {_named(request)}: it is down, or the port is wrong",
            advice=f"Check that {host} is running and that the port is right",
        )
    if number in _NOT_THERE:
        return ConnectionLostError(
            f"no connection to {_named(request)}: there is no network route to it",
            advice=f"Check the address of {host} and the network of this machine",
        )
    return ConnectionLostError(
        f"no connection to {_named(request)}, or it was closed without an answer",
        advice=f"Try again, and check that {host} is running if the problem persists",
    )


def _no_secure_connection(
    fault: ssl.SSLError | None, request: Request, network: Network
) -> RegistryUnreachableError:
    host, named = request.host, _named(request)
    if isinstance(fault, ssl.SSLCertVerificationError):
        return _untrusted(fault, request, network)
    reason = getattr(fault, "reason", None) or "the handshake failed"
    if reason not in _NO_TLS:
        return RegistryUnreachableError(
            f"no secure connection to {named}: the TLS handshake failed ({reason})",
            advice=f"Check the TLS settings of {host}: it needs TLS 1.2 or newer",
        )
    return RegistryUnreachableError(
        f"no secure connection to {named}: it does not answer with TLS ({reason})",
        advice=f"Write a registry without TLS as a URL, http://{host}, which is "
        f"http%3A%2F%2F{host.replace(':', '%3A')} in a path",
    )


def _untrusted(
    fault: ssl.SSLCertVerificationError, request: Request, network: Network
) -> RegistryUnreachableError:
    host, why = request.host, fault.verify_message
    # The numbers are OpenSSL's (X509_V_ERR_CERT_HAS_EXPIRED and so on, x509_vfy.h).
    match fault.verify_code:
        case 10:
            what, advice = "its certificate has expired", f"Renew the certificate of {host}"
        case 9:
            what = "its certificate is not valid yet"
            advice = f"Check the clocks of this machine and of {host}"
        case 62 | 64:
            what = f"its certificate is for another host ({why})"
            advice = f"Use the host name that the certificate of {host} contains"
        case _:
            where = network.ca_variable or "the certifi package"
            what = f"its certificate is not trusted by {where} ({why})"
            advice = (
                "Set REQUESTS_CA_BUNDLE to a file with the certificate of the authority behind "
                f"{host}, and start this program again"
            )
    return RegistryUnreachableError(
        f"no secure connection to {_named(request)}: {what}", advice=advice
    )


def _proxy_failure(causes: list[BaseException], host: str) -> PyOCIError:
    text = " ".join(str(one) for one in causes)
    if "407" in text and "Tunnel connection failed" in text:
        return RegistryUnreachableError(
            f"the proxy could not connect to {host}: it requires a user name and a password (407)",
            advice=PROXY_LOGIN,
        )
    if "Tunnel connection failed" in text:
        return RegistryUnreachableError(
            f"the proxy could not connect to {host}: it refused the connection",
            advice=f"Ask the administrator of the proxy to allow {host}, or add it to NO_PROXY",
        )
    late_proxy = any(isinstance(one, TimeoutError) for one in causes)
    return RegistryUnreachableError(
        f"the proxy could not connect to {host}: there is no connection to the proxy itself"
        f"{' in time' if late_proxy else ''}",
        advice="Check that the proxy in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY is running, or add "
        f"{host} to NO_PROXY",
    )
