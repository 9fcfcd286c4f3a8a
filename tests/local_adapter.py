"""Calls to the embedded registry in this process, with requests' interface."""

from collections.abc import Iterator
from typing import cast
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter

from pyoci_flask.registry.call import Readable
from pyoci_flask.registry.in_process import Answering, InProcess
from pyoci_flask.transport.local import LocalReply
from pyoci_flask.transport.observe import Call
from pyoci_flask.transport.request import Request
from tests.wsgi_adapter import ResponseBody


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
        response.raw = ResponseBody(_Chunks(reply))
        return response

    def close(self) -> None:
        """Do nothing, because there are no connections."""


class _Chunks:
    """The chunks of a reply, which closes its file even if none was read."""

    def __init__(self, reply: LocalReply) -> None:
        self._reply = reply

    def __iter__(self) -> Iterator[bytes]:
        return self._reply.chunks()

    def close(self) -> None:
        self._reply.close()
