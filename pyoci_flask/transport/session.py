"""One HTTP exchange at a time: pooled connections, time-outs, caps, and nothing remembered.

Requests are prepared and sent through the adapter by hand. A `requests.Session` would keep one
caller's cookies for the next, follow redirects with its own rules and read `.netrc`.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import IO
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import BaseAdapter
from requests.hooks import default_hooks
from requests.structures import CaseInsensitiveDict

from pyoci_flask import __version__
from pyoci_flask.errors import (
    EgressError,
    RegistryError,
    RegistryTimeoutError,
    RegistryUnreachableError,
)
from pyoci_flask.transport.egress import EgressPolicy, Sightings
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.observe import CallObserver
from pyoci_flask.transport.pace import Paces
from pyoci_flask.transport.pools import GuardedAdapter
from pyoci_flask.transport.reply import Call, Reply

USER_AGENT = f"pyoci-flask/{__version__}"

_RETRIED = frozenset({408, 500, 502, 503, 504})
_PAUSES = (0.2, 0.8)
"""Seconds before the second and the third try of an idempotent call."""
_SLOWER_PAUSES = (0.2, 0.8, 0.8, 0.8)
"""The same after refusals for the rate."""
_DOCUMENT_PATIENCE = 2.5
"""Read time-outs for the whole of a body that is read into memory."""
_LONGEST_PAUSE = 3.0
"""A Retry-After beyond this is left to the client, which holds no thread while it waits."""

Body = bytes | IO[bytes] | None


class _ConnectionLostError(RegistryUnreachableError):
    """The connection was refused or broke before an answer: at once, so trying again is cheap."""


class Transport:
    """Sends requests; the same object serves all threads of a worker."""

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
        """Make the pools.

        `connect_timeout` and `read_timeout` are seconds: until the connection stands, and
        without a byte from the other side. `listed` returns whether the operator's allow-list
        names an origin (scheme, host, port); None = there is no list.
        """
        self._network = network
        self._timeouts = (connect_timeout, read_timeout)
        self._observers = tuple(observers)
        self._listed = listed
        self._sightings = Sightings()
        self._adapter = GuardedAdapter(
            EgressPolicy(
                self._sightings, private_networks, "PYOCI_PRIVATE_NETWORKS=deny refuses those"
            ),
            pool_size,
        )
        self._public_adapter = GuardedAdapter(
            EgressPolicy(
                self._sightings,
                private=False,
                why="a registry may lead there only if that is its own host or one that "
                "PYOCI_REGISTRIES names",
            ),
            pool_size,
        )
        self._mounted: dict[str, BaseAdapter] = {}
        self._paces = Paces()

    def mount(self, origin: str, adapter: BaseAdapter) -> None:
        """Answer calls to the registry at `origin` by `adapter` instead of the network."""
        self._mounted[origin] = adapter

    def close(self) -> None:
        """Close all idle connections."""
        self._adapter.close()
        self._public_adapter.close()

    def send(
        self,
        method: str,
        url: str,
        *,
        registry: str,
        headers: Mapping[str, str],
        body: Body = None,
        length: int = 0,
        idempotent: bool = False,
        patience: float | None = None,
        private: bool = True,
    ) -> Reply:
        """Make one exchange (or, where `idempotent`, up to three) and return the last answer.

        A refusal for the rate (429) changed nothing, so any call is made again after it, up to
        four times.

        What is mounted is asked once: what fails in this very process fails again.

        `registry` is the origin on whose behalf the call is made; `length` the bytes of a file
        `body`; `patience` replaces the read time-out, in seconds; `private` tells whether a
        registry at a private address may lead to another private host here.

        Raises:
            EgressError: the address is one that is never called.
            RateLimitedError: too many calls wait for a registry that asks to slow down.
            RegistryUnreachableError: no connection, or it broke before an answer.
            RegistryTimeoutError: no answer in time.
        """
        mounted = self._is_mounted(url, registry)
        pauses = iter(() if mounted else _PAUSES)
        slower = iter(() if mounted else _SLOWER_PAUSES)
        host = urlsplit(url).netloc
        while True:
            began = self._paces.wait(host)
            try:
                reply = self._exchange(
                    method, url, registry, headers, body, length, patience, private=private
                )
            except _ConnectionLostError:
                pause = next(pauses, None) if idempotent else None
                if pause is None:
                    raise
            else:
                asked = _retry_after(reply.headers)
                waits = asked is None or asked <= _LONGEST_PAUSE
                if is_rate_limited(reply) and not mounted:
                    self._paces.slow(host, began, (asked or 0.0) if waits else 0.0)
                else:
                    self._paces.ease(host)
                pause = None
                if reply.status == 429:
                    pause = next(slower, None)
                elif idempotent and reply.status in _RETRIED:
                    pause = next(pauses, None)
                if pause is None or not waits:
                    return reply
                pause = max(pause, asked or 0.0)
                reply.close()
            time.sleep(pause)

    def _exchange(
        self,
        method: str,
        url: str,
        registry: str,
        headers: Mapping[str, str],
        body: Body,
        length: int,
        patience: float | None,
        *,
        private: bool,
    ) -> Reply:
        request = requests.PreparedRequest()
        request.method, request.url, request.hooks = method, url, default_hooks()
        request.headers = CaseInsensitiveDict(
            {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        )
        if body is not None or method not in {"GET", "HEAD"}:
            size = len(body) if isinstance(body, bytes) else length
            request.headers["Content-Length"] = str(size)
        if body is not None and not isinstance(body, bytes):
            body.seek(0)
        request.body = body  # type: ignore[assignment]  # requests sends files as well as bytes
        connect, read = self._timeouts
        call = Call(method, url, headers, self._observers)
        try:
            response = self._adapter_for(url, registry, private=private).send(
                request,
                stream=True,
                timeout=(connect, patience or read),
                verify=self._network.ca_bundle or True,
                proxies=self._proxies_for(url),
            )
        except requests.RequestException as error:
            call.error = error
            call.end(None)
            raise _unanswered(error, call.host) from error
        except BaseException as error:
            call.error = error
            call.end(None)
            bundle = self._network.ca_bundle
            if isinstance(error, OSError) and bundle and not os.access(bundle, os.R_OK):
                raise RegistryUnreachableError(
                    f"no secure connection to {call.host}: this server's CA bundle is not there "
                    "any more"
                ) from error
            raise
        call.sent = len(body) if isinstance(body, bytes) else length
        return Reply(response, call, _DOCUMENT_PATIENCE * read)

    def _adapter_for(self, url: str, registry: str, *, private: bool) -> BaseAdapter:
        """Choose the pool: what a registry leads to is trusted less than the registry itself."""
        if self._is_mounted(url, registry):
            return self._mounted[registry]
        here, there = urlsplit(registry), urlsplit(url)
        port = there.port or (443 if there.scheme == "https" else 80)
        origin = there.scheme, there.hostname or "", port
        if there.hostname == here.hostname or (self._listed is not None and self._listed(*origin)):
            return self._adapter
        if private and not self._sightings.is_public(here.hostname or ""):
            return self._adapter
        return self._public_adapter

    def _is_mounted(self, url: str, registry: str) -> bool:
        # Only for the registry that was asked for: a redirect or realm of another one must not
        # reach into this process.
        return registry in self._mounted and f"{url}/".startswith(f"{registry}/")

    def _proxies_for(self, url: str) -> dict[str, str]:
        proxies = self._network.proxies_for(url)
        if proxies and self._listed is None:
            raise EgressError(
                "this server calls registries through a proxy, where it cannot see which address "
                "is connected to: PYOCI_REGISTRIES must name the registries that may be called"
            )
        return proxies


def is_rate_limited(reply: Reply) -> bool:
    """Tell whether an answer asks to slow down: 429, or 503 that says when to come back."""
    return reply.status == 429 or (reply.status == 503 and "Retry-After" in reply.headers)


def _unanswered(error: requests.RequestException, host: str) -> Exception:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return RegistryUnreachableError(f"{host} did not accept a connection in time")
    if isinstance(error, requests.exceptions.Timeout) or _caused_by_timeout(error):
        return RegistryTimeoutError(f"{host} did not answer in time")
    if isinstance(error, requests.exceptions.SSLError):
        return RegistryUnreachableError(
            f"no secure connection to {host}: its certificate or TLS was not accepted "
            "(a registry without TLS is written as a URL: http://localhost:5000, percent-encoded "
            "in a path: http%3A%2F%2Flocalhost%3A5000)"
        )
    if isinstance(error, requests.exceptions.ProxyError):
        return RegistryUnreachableError(f"the proxy gave no connection to {host}")
    if isinstance(error, requests.exceptions.InvalidURL):
        return RegistryError(f"{host} is not an address that can be called")
    return _ConnectionLostError(f"no connection to {host}, or it was closed without an answer")


def _caused_by_timeout(error: requests.RequestException) -> bool:
    """A time-out while the request was being sent arrives as a plain connection error."""
    reason = error.args[0] if error.args else None
    inner = reason.args[-1] if isinstance(reason, urllib3.exceptions.ProtocolError) else None
    return isinstance(inner, TimeoutError)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date (RFC 9110, 10.2.3)."""
    text = headers.get("Retry-After")
    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) < 9:
        return float(text)
    try:
        date = parsedate_to_datetime(text)
        return max(0.0, date.timestamp() - time.time())
    except (ValueError, OverflowError):
        return _LONGEST_PAUSE + 1  # it asks to wait, and nobody can tell how long
