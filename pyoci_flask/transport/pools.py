"""Pooled connections that pass the egress guard and keep their deadlines."""

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
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.response import HTTPResponse

from pyoci_flask.common.overrides import overrides, relies_on
from pyoci_flask.transport.deadline import DEADLINES
from pyoci_flask.transport.egress import EgressPolicy, literal, resolve

_MOST_ADDRESSES = 4
_BLOCK = 128 * 1024
"""Bytes of a file that are read and sent at once."""
_BLOCK_PATIENCE = 60.0
"""Seconds for a registry to take them: some stop in between to move what they have to storage."""


@overrides("_new_conn", "send", "getresponse")
class _GuardedConnection(HTTPConnection):
    """Connects to the very address that was checked; answers within its time-out, headers whole."""

    policy: EgressPolicy

    def _new_conn(self) -> socket.socket:
        try:
            found = resolve(self._dns_host, self.port)
        except OSError as error:
            reason = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
            raise NameResolutionError(self.host, self, reason) from error
        allowed = self.policy.choose(self.host, [address for address, _ in found])
        last: OSError | None = None
        # The time-out is for the connection, however many addresses the name has.
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

    def send(self, data: Any) -> None:  # noqa: ANN401 - http.client's own
        """Send a part of the request; once connected, the time-out of connecting is over."""
        if self.sock is not None:
            self.sock.settimeout(_BLOCK_PATIENCE)
        super().send(data)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # urllib3's own, too
        """Read the status and headers, all of them within the read time-out."""
        sock, timeout = self.sock, self.timeout
        if sock is None or not isinstance(timeout, int | float):
            return super().getresponse()
        with DEADLINES.limit(timeout, lambda: sock.shutdown(socket.SHUT_RDWR)) as limit:
            try:
                response = super().getresponse()
            except Exception as error:
                if limit.expired:
                    raise TimeoutError("the headers of the answer took too long") from error
                raise
            if limit.expired:
                # http.client takes the end of the connection for the end of the headers.
                response.close()
                raise TimeoutError("the headers of the answer took too long")
            return response


class _GuardedTLSConnection(_GuardedConnection, HTTPSConnection):
    """The same over TLS. A socket's time-out is for the whole of its handshake."""


def _pool_classes(policy: EgressPolicy) -> dict[str, Any]:
    plain = type("GuardedConnection", (_GuardedConnection,), {"policy": policy})
    secure = type("GuardedTLSConnection", (_GuardedTLSConnection,), {"policy": policy})
    return {
        "http": type("GuardedPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("GuardedTLSPool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
    }


@overrides("send", "init_poolmanager")
class GuardedAdapter(HTTPAdapter):
    """A pooled adapter of requests whose every direct connection passes the guard.

    A connection through a configured proxy goes to the proxy's own address, which is the
    operator's choice and not checked; of what the proxy is to connect to, an address is checked,
    and a name cannot be. Each policy needs an adapter of its own: a connection that
    one call was allowed to open must not be there for another that was not.
    """

    def __init__(self, policy: EgressPolicy, pool_size: int) -> None:
        self._policy = policy
        super().__init__(pool_connections=64, pool_maxsize=pool_size, max_retries=0)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,  # noqa: ANN401
        verify: bool | str = True,
        cert: Any = None,  # noqa: ANN401
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send one request.

        Raises:
            EgressError: its address, or the one that its name leads to, may not be called.
        """
        if proxies and select_proxy(request.url or "", proxies):
            host = urlsplit(request.url or "").hostname or ""
            address = literal(host)
            if address is not None:
                self._policy.choose(host, [address])
        return super().send(request, stream, timeout, verify, cert, proxies)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - requests' own
        """Build the pools out of guarded connections."""
        super().init_poolmanager(*args, **kwargs, blocksize=_BLOCK)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = _pool_classes(self._policy)


relies_on(HTTPConnection("localhost"), "_dns_host", "socket_options", user=__name__)
relies_on(HTTPConnectionPool, "ConnectionCls", user=__name__)
relies_on(HTTPSConnectionPool, "ConnectionCls", user=__name__)
relies_on(PoolManager(), "pool_classes_by_scheme", user=__name__)
