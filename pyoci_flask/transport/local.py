"""Calls to a registry in this process. Nothing of HTTP is between the two halves.

Such a call needs no time-out, no retry and no connection, and its response is already there.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from pyoci_flask.common.outlet import FilePart
from pyoci_flask.errors import OversizedError, TransferBrokenError
from pyoci_flask.transport.observe import Call
from pyoci_flask.transport.reply import SMALL, Reply
from pyoci_flask.transport.request import Body
from pyoci_flask.transport.shortcut import FileShortcut, SourceError


class Answered(Protocol):
    """A response. Names of headers are spelled as in their specifications."""

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""
        ...

    @property
    def body(self) -> bytes | FilePart:
        """The body. The receiver closes its file."""
        ...


class LocalRegistry(Protocol):
    """A registry in this process."""

    def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: Body, length: int | None
    ) -> Answered:
        """Respond to a call in the calling thread.

        `length` is the Content-Length, or None if there is none. Names of headers are spelled as in
        their specifications.
        """
        ...


class LocalReply(Reply):
    """A response of a registry in this process."""

    def __init__(self, answer: Answered, call: Call) -> None:
        body = answer.body
        self.file = body if isinstance(body, FilePart) else None
        self._body = b"" if isinstance(body, FilePart) else body
        self.status = answer.status
        self.headers = answer.headers
        self._take(call)

    def read(self, limit: int, large: Callable[[], object] | None = None) -> bytes:
        """Read the whole body; call `large` if it exceeds 64 KiB.

        Raises:
            OversizedError: the body is larger than `limit` bytes.
        """
        size = len(self._body) if self.file is None else self.file.length
        try:
            if size > limit:
                raise OversizedError(
                    f"{self.request.host} sent more than {limit} bytes; a response of this "
                    "kind must be smaller",
                    advice="Look at the log of this server",
                )
            if large is not None and size > SMALL:
                large()
            if self.file is not None:
                return b"".join(self._parts(decode=True))
            self._call.received = size
            return self._body
        finally:
            self.close()

    def _parts(self, *, decode: bool) -> Iterator[bytes]:
        del decode  # nothing is encoded
        try:
            if self.file is None:
                self._call.received = len(self._body)
                if self._body:
                    yield self._body
                return
            while chunk := FileShortcut(self.file, self.received).first():
                self._call.received += len(chunk)
                yield chunk
            if self.received < self.file.length:
                raise TransferBrokenError(
                    f"{self.request.host} broke off: a file became shorter",
                    advice="Check the storage of the registry",
                )
        except SourceError as error:
            raise self._broken(error) from error
        finally:
            self.close()

    def _shortcut(self) -> FileShortcut | None:
        return None if self.file is None else FileShortcut(self.file)

    def _abort(self) -> None:
        self._release()

    def _release(self) -> None:
        if self.file is not None:
            self.file.file.close()
