"""Reads the body of a request within its limits."""

from typing import IO, TYPE_CHECKING

from pyoci_flask.errors import ClientTimeoutError, InvalidRequestError, PayloadTooLargeError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

CHUNK = 256 * 1024
_MEGABYTE = 1_000_000


class RequestBody:
    """The body of one request, with a known length or in chunks."""

    def __init__(self, environ: "WSGIEnvironment", limit: int, setting: str | None = None) -> None:
        """Accept at most `limit` bytes; `setting` is the name of the setting for this limit.

        Raises:
            InvalidRequestError: there is no body, or Content-Length is not a number.
            PayloadTooLargeError: Content-Length exceeds the limit; nothing was read.
        """
        self._stream: IO[bytes] = environ["wsgi.input"]
        self._limit = limit
        self._setting = setting
        self.read_bytes = 0
        length = environ.get("CONTENT_LENGTH") or ""
        chunked = environ.get("HTTP_TRANSFER_ENCODING", "").lower().endswith("chunked")
        if length and not (length.isascii() and length.isdigit() and len(length) < 19):
            raise InvalidRequestError(
                "Content-Length is not a number of bytes",
                advice="Send the length of the body as a number of bytes",
            )
        if not length and not chunked:
            raise InvalidRequestError(
                "the request needs a body, sent with a Content-Length or in chunks"
            )
        self.length = int(length) if length and not chunked else None
        if self.length is not None and self.length > limit:
            raise self._too_large(self.length)

    def read(self) -> bytes:
        """Read the next piece. At the end of the body, the piece is empty.

        Raises:
            ClientTimeoutError: the client stopped sending or is too slow.
            InvalidRequestError: the client closed the connection, or its chunks are malformed.
            PayloadTooLargeError: a chunked body exceeds the limit.
        """
        wanted = CHUNK if self.length is None else min(CHUNK, self.length - self.read_bytes)
        if not wanted:
            return b""
        try:
            piece = self._stream.read(wanted)
        except TimeoutError as error:
            raise ClientTimeoutError(
                "the upload stopped or was too slow",
                advice="Upload the file again over a faster connection",
            ) from error
        except OSError as error:
            raise InvalidRequestError(
                "the connection was closed during the upload", advice="Upload the file again"
            ) from error
        except Exception as error:
            # Each server has its own exceptions for chunks that it cannot read.
            raise InvalidRequestError("the request body cannot be read") from error
        self.read_bytes += len(piece)
        if not piece and self.length is not None:
            raise InvalidRequestError(
                f"the upload ended after {self.read_bytes} of {self.length} bytes",
                advice="Upload the file again; the connection was lost",
            )
        if self.read_bytes > self._limit:
            raise self._too_large(self.read_bytes)
        return piece

    def read_all(self) -> bytes:
        """Read the whole body. This raises the same exceptions as `read`."""
        return b"".join(iter(self.read, b""))

    def _too_large(self, size: int) -> PayloadTooLargeError:
        more = "" if self.length is not None else " or more"
        text = (
            f"the request has {_bytes(size)}{more}, and this server accepts at most "
            f"{_bytes(self._limit)}"
        )
        advice = "Make the file smaller"
        if self._setting:
            text += f": its administrator can raise {self._setting}"
            advice += f", or ask the administrator of this server to raise {self._setting}"
        return PayloadTooLargeError(text, advice=advice)


def _bytes(size: int) -> str:
    return f"{size} bytes ({size / 1e6:.1f} MB)" if size >= _MEGABYTE else f"{size} bytes"
