"""Sends HTTP requests over pooled connections with time-outs and retries; remembers no caller.

Requests are prepared and sent through the adapter by hand. A `requests.Session` would keep one
caller's cookies for the next, follow redirects with its own rules and read `.netrc`.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from pyoci_flask import __version__
from pyoci_flask.errors import (
    EgressError,
    RegistryTimeoutError,
    RegistryUnreachableError,
)
from pyoci_flask.transport.egress import EgressPolicy, public_hosts
from pyoci_flask.transport.failures import ConnectionLostError, log_failure, unanswered
from pyoci_flask.transport.local import LocalRegistry, LocalReply
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.observe import Call, CallObserver
from pyoci_flask.transport.pace import Paces
from pyoci_flask.transport.pools import GuardedAdapter
from pyoci_flask.transport.reply import Reply
from pyoci_flask.transport.request import Request, origin_of

USER_AGENT = f"pyoci-flask/{__version__}"

_RETRIED = frozenset({408, 500, 502, 503, 504})
_PAUSES = (0.2, 0.8)
"""Seconds before the second and the third attempt at an idempotent call."""
_SLOWER_PAUSES = (0.2, 0.8, 0.8, 0.8)
"""Seconds before each further attempt after a refusal because of the rate."""
_DOCUMENT_PATIENCE = 2.5
"""The time for a whole body that is read into memory, as a multiple of the read time-out."""
_LONGEST_PAUSE = 3.0
"""Seconds. A longer Retry-After is passed on to the client, so that no thread waits for it."""


class Transport:
    """Sends requests. One object serves all threads of a worker."""

    def __init__(
        self,
        *,
        network: Network,
        pool_size: int,
        connect_timeout: float = 5.0,
        read_timeout: float = 12.0,
        observers: Sequence[CallObserver] = (),
        private_networks: bool = True,
        listed: Callable[[str, str, int], bool] | None = None,
    ) -> None:
        """Create the pools.

        `connect_timeout` is the number of seconds to wait for a connection, `read_timeout` the
        longest time without receiving any data. `listed` returns whether the operator's allow-list
        contains an origin (scheme, host, port); it is None if there is no list.
        """
        self._network = network
        self._timeouts = (connect_timeout, read_timeout)
        self._observers = tuple(observers)
        self._listed = listed
        self._public_hosts = public_hosts()
        self._adapter = GuardedAdapter(
            EgressPolicy(
                self._public_hosts, private_networks, "PYOCI_PRIVATE_NETWORKS=deny is set"
            ),
            pool_size,
        )
        self._public_adapter = GuardedAdapter(
            EgressPolicy(
                self._public_hosts,
                private=False,
                why="a registry may redirect or link there only if the host is its own or in "
                "PYOCI_REGISTRIES",
            ),
            pool_size,
        )
        self._mounted: dict[str, LocalRegistry] = {}
        self._paces = Paces()

    def mount(self, origin: str, registry: LocalRegistry) -> None:
        """Send calls to the registry at `origin` to `registry` instead of the network."""
        self._mounted[origin] = registry

    def close(self) -> None:
        """Close all idle connections."""
        self._adapter.close()
        self._public_adapter.close()

    def send(self, request: Request) -> Reply:
        """Make one exchange (up to three if it is idempotent) and return the last response.

        A call that was refused because of the rate (429) changed nothing, so any such call is
        repeated up to four times. A registry is called only once if the request may not wait. So is
        a mounted one, because a failure of this process would recur.

        Raises:
            EgressError: the address is not allowed.
            RateLimitedError: too many calls are waiting for a registry that asks to slow down.
            RegistryUnreachableError: there was no connection, or it broke before a response.
            RegistryTimeoutError: there was no response in time.
        """
        if self.is_mounted(request):
            return self._exchange_here(request)
        try:
            return self._attempts(request)
        except (RegistryUnreachableError, RegistryTimeoutError) as error:
            log_failure(error)
            raise

    def _attempts(self, request: Request) -> Reply:
        pauses = iter(_PAUSES if request.may_wait else ())
        slower = iter(_SLOWER_PAUSES if request.may_wait else ())
        while True:
            began = self._paces.wait(request.host, may_wait=request.may_wait)
            try:
                reply = self._exchange(request)
            except ConnectionLostError:
                pause = next(pauses, None) if request.idempotent else None
                if pause is None:
                    raise
            else:
                asked = _asked_pause(reply.headers)
                waits = asked is None or asked <= _LONGEST_PAUSE
                if is_rate_limited(reply):
                    self._paces.slow(request.host, began, (asked or 0.0) if waits else 0.0)
                else:
                    self._paces.ease(request.host)
                pause = None
                if reply.status == 429:
                    pause = next(slower, None)
                elif request.idempotent and reply.status in _RETRIED:
                    pause = next(pauses, None)
                if pause is None or not waits:
                    return reply
                pause = max(pause, asked or 0.0)
                reply.close()
            time.sleep(pause)

    def _exchange(self, request: Request) -> Reply:
        connect, read = self._timeouts
        call = Call(request, self._observers)
        try:
            response = self._adapter_for(request).send(
                _prepared(request),
                stream=True,
                timeout=(connect, request.patience or read),
                verify=self._network.ca_bundle or True,
                proxies=self._proxies_for(request.url),
            )
        except BaseException as error:
            call.error = error
            call.end(None)
            if isinstance(error, requests.RequestException):
                raise unanswered(error, request, self._network) from error
            bundle = self._network.ca_bundle
            if isinstance(error, OSError) and bundle and not os.access(bundle, os.R_OK):
                raise RegistryUnreachableError(
                    f"no secure connection to {request.host}: this server's CA bundle can no "
                    "longer be read",
                    advice="Make the file in "
                    f"{self._network.ca_variable or 'REQUESTS_CA_BUNDLE'} readable again",
                ) from error
            raise
        return Reply(response, call, _DOCUMENT_PATIENCE * read)

    def _exchange_here(self, request: Request) -> Reply:
        body = request.body
        if body is not None and not isinstance(body, bytes):
            body.seek(0)
        has_length = body is not None or request.method not in {"GET", "HEAD"}
        call = Call(request, self._observers)
        try:
            answer = self._mounted[request.registry].exchange(
                request.method,
                request.url,
                request.headers,
                body,
                request.size if has_length else None,
            )
        except BaseException as error:
            call.error = error
            call.end(None)
            raise
        return LocalReply(answer, call)

    def _adapter_for(self, request: Request) -> BaseAdapter:
        """Choose the pool. Hosts that a registry points to are trusted less than the registry."""
        if request.url.startswith(f"{request.registry}/"):
            return self._adapter
        _, here, _ = origin_of(request.registry)
        scheme, there, port = origin_of(request.url)
        if there == here or (self._listed is not None and self._listed(scheme, there, port or 0)):
            return self._adapter
        if request.may_be_private and here not in self._public_hosts:
            return self._adapter
        return self._public_adapter

    def is_mounted(self, request: Request) -> bool:
        """Return whether a call is answered by a registry in this process."""
        # Only calls on behalf of the mounted registry reach it, because a redirect or realm of
        # another registry must not reach into this process.
        registry = request.registry
        return registry in self._mounted and f"{request.url}/".startswith(f"{registry}/")

    def _proxies_for(self, url: str) -> dict[str, str]:
        proxies = self._network.proxies_for(url)
        if {"all", urlsplit(url).scheme} & proxies.keys() and self._listed is None:
            raise EgressError(
                "this server calls registries through a proxy and cannot see which address the "
                "proxy connects to, so PYOCI_REGISTRIES must list the registries that may be "
                "called",
                advice="Ask the administrator of this server to set PYOCI_REGISTRIES",
            )
        return proxies


def _prepared(request: Request) -> requests.PreparedRequest:
    prepared = requests.PreparedRequest()
    prepared.method, prepared.url = request.method, request.url
    prepared.headers = CaseInsensitiveDict(
        {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **request.headers}
    )
    if request.body is not None or request.method not in {"GET", "HEAD"}:
        prepared.headers["Content-Length"] = str(request.size)
    if request.body is not None and not isinstance(request.body, bytes):
        request.body.seek(0)
    prepared.body = request.body  # type: ignore[assignment]  # requests sends files as well
    return prepared


def is_rate_limited(reply: Reply) -> bool:
    """Return whether a response asks to slow down: 429, or 503 with a Retry-After."""
    return reply.status == 429 or (reply.status == 503 and "Retry-After" in reply.headers)


def retry_after(reply: Reply) -> str | None:
    """Return the Retry-After header, if it is one short line of printable ASCII."""
    value = reply.headers.get("Retry-After")
    if value is None or len(value) > 64 or not (value.isascii() and value.isprintable()):
        return None
    return value


def _asked_pause(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait from a Retry-After header, a number or date (RFC 9110, 10.2.3)."""
    text = headers.get("Retry-After")
    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) < 9:
        return float(text)
    try:
        date = parsedate_to_datetime(text)
        return max(0.0, date.timestamp() - time.time())
    except (ValueError, OverflowError):
        return _LONGEST_PAUSE + 1  # the header asks to wait but does not say how long
