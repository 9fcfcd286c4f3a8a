"""Both ends of the access log: an observer of requests, and a caller in the same process."""

import logging
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import pytest

from pyoci_flask.logs import request_id
from pyoci_flask.web.access_log import RequestRecord
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment


class Observer:
    """Keeps the records; `await_one` waits for the next, written after the response's last byte."""

    def __init__(self) -> None:
        self.records: list[RequestRecord] = []
        self._arrived = threading.Semaphore(0)

    def request_started(self, environ: "WSGIEnvironment") -> Callable[[RequestRecord], None]:
        assert environ["pyoci.request_id"] == request_id.get()

        def end(record: RequestRecord) -> None:
            assert request_id.get() == record.request_id
            self.records.append(record)
            self._arrived.release()

        return end

    def await_one(self) -> RequestRecord:
        assert self._arrived.acquire(timeout=PATIENCE)
        return self.records[-1]


class WSGIAnswer:
    """What a WSGI server knows about an unfinished response."""

    def __init__(self) -> None:
        self.statuses: list[str] = []
        self.headers: list[tuple[str, str]] = []
        self.exc_infos: list[object] = []

    def start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: "OptExcInfo | None" = None,
        /,
    ) -> Callable[[bytes], object]:
        self.statuses.append(status)
        self.headers = headers
        self.exc_infos.append(exc_info)
        return lambda _: None


def call(
    app: "WSGIApplication", path: str = "/", answer: WSGIAnswer | None = None
) -> Iterable[bytes]:
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "wsgi.url_scheme": "http"}
    return app(environ, (answer or WSGIAnswer()).start_response)


def close(body: Iterable[bytes]) -> None:
    close = getattr(body, "close", None)
    assert close is not None
    close()


def access_lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "pyoci.access"]
