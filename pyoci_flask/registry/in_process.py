"""Calls to the registry from within its own process, without a socket and without HTTP.

The registry runs in the calling thread, so a worker never waits for a response of another worker
(or its own).
"""

import io
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import unquote

from pyoci_flask.registry.call import Answer, Call, Readable


class Answering(Protocol):
    """What is called: the registry."""

    def answer(self, call: Call, /) -> Answer:
        """Respond to a call; never raise an error."""
        ...


class InProcess:
    """Calls the registry in the calling thread.

    Bodies are not copied as a whole: the registry reads the request's body from the caller's file,
    and the caller reads the response's body from the registry's file.
    """

    def __init__(self, registry: Answering) -> None:
        self._registry = registry

    def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Readable | None,
        length: int | None,
    ) -> Answer:
        """Return the registry's response. `length` is the Content-Length, if there is one."""
        scheme, _, rest = url.partition("://")
        host, _, rest = rest.partition("/")
        path, _, query = rest.partition("?")
        if "Origin" in headers:  # it is compared with the address of the server
            headers = {**headers, "Host": host}
        if "%" in path:
            path = unquote(path)
        return self._registry.answer(
            Call(
                method,
                "/" + path.lstrip("/"),
                headers,
                io.BytesIO(body or b"") if body is None or isinstance(body, bytes) else body,
                length,
                query,
                scheme=scheme,
            )
        )
