"""The access log counts bytes that an application sent past its iterable."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from pyoci_flask.common.outlet import OUTLET
from pyoci_flask.web.access_log import AccessLog
from tests.unit.outlet_lab import connected
from tests.wsgi_caller import Observer, WSGIAnswer, close

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def _application(environ: "WSGIEnvironment", start: "StartResponse") -> Iterator[bytes]:
    start("200 OK", [("Content-Length", "10")])
    yield b""
    if OUTLET in environ:
        environ[OUTLET].send(b"1234567")
    yield b"890"


@pytest.mark.parametrize(("straight", "counted"), [(True, 10), (False, 3)])
def test_both_ways_are_counted(*, straight: bool, counted: int) -> None:
    observer = Observer()
    with connected() as client:
        environ: dict[str, object] = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
        outlet = client.outlet(10)
        if straight:
            environ[OUTLET] = outlet
        body = AccessLog(_application, [observer])(environ, WSGIAnswer().start_response)
        client.take(body)
        close(body)
        assert client.finish() == (b"1234567890" if straight else b"890")
    record = observer.await_one()
    assert (record.bytes_out, record.aborted) == (counted, False)
