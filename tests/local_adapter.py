"""Calls to the embedded registry in this process, with requests' interface."""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter

from pyoci_flask.registry.call import Readable
from pyoci_flask.registry.in_process import Answering, InProcess
from pyoci_flask.transport.local import LocalReply
from pyoci_flask.transport.observe import Call
from pyoci_flask.transport.request import Request

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class LocalAdapter(BaseAdapter):
    """Sends requests to a registry in the calling thread, as the index does."""

    def __init__(self, registry: Answering) -> None:
        super().__init__()
        self._local = InProcess(registry)

    def send(
        self, request: requests.PreparedRequest, *_options: object, **_named: object
    ) -> requests.Response:
        """Call the registry. The options for time-outs and proxies have no effect."""
        url, method = request.url or "", request.method or "GET"
        # requests also passes files on, although its stubs do not say so.
        body = cast("bytes | str | Readable | None", request.body)
        if isinstance(body, str):
            body = body.encode()
        length = request.headers.get("Content-Length")
        headers = cast("dict[str, str]", request.headers)
        answer = self._local.exchange(
            method, url, headers, body, None if length is None else int(length)
        )
        parts = urlsplit(url)
        call = Call(Request(method, url, f"{parts.scheme}://{parts.netloc}"), ())
        reply = LocalReply(answer, call)
        response = requests.Response()
        response.status_code, response.url, response.request = reply.status, url, request
        response.headers.update(reply.headers)
        response.encoding = "utf-8"
        response.raw = _Body(reply)
        return response

    def close(self) -> None:
        """Do nothing, because there are no connections."""


class _Body(io.RawIOBase):
    """The body as a file."""

    def __init__(self, reply: LocalReply) -> None:
        super().__init__()
        self._reply = reply
        self._chunks: Iterator[bytes] = reply.chunks()
        self._unread = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        target = memoryview(buffer).cast("B")
        if not self._unread:
            self._unread = memoryview(next(self._chunks, b""))
        size = min(len(target), len(self._unread))
        target[:size] = self._unread[:size]
        self._unread = self._unread[size:]
        return size

    def close(self) -> None:
        if not self.closed:
            self._reply.close()
        super().close()
