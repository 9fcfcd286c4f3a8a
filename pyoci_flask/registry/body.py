"""Reads the body of a request while it arrives."""

from collections.abc import Iterator

from werkzeug.exceptions import ClientDisconnected

from pyoci_flask.registry.call import Call
from pyoci_flask.registry.errors import size_invalid

CHUNK_SIZE = 256 * 1024


def chunks(call: Call) -> Iterator[bytes]:
    """Yield the body in pieces of at most `CHUNK_SIZE` bytes.

    Raises `DistributionError` (SIZE_INVALID) after the last piece if the length of the body differs
    from its Content-Length, or if the client disconnects.
    """
    received = 0
    while chunk := _read(call):
        received += len(chunk)
        yield chunk
    length = call.length
    if length is not None and received != length:
        raise size_invalid(f"Content-Length is {length}, but the body has {received} bytes")


def _read(call: Call) -> bytes:
    try:
        return call.body.read(CHUNK_SIZE)
    except (OSError, ClientDisconnected) as error:
        raise size_invalid("the body ended early") from error
    except Exception as error:
        # Each WSGI server has its own exceptions for malformed chunks.
        raise size_invalid("the body cannot be read") from error
