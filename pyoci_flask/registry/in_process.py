"""Calls to the registry from within its own process, without a socket and without HTTP.

The registry runs in the calling thread, so a worker never waits for a response of another worker
(or its own).
"""

import io
import os
from collections.abc import Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import ProtocolError

from pyoci_flask.common.outlet import FilePart
from pyoci_flask.registry.call import Answer, Call, Readable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_BLOCK = 256 * 1024
"""Bytes of a file that are read at a time if the caller does not say how many it wants."""


class Answering(Protocol):
    """What is called: the registry."""

    def answer(self, call: Call, /) -> Answer:
        """Respond to a call; never raise an error."""
        ...


class LocalResponse(requests.Response):
    """A response from this process."""

    file_part: FilePart | None = None
    """Where the bytes of the body are, if they are in a file. Closing the response closes it."""


class InProcessAdapter(BaseAdapter):
    """Sends requests to the registry by calling it in the calling thread.

    Bodies are not copied as a whole: the registry reads the request's body from the caller's file,
    and the caller reads the response's body from the registry's file.
    """

    def __init__(self, registry: Answering) -> None:
        super().__init__()
        self._registry = registry

    def send(
        self, request: requests.PreparedRequest, *_options: object, **_named: object
    ) -> LocalResponse:
        """Call the registry and return its response.

        The options for time-outs, certificates and proxies have no effect.
        """
        answer = self._registry.answer(_call(request))
        response = LocalResponse()
        response.status_code = answer.status
        response.reason = _REASONS.get(answer.status, "")
        response.url = request.url or ""
        response.request = request
        response.headers.update(answer.headers)
        response.encoding = "utf-8"
        if isinstance(answer.body, FilePart):
            response.file_part = answer.body
        response.raw = _Body(answer.body)
        return response

    def close(self) -> None:
        """Do nothing, because there are no connections."""


class _Body(io.RawIOBase):
    """The body of a response, with the methods of urllib3's response that are used here."""

    length_remaining = None
    """No connection depends on how much of the body is read."""

    def __init__(self, body: bytes | FilePart) -> None:
        super().__init__()
        self._body = body
        self._taken = 0

    def readable(self) -> bool:
        return True

    def read(self, amt: int | None = -1, decode_content: bool | None = None) -> bytes:
        """Return the next bytes, at most `amt`; nothing is encoded.

        Raises:
            ProtocolError: the file has become shorter, or cannot be read.
        """
        del decode_content
        if self.closed:
            return b""
        whole = amt is None or amt < 0
        if isinstance(self._body, bytes):
            end = None if whole else self._taken + cast("int", amt)
            part = self._body[self._taken : end]
        elif whole:
            return b"".join(self.stream())
        else:
            part = self._read(self._body, cast("int", amt))
        self._taken += len(part)
        return part

    def _read(self, part: FilePart, most: int) -> bytes:
        wanted = min(most, part.length - self._taken)
        if not wanted:
            return b""
        try:
            found = os.pread(part.file.fileno(), wanted, part.offset + self._taken)
        except OSError as error:
            raise ProtocolError(f"a file of the registry cannot be read: {error}", error) from error
        if not found:
            raise ProtocolError(f"a file of the registry ended after {self._taken} bytes")
        return found

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        target = memoryview(buffer).cast("B")
        part = self.read(len(target))
        target[: len(part)] = part
        return len(part)

    def stream(
        self, amt: int | None = _BLOCK, decode_content: bool | None = None
    ) -> Iterator[bytes]:
        """Yield the rest of the body, and close it at its end."""
        while part := self.read(amt or _BLOCK, decode_content):
            yield part
        self.close()

    def shutdown(self) -> None:
        """Do nothing, because no read waits for anyone."""

    def close(self) -> None:
        if not self.closed and isinstance(self._body, FilePart):
            self._body.file.close()
        super().close()


def _call(request: requests.PreparedRequest) -> Call:
    url = urlsplit(request.url or "")
    # requests also passes files on, although its stubs do not say so.
    body = cast("bytes | str | Readable | None", request.body) or b""
    if isinstance(body, str):
        body = body.encode()
    headers = request.headers
    if "Origin" in headers:  # it is compared with the address of the server
        headers = CaseInsensitiveDict({**headers, "Host": url.netloc})
    length = headers.get("Content-Length", "")
    path = unquote(url.path) if "%" in url.path else url.path
    return Call(
        request.method or "GET",
        "/" + path.lstrip("/"),
        headers,
        io.BytesIO(body) if isinstance(body, bytes) else body,
        int(length) if length.isascii() and length.isdigit() else None,
        url.query,
        scheme=url.scheme,
    )
