import io
from typing import TYPE_CHECKING, Any

import pytest

from pyoci_flask.errors import ClientTimeoutError, InvalidRequestError, PayloadTooLargeError
from pyoci_flask.web.api.body import CHUNK, RequestBody

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def environ(content: object, **values: str) -> "WSGIEnvironment":
    stream = io.BytesIO(content) if isinstance(content, bytes) else content
    made: dict[str, Any] = {"wsgi.input": stream, **values}
    return made


def read(body: RequestBody) -> bytes:
    return b"".join(iter(body.read, b""))


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_body_of_known_length_is_read_to_its_end_and_no_further(size: int) -> None:
    stream = io.BytesIO(bytes(size) + b"next request")
    body = RequestBody(environ(stream, CONTENT_LENGTH=str(size)), 3 * CHUNK)
    assert read(body) == bytes(size)
    assert stream.read() == b"next request"
    assert body.read_bytes == body.length == size


@pytest.mark.parametrize("coding", ["chunked", "Chunked", "gzip, chunked"])
@pytest.mark.parametrize("length", [{}, {"CONTENT_LENGTH": ""}, {"CONTENT_LENGTH": "7"}])
def test_chunked_body_is_read_to_its_end(coding: str, length: dict[str, str]) -> None:
    values = {"HTTP_TRANSFER_ENCODING": coding, **length}
    body = RequestBody(environ(b"0123456789", **values), 10)
    assert body.length is None
    assert read(body) == b"0123456789"


def test_length_over_the_limit_is_refused_unread() -> None:
    stream = io.BytesIO(b"x" * 11)
    with pytest.raises(
        PayloadTooLargeError, match=r"has 11 bytes, .* at most 10 bytes: .*PYOCI_MAX_BODY"
    ):
        RequestBody(environ(stream, CONTENT_LENGTH="11"), 10, "PYOCI_MAX_BODY")
    assert stream.tell() == 0


def test_chunked_body_is_refused_once_it_exceeds_the_limit() -> None:
    body = RequestBody(environ(b"x" * 11, HTTP_TRANSFER_ENCODING="chunked"), 10, "PYOCI_MAX_BODY")
    with pytest.raises(PayloadTooLargeError, match="PYOCI_MAX_BODY"):
        read(body)


@pytest.mark.parametrize("length", ["x", "-1", "+1", "1.0", "1 1", "²", "٣", "0x1"])
def test_length_that_is_no_number_is_refused(length: str) -> None:
    with pytest.raises(InvalidRequestError, match="Content-Length"):
        RequestBody(environ(b"", CONTENT_LENGTH=length), 10)


@pytest.mark.parametrize("values", [{}, {"HTTP_TRANSFER_ENCODING": "identity"}])
def test_upload_without_a_body_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(InvalidRequestError, match="needs a body"):
        RequestBody(environ(b"", **values), 10)


def test_body_that_ends_early_is_refused() -> None:
    body = RequestBody(environ(b"0123", CONTENT_LENGTH="10"), 10)
    with pytest.raises(InvalidRequestError, match="ended after 4 of 10 bytes"):
        read(body)


class _Failing(io.RawIOBase):
    def __init__(self, error: OSError) -> None:
        super().__init__()
        self._error = error

    def read(self, size: int = -1) -> bytes:
        del size
        raise self._error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), ClientTimeoutError),
        (ConnectionResetError(), InvalidRequestError),
        (OSError("gone"), InvalidRequestError),
    ],
)
def test_client_that_stops_and_client_that_disconnects_get_different_errors(
    error: OSError, kind: type[Exception]
) -> None:
    body = RequestBody(environ(_Failing(error), CONTENT_LENGTH="10"), 10)
    with pytest.raises(kind):
        body.read()
