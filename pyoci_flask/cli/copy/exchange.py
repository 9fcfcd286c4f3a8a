"""Calls to a package index: what an answer means, redirects, and who gets the credentials."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from pyoci_flask.cli.copy.errors import CopyError, ElsewhereError, PassingError, UnusableError
from pyoci_flask.cli.tls import explained, tls_fault
from pyoci_flask.errors import (
    EgressError,
    PyOCIError,
    RegistryTimeoutError,
    RegistryUnreachableError,
    TransferBrokenError,
)
from pyoci_flask.transport.credentials import BasicCredentials
from pyoci_flask.transport.observe import redacted
from pyoci_flask.transport.reply import Reply
from pyoci_flask.transport.request import Body, Request
from pyoci_flask.transport.session import Transport

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_ERROR_LIMIT = 64 * 1024
_QUOTED = 300
_LONGEST_WAIT = 120.0
"""Seconds. Who asks to wait longer is tried again at the end of these."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Makes the calls to one index."""

    transport: Transport
    url: str
    """With a slash at its end, without credentials."""
    credentials: BasicCredentials | None
    upload_url: str
    """Where it takes files."""
    upload_credentials: BasicCredentials | None

    @property
    def host(self) -> str:
        """Host and port, for people."""
        return urlsplit(self.url).netloc

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
        """Make one call, with the credentials if it goes to the index itself.

        `length` is the bytes of a file `body`, `patience` the seconds to wait for the answer.

        Raises:
            PassingError: no answer.
            CopyError: it is not called at all.
        """
        sent = dict(headers or {})
        # Both addresses were named by the user; whatever else is called was named by a server.
        place, credentials = self.url, self.credentials
        if url == self.upload_url:
            place, credentials = self.upload_url, self.upload_credentials
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
            raise  # of who reads the body
        except EgressError as error:
            raise CopyError(
                f"{urlsplit(url).netloc} is not called: it is at an address where no index is, or "
                f"a private one, to which {self.host} may not lead"
            ) from error
        except PyOCIError as error:
            raise understood(error, url) from error

    def get(self, url: str, *, accept: str = "*/*", leaves: bool = False) -> Reply | None:
        """GET `url` and follow redirects; None = 404. `leaves` is for files: they may be anywhere.

        Raises:
            ElsewhereError: it leads out of the index, and is not to.
            CopyError: any other answer than 200.
        """
        for _ in range(_MOST_REDIRECTS + 1):
            reply = self.send("GET", url, headers={"Accept": accept})
            location = reply.headers.get("Location")
            if reply.status not in _REDIRECTS or location is None:
                break
            reply.close()
            there = _resolved(reply.url, location)
            if not leaves and not _below(self.url, there):
                raise ElsewhereError(
                    f"{redacted(url)} leads to {redacted(there)}, which is not of the index named"
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
    """What an answer says: all of it, and the first words if they are for people."""

    whole: str = ""
    first: str = ""

    @classmethod
    def read(cls, reply: Reply) -> "Text":
        """Read and close the answer."""
        kind = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        with reply:
            try:
                whole = reply.read(_ERROR_LIMIT).decode("utf-8", "replace").strip()
            except PyOCIError:
                return cls()
        words = whole if kind == "text/plain" else ""
        if kind == "application/problem+json":
            try:
                words = str(json.loads(whole)["detail"])
            except (ValueError, KeyError, TypeError, RecursionError):
                words = ""
        first = words.strip().partition("\n")[0].strip()[:_QUOTED]
        return cls(whole, f": {first}" if first else "")


def refusal(reply: Reply, text: Text | None = None) -> CopyError:
    """Say what an answer that nobody wanted means; `text` is what it says, if it was read."""
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
        return CopyError(f"{answered}: give the address itself, {there}")
    return CopyError(answered)


def understood(error: PyOCIError, url: str) -> CopyError:
    """Turn an error of the transport into one of an index."""
    host = urlsplit(url).netloc
    if isinstance(error, RegistryUnreachableError):
        fault = tls_fault(error)
        if fault is not None:
            return UnusableError(f"no secure connection to {host}: {explained(fault)}")
    if isinstance(error, RegistryUnreachableError | RegistryTimeoutError | TransferBrokenError):
        return PassingError(str(error))
    return CopyError(str(error))


def _same_place(index: str, url: str) -> bool:
    """Tell whether a call goes where the credentials belong: the same origin, or it in TLS."""
    here, there = urlsplit(index), urlsplit(url)
    return here.netloc == there.netloc and there.scheme in {here.scheme, "https"}


def _below(index: str, url: str) -> bool:
    """Tell whether a page belongs to an index, or to it in TLS.

    An index with a fallback leads to another one for what it does not have.
    """
    here, there = urlsplit(index), urlsplit(url)
    return _same_place(index, url) and there.path.startswith(here.path)


def _resolved(url: str, location: str) -> str:
    try:
        there = urljoin(url, location)
        parts = urlsplit(there)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username is not None or not (there.isascii() and there.isprintable()):
        raise CopyError(f"{redacted(url)} redirects to what is no address")
    if urlsplit(url).scheme == "https" and parts.scheme == "http":
        raise CopyError(f"{redacted(url)} redirects from https to http")
    return there
