"""Calls to a package index: what a response means, redirects, and who gets the credentials."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from pyoci_flask.cli.copy.errors import CopyError, ElsewhereError, PassingError, UnusableError
from pyoci_flask.cli.tls import explained, tls_fault
from pyoci_flask.common.url import usable_url
from pyoci_flask.errors import (
    EgressError,
    PyOCIError,
    RegistryTimeoutError,
    RegistryUnreachableError,
    TransferBrokenError,
)
from pyoci_flask.transport.observe import redacted
from pyoci_flask.transport.reply import Reply
from pyoci_flask.transport.request import BasicCredentials, Body, Request
from pyoci_flask.transport.session import Transport

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_ERROR_LIMIT = 64 * 1024
_QUOTED = 300
_LONGEST_WAIT = 120.0
"""Seconds. If a server asks for a longer wait, the call is repeated after this time anyway."""


@dataclass(frozen=True, slots=True)
class End:
    """One of the two indexes, as the user specified it."""

    url: str
    """Ends with a slash and contains no credentials."""
    credentials: BasicCredentials | None
    upload_url: str = ""
    """The address that accepts uploads; empty for a source."""
    upload_credentials: BasicCredentials | None = None
    """The credentials for uploads."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Sends the calls to one index."""

    transport: Transport
    end: End

    @property
    def host(self) -> str:
        """Host and port, as they are shown to users."""
        return urlsplit(self.end.url).netloc

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        length: int = 0,
        patience: float | None = None,
    ) -> Reply:
        """Send one request, with the credentials if it goes to the index itself.

        `length` is the size of `body` in bytes; `patience` is how many seconds to wait for the
        response.

        Raises:
            PassingError: no response arrived.
            CopyError: the request was refused before it was sent.
        """
        sent = dict(headers or {})
        # The user specified these two addresses; all others come from a server.
        place, credentials = self.end.url, self.end.credentials
        if url == self.end.upload_url:
            place, credentials = self.end.upload_url, self.end.upload_credentials
        if credentials is not None and _same_place(place, url):
            sent["Authorization"] = credentials.header
        parts = urlsplit(place)
        try:
            return self.transport.send(
                Request(
                    method,
                    url,
                    f"{parts.scheme}://{parts.netloc}",
                    sent,
                    body,
                    length,
                    idempotent=method in {"GET", "HEAD"},
                    patience=patience,
                )
            )
        except CopyError:
            raise  # from the code that reads `body`
        except EgressError as error:
            raise CopyError(
                f"refusing to connect to {urlsplit(url).netloc}: its address is reserved, or it is "
                f"private and that of {self.host} is not"
            ) from error
        except PyOCIError as error:
            raise understood(error, url) from error

    def get(self, url: str, *, accept: str = "*/*", leaves: bool = False) -> Reply | None:
        """GET `url` and follow redirects; return None for a 404.

        With `leaves`, redirects may lead out of the index.

        Raises:
            ElsewhereError: a redirect leads out of the index although `leaves` is false.
            CopyError: the response is neither 200 nor 404.
        """
        for _ in range(_MOST_REDIRECTS + 1):
            reply = self.send("GET", url, headers={"Accept": accept})
            location = reply.headers.get("Location")
            if reply.status not in _REDIRECTS or location is None:
                break
            reply.close()
            there = _resolved(reply.url, location)
            if not leaves and not _below(self.end.url, there):
                raise ElsewhereError(
                    f"{redacted(url)} redirects to {redacted(there)}, which is outside the "
                    "specified index"
                )
            url = there
        else:
            raise CopyError(f"{redacted(url)} redirects in circles")
        if reply.status == 404:
            reply.close()
            return None
        if reply.status != 200:
            raise refusal(reply)
        return reply


@dataclass(frozen=True, slots=True)
class Text:
    """The text of a response, and its first line if it is meant for people."""

    whole: str = ""
    first: str = ""

    @classmethod
    def read(cls, reply: Reply) -> "Text":
        """Read and close the response."""
        kind = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        with reply:
            try:
                whole = reply.read(_ERROR_LIMIT).decode("utf-8", "replace").strip()
            except PyOCIError:
                return cls()
        words = whole if kind == "text/plain" else ""
        if kind == "application/problem+json":
            with suppress(ValueError, KeyError, TypeError, RecursionError):
                words = str(json.loads(whole)["detail"])
        first = words.strip().partition("\n")[0].strip()[:_QUOTED]
        return cls(whole, f": {first}" if first else "")


def refusal(reply: Reply, text: Text | None = None) -> CopyError:
    """Return the error for an unexpected response; `text` is its text if already read."""
    host = urlsplit(reply.url).netloc
    says = (text or Text.read(reply)).first
    if reply.status in {401, 403} and reply.authorization is None:
        return UnusableError(f"{host} asks for credentials ({reply.status}{says})")
    if reply.status == 401:
        return UnusableError(f"{host} refuses the credentials (401{says})")
    answered = f"{host} answered {reply.status}{says}"
    if reply.status in _PASSING:
        asked = reply.headers.get("Retry-After", "")
        known = asked.isascii() and asked.isdigit() and len(asked) < 9
        return PassingError(answered, min(float(asked), _LONGEST_WAIT) if known else None)
    if reply.status in _REDIRECTS:
        there = redacted(reply.headers.get("Location", ""))[:_QUOTED]
        return CopyError(f"{answered}: specify the URL it redirects to, {there}")
    return CopyError(answered)


def understood(error: PyOCIError, url: str) -> CopyError:
    """Convert an error of the transport to an error of an index."""
    host = urlsplit(url).netloc
    if isinstance(error, RegistryUnreachableError):
        fault = tls_fault(error)
        if fault is not None:
            return UnusableError(f"no secure connection to {host}: {explained(fault)}")
    if isinstance(error, RegistryUnreachableError | RegistryTimeoutError | TransferBrokenError):
        return PassingError(str(error))
    return CopyError(str(error))


def _same_place(index: str, url: str) -> bool:
    """Return whether `url` has the origin of `index`, or the same host and port with TLS."""
    here, there = urlsplit(index), urlsplit(url)
    return here.netloc == there.netloc and there.scheme in {here.scheme, "https"}


def _below(index: str, url: str) -> bool:
    """Return whether `url` is a page of `index`.

    An index with a fallback redirects to another index for projects that it does not have.
    """
    here, there = urlsplit(index), urlsplit(url)
    return _same_place(index, url) and there.path.startswith(here.path)


def _resolved(url: str, location: str) -> str:
    there = usable_url(location.replace(" ", "%20"), url)
    if there is None or there.username is not None:
        raise CopyError(f"{redacted(url)} redirects to an invalid URL")
    if urlsplit(url).scheme == "https" and there.scheme == "http":
        raise CopyError(f"{redacted(url)} redirects from https to http")
    return there.geturl()
