"""The access log as a caller in the same process sees it."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

import pytest

from pyoci_flask.logs import request_id
from pyoci_flask.web.access_log import AccessLog
from tests.wsgi_caller import Observer, WSGIAnswer, access_lines, call, close

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

leaked: ContextVar[str] = ContextVar("leaked", default="nothing")


@pytest.fixture
def observer() -> Observer:
    return Observer()


@pytest.fixture(autouse=True)
def _shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="pyoci.access")


def test_application_that_raises_is_logged_without_a_status(
    observer: Observer, caplog: pytest.LogCaptureFixture
) -> None:
    def app(_: "WSGIEnvironment", __: "StartResponse") -> Iterable[bytes]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(AccessLog(app, [observer]))
    record = observer.await_one()
    assert (record.status, record.aborted) == (None, True)
    assert isinstance(record.error, ZeroDivisionError)
    (line,) = access_lines(caplog)
    assert line.getMessage().startswith("status=- method=GET path=/ ")


def test_context_variables_set_by_a_request_stay_in_it(observer: Observer) -> None:
    seen: list[str] = []

    def app(_: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        leaked.set("by the application")
        start_response("200 OK", [])

        def body() -> Iterator[bytes]:
            seen.append(leaked.get())
            leaked.set("by the body")
            yield b"1"
            seen.append(leaked.get())

        return body()

    body = call(AccessLog(app, [observer]))
    for _ in body:
        assert leaked.get() == "nothing"
        assert request_id.get() is None
    close(body)
    assert seen == ["by the application", "by the body"]
    assert leaked.get() == "nothing"


def test_request_inside_a_request_has_its_id_and_leaves_it_alone(
    observer: Observer,
) -> None:
    ids: list[str | None] = []

    def inner(_: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        ids.append(request_id.get())
        start_response("200 OK", [("Content-Length", "2")])
        return iter([b"ab", b""])

    inner_log = Observer()
    logged_inner = AccessLog(inner, [inner_log])

    def outer(_: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        start_response("200 OK", [])

        def body() -> Iterator[bytes]:
            answer = call(logged_inner, "/v2/")
            yield next(iter(answer))
            ids.append(request_id.get())
            close(answer)
            ids.append(request_id.get())

        return body()

    body = call(AccessLog(outer, [observer]))
    assert list(body) == [b"ab"]
    close(body)
    outer_record, inner_record = observer.await_one(), inner_log.await_one()
    assert ids == [outer_record.request_id] * 3
    assert inner_record.request_id == outer_record.request_id
    assert inner_record.path == "/v2/"
    # The caller took what Content-Length announced, and no more.
    assert not inner_record.aborted


def test_close_is_passed_on_even_if_nothing_was_read(observer: Observer) -> None:
    closed: list[bool] = []

    class Chunks:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"1"])

        def close(self) -> None:
            closed.append(True)

    def app(_: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        start_response("200 OK", [])
        return Chunks()

    body = call(AccessLog(app, [observer]))
    close(body)
    assert closed == [True]
    assert observer.await_one().aborted


def test_second_close_logs_nothing_more(
    observer: Observer, caplog: pytest.LogCaptureFixture
) -> None:
    def app(_: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        start_response("200 OK", [])
        return [b"1"]

    body = call(AccessLog(app, [observer]))
    list(body)
    close(body)
    close(body)
    assert len(observer.records) == 1
    assert len(access_lines(caplog)) == 1


def test_application_may_replace_its_answer_by_an_error(observer: Observer) -> None:
    def app(_: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "5")])
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start_response("500 Internal Server Error", [("X-Request-Id", "own")], sys.exc_info())
        return [b"error"]

    answer = WSGIAnswer()
    body = call(AccessLog(app, [observer]), answer=answer)
    list(body)
    close(body)
    record = observer.await_one()
    assert record.status == 500
    assert answer.exc_infos[0] is None
    assert isinstance(answer.exc_infos[1], tuple)
    assert answer.headers == [("X-Request-Id", record.request_id)]


def test_duration_runs_to_the_end_of_the_body(observer: Observer) -> None:
    def app(_: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        start_response("200 OK", [])
        return iter([b"1", b"2"])

    body = call(AccessLog(app, [observer]))
    chunks = iter(body)
    next(chunks)
    started = time.monotonic()
    while time.monotonic() - started < 0.05:
        pass
    list(chunks)
    close(body)
    assert observer.await_one().duration >= 0.05
