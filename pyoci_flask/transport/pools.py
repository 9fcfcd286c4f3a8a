"""Pooled connections that check each address and keep their deadlines."""

import socket
import time
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.response import BaseHTTPResponse, HTTPResponse

from pyoci_flask.common.memory import Memory
from pyoci_flask.common.overrides import overrides, relies_on
from pyoci_flask.transport.deadline import DEADLINES
from pyoci_flask.transport.egress import EgressPolicy, literal, resolve

_MOST_ADDRESSES = 4
_POOLS = 64
_POOLS_BYTES = 512 * 1024
"""Bounds of the pools of connections that are kept, one for each origin."""
_BLOCK = 128 * 1024
"""Bytes of a file that are read and sent at a time."""
_BLOCK_PATIENCE = 60.0
"""Seconds for a registry to accept a block. Some pause while they move data to storage."""


@overrides("_new_conn", "send", "getresponse")
class _GuardedConnection(HTTPConnection):
    """Connects only to addresses that were checked, and limits the time for all headers."""

    policy: EgressPolicy

    def _new_conn(self) -> socket.socket:
        try:
            found = resolve(self._dns_host, self.port)
        except OSError as error:
            reason = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
            raise NameResolutionError(self.host, self, reason) from error
        allowed = self.policy.choose(self.host, [address for address, _ in found])
        last: OSError | None = None
        # The time-out covers all attempts to connect, however many addresses the name has.
        timed = isinstance(self.timeout, int | float)
        limit = time.monotonic() + cast("float", self.timeout) if timed else None
        reachable = [one for one in found if one[0] in allowed]
        for _, (family, kind, proto, sockaddr) in reachable[:_MOST_ADDRESSES]:
            sock = socket.socket(cast("int", family), cast("int", kind), cast("int", proto))
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                if limit is not None:
                    sock.settimeout(max(0.001, limit - time.monotonic()))
                sock.connect(cast("Any", sockaddr))
            except OSError as error:
                sock.close()
                last = error
            else:
                return sock
        if isinstance(last, TimeoutError):
            raise ConnectTimeoutError(self, f"{self.host} did not answer") from last
        raise NewConnectionError(self, f"no connection: {last}") from last

    def send(self, data: Any) -> None:  # noqa: ANN401 - as in http.client
        """Send a part of the request. The time-out for connecting no longer applies."""
        if self.sock is not None:
            self.sock.settimeout(_BLOCK_PATIENCE)
        super().send(data)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # urllib3 overrides http.client with another type
        """Read the status and all headers within the read time-out."""
        sock, timeout = self.sock, self.timeout
        if sock is None or not isinstance(timeout, int | float):
            return super().getresponse()
        with DEADLINES.limit(timeout, lambda: sock.shutdown(socket.SHUT_RDWR)) as limit:
            try:
                response = super().getresponse()
            except Exception as error:
                if limit.expired:
                    raise TimeoutError("the response headers took too long") from error
                raise
            if limit.expired:
                # http.client mistakes the end of the connection for the end of the headers.
                response.close()
                raise TimeoutError("the response headers took too long")
            return response


class _GuardedTLSConnection(_GuardedConnection, HTTPSConnection):
    """A guarded connection over TLS. The socket's time-out applies to the whole handshake."""


def _known_pools() -> Memory[tuple[str, bool | str], ConnectionPool]:
    """Return a memory of pools by origin, so that they need not be found by all their settings."""
    return Memory(entries=_POOLS, max_bytes=_POOLS_BYTES)


def _pool_classes(policy: EgressPolicy) -> dict[str, Any]:
    plain = type("GuardedConnection", (_GuardedConnection,), {"policy": policy})
    secure = type("GuardedTLSConnection", (_GuardedTLSConnection,), {"policy": policy})
    return {
        "http": type("GuardedPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("GuardedTLSPool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
    }


class _Response(requests.Response):
    """A response with what `Reply` reads. requests' own makes a jar for the cookies of each."""

    def __init__(self, raw: BaseHTTPResponse) -> None:
        self._content: Any = False
        self._content_consumed = False
        self.raw = raw
        self.status_code = raw.status
        self.headers = cast("Any", raw.headers)


@overrides(
    "send",
    "init_poolmanager",
    "get_connection_with_tls_context",
    "request_url",
    "build_response",
    "close",
)
class GuardedAdapter(HTTPAdapter):
    """A pooled adapter of requests that checks the address of every direct connection.

    A connection through a configured proxy goes to the proxy's own address, which is the
    operator's choice and is not checked. If the host behind the proxy is an IP address, it is
    checked; a name cannot be checked. Each policy needs its own adapter, because a call must not
    use a connection that only another policy allowed.
    """

    def __init__(self, policy: EgressPolicy, pool_size: int) -> None:
        self._policy = policy
        self._pools = _known_pools()
        super().__init__(pool_connections=_POOLS, pool_maxsize=pool_size, max_retries=0)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,  # noqa: ANN401 - as in requests
        verify: bool | str = True,
        cert: Any = None,  # noqa: ANN401 - as in requests
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send one request.

        Raises:
            EgressError: the host's address, or the one its name resolves to, is not allowed.
        """
        if proxies and select_proxy(request.url or "", proxies):
            host = urlsplit(request.url or "").hostname or ""
            address = literal(host)
            if address is not None:
                self._policy.choose(host, [address])
        return super().send(request, stream, timeout, verify, cert, proxies)

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: Any = None,  # noqa: ANN401 - as in requests
    ) -> ConnectionPool:
        """Return the pool of the request's origin; remember it if no proxy is used."""
        if proxies or cert:
            return super().get_connection_with_tls_context(request, verify, proxies, cert)
        url = request.url or ""
        end = url.find("/", url.find("://") + 3)
        key = url if end < 0 else url[:end], verify or False
        return self._pools.get_or_make(
            key,
            lambda: super(GuardedAdapter, self).get_connection_with_tls_context(request, verify),
        )

    def request_url(
        self, request: requests.PreparedRequest, proxies: Mapping[str, str] | None
    ) -> str:
        """Return what to ask for: the path, if no proxy is used."""
        return super().request_url(request, proxies) if proxies else request.path_url

    def build_response(
        self,
        req: requests.PreparedRequest,  # noqa: ARG002 - as in requests
        resp: BaseHTTPResponse,
    ) -> requests.Response:
        """Return the response without reading its cookies."""
        return _Response(resp)

    def close(self) -> None:
        """Close all idle connections."""
        self._pools = _known_pools()
        super().close()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as in requests
        """Build the pools from connections that check addresses."""
        super().init_poolmanager(*args, **kwargs, blocksize=_BLOCK)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = _pool_classes(self._policy)


relies_on(HTTPConnection("localhost"), "_dns_host", "socket_options", user=__name__)
relies_on(HTTPConnectionPool, "ConnectionCls", user=__name__)
relies_on(HTTPSConnectionPool, "ConnectionCls", user=__name__)
relies_on(PoolManager(), "pool_classes_by_scheme", user=__name__)
