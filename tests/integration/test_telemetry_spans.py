"""Spans as a collector receives them: one for each request, one for each registry call."""

import contextlib
import http.client
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.util.http import parse_excluded_urls
from werkzeug.test import EnvironBuilder

from pyoci_flask.settings import Settings
from pyoci_flask.web.access_log import AccessLog
from pyoci_flask.web.gate import NoPlaceError
from tests.doubles import wsgi_server
from tests.otlp_collector import OTLPCollector, attributes
from tests.patience import PATIENCE
from tests.telemetry_app import serve, telemetry_settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


@pytest.fixture
def collector() -> Iterator[OTLPCollector]:
    with OTLPCollector() as running:
        yield running


@pytest.fixture
def settings(collector: OTLPCollector) -> Settings:
    return telemetry_settings(collector.url)


def test_request_is_a_server_span_named_by_its_route(
    collector: OTLPCollector, settings: Settings
) -> None:
    with serve(settings) as served:
        served.ask("/fan/0?token=hunter2", headers={"User-Agent": "pip", "X-Request-Id": "r-1"})
    span = collector.only_span(Span.SPAN_KIND_SERVER)
    assert span.name == "GET /fan/<int:calls>"
    assert span.parent_span_id == b""
    found = attributes(span.attributes)
    assert found.pop("client.port")
    assert found == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "url.path": "/fan/0",
        "http.route": "/fan/<int:calls>",
        "http.response.status_code": 200,
        "http.response.body.size": 3,
        "network.protocol.version": "1.1",
        "client.address": "127.0.0.1",
        "server.address": "127.0.0.1",
        "server.port": urlsplit(served.url).port,
        "user_agent.original": "pip",
        "pyoci.request_id": "r-1",
    }
    assert span.status.code == Status.STATUS_CODE_UNSET


def test_registry_calls_are_children_of_the_request_on_pool_threads_too(
    collector: OTLPCollector, settings: Settings
) -> None:
    with serve(settings) as served:
        assert served.ask("/fan/8")[0] == 200
        address = urlsplit(served.registry)
    server = collector.only_span(Span.SPAN_KIND_SERVER)
    calls = [span for span in collector.spans if span.kind == Span.SPAN_KIND_CLIENT]
    assert len(calls) == 8
    assert {span.parent_span_id for span in calls} == {server.span_id}
    assert {span.trace_id for span in calls} == {server.trace_id}
    assert {span.name for span in calls} == {"GET"}
    urls = {attributes(span.attributes)["url.full"] for span in calls}
    assert urls == {f"{served.registry}/v2/{i}" for i in range(8)}
    assert (
        attributes(calls[0].attributes).items()
        >= {
            "http.request.method": "GET",
            "server.address": address.hostname,
            "server.port": address.port,
            "http.response.status_code": 200,
            "http.response.body.size": 5,
        }.items()
    )


def test_refused_registry_call_is_an_error_span(
    collector: OTLPCollector, settings: Settings
) -> None:
    with serve(settings) as served:
        served.ask("/call/missing")
    call = collector.only_span(Span.SPAN_KIND_CLIENT)
    assert call.status.code == Status.STATUS_CODE_ERROR
    assert attributes(call.attributes)["error.type"] == "404"


def test_call_without_an_answer_names_its_error(
    collector: OTLPCollector, settings: Settings
) -> None:
    with serve(settings) as served:
        call = served.telemetry.call_observer.call_started("GET", "https://ghcr.io/v2/")
        call.finished(status=None, error=ConnectionRefusedError("hunter2"), sent=0, received=0)
    span = collector.only_span(Span.SPAN_KIND_CLIENT)
    assert (
        attributes(span.attributes).items()
        >= {
            "error.type": "ConnectionRefusedError",
            "server.address": "ghcr.io",
            "server.port": 443,
        }.items()
    )
    assert "hunter2" not in str(span)


def test_body_has_a_child_span_that_ends_with_it_and_is_current_in_it(
    collector: OTLPCollector, settings: Settings
) -> None:
    with serve(settings) as served:
        assert served.ask("/stream")[1] == b"firstlast"
    server, transfer, call = (
        collector.only_span(Span.SPAN_KIND_SERVER),
        collector.only_span(Span.SPAN_KIND_INTERNAL),
        collector.only_span(Span.SPAN_KIND_CLIENT),
    )
    assert transfer.name == "send body"
    assert transfer.parent_span_id == server.span_id
    assert call.parent_span_id == transfer.span_id
    assert server.start_time_unix_nano < transfer.start_time_unix_nano
    assert transfer.start_time_unix_nano < call.start_time_unix_nano
    assert call.end_time_unix_nano < transfer.end_time_unix_nano
    assert attributes(transfer.attributes) == {"http.response.body.size": len("firstlast")}


def test_request_whose_client_goes_away_makes_the_body_an_error_span(
    collector: OTLPCollector, settings: Settings
) -> None:
    with serve(settings) as served:
        address = urlsplit(served.url)
        with socket.create_connection((address.hostname, address.port), timeout=PATIENCE) as client:
            client.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(1000)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    span = collector.only_span(Span.SPAN_KIND_INTERNAL)
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert (
        attributes(span.attributes).items()
        >= {
            "error.type": "client_disconnected",
        }.items()
    )


def test_exception_amid_the_body_makes_its_span_an_error(
    collector: OTLPCollector, settings: Settings
) -> None:
    with serve(settings) as served, contextlib.suppress(http.client.HTTPException, OSError):
        served.ask("/breaks")
    span = collector.only_span(Span.SPAN_KIND_INTERNAL)
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert attributes(span.attributes)["error.type"] == "ZeroDivisionError"
    assert "hunter2" not in str(span)


def test_status_of_the_server_makes_the_span_an_error(
    collector: OTLPCollector, settings: Settings
) -> None:
    with serve(settings) as served:
        served.ask("/fails")
        served.ask("/no-such-page")
    failed, missing = sorted(
        collector.spans, key=lambda span: str(attributes(span.attributes)["url.path"])
    )
    assert attributes(failed.attributes)["error.type"] == "503"
    assert failed.status.code == Status.STATUS_CODE_ERROR
    # A client's mistake is not a server error; without a route the name stays short.
    assert missing.status.code == Status.STATUS_CODE_UNSET
    assert missing.name == "GET"


def test_trace_of_the_caller_goes_on(collector: OTLPCollector, settings: Settings) -> None:
    trace_id, span_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    headers = {
        "traceparent": f"00-{trace_id}-{span_id}-01",
        "tracestate": "vendor=1,other=Bearer hunter2",
    }
    with serve(settings) as served:
        served.ask("/fan/1", headers=headers)
    assert {span.trace_state for span in collector.spans} == {"vendor=1,other=Bearer [redacted]"}
    assert {span.trace_id.hex() for span in collector.spans} == {trace_id}
    assert collector.only_span(Span.SPAN_KIND_SERVER).parent_span_id.hex() == span_id


def test_requests_of_one_connection_are_traces_of_their_own(
    collector: OTLPCollector, settings: Settings
) -> None:
    with serve(settings) as served:
        connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=PATIENCE)
        with contextlib.closing(connection):
            for _ in range(3):
                connection.request("GET", "/stream")
                connection.getresponse().read()
    servers = [span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER]
    assert len({span.trace_id for span in servers}) == 3
    assert {span.parent_span_id for span in servers} == {b""}


def test_request_inside_a_request_is_its_child(
    collector: OTLPCollector, settings: Settings
) -> None:
    with serve(settings) as served:

        def inner(_: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
            start_response("200 OK", [])
            return [b"inner"]

        logged = AccessLog(inner, served.observers)

        def outer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
            answer = logged({**environ, "PATH_INFO": "/inner"}, lambda *_: lambda _: None)
            start_response("200 OK", [])
            yield from answer
            answer.close()  # type: ignore[attr-defined] # PEP 3333

        with wsgi_server(AccessLog(outer, served.observers)) as url:
            connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
            with contextlib.closing(connection):
                connection.request("GET", "/outer")
                connection.getresponse().read()
    spans = {attributes(span.attributes)["url.path"]: span for span in collector.spans}
    assert spans["/inner"].parent_span_id == spans["/outer"].span_id


def test_request_that_is_served_again_later_leaves_no_span(
    collector: OTLPCollector, settings: Settings
) -> None:
    with serve(settings) as served:
        logged = AccessLog(served.app.wsgi_app, [served.telemetry.request_observer])
        with pytest.raises(NoPlaceError):
            logged(EnvironBuilder("/postponed").get_environ(), lambda *_: lambda _: None)
        served.ask("/logs")
    assert [span.name for span in collector.spans] == ["GET /logs"]


def test_exception_of_the_application_is_recorded_without_secrets(
    collector: OTLPCollector, settings: Settings
) -> None:
    with serve(settings) as served:
        assert served.ask("/raises")[0] == 500
    span = collector.only_span(Span.SPAN_KIND_SERVER)
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert attributes(span.attributes)["error.type"] == "ValueError"
    (event,) = span.events
    recorded = attributes(event.attributes)
    assert recorded["exception.message"] == "https://[redacted]@ghcr.io/"
    assert "Traceback" in str(recorded["exception.stacktrace"])
    assert "hunter2" not in str(span)


@pytest.mark.parametrize(
    ("key", "value"),
    [("SERVER_PORT", "b"), ("SERVER_PORT", "9" * 5000), ("HTTP_HOST", "xn--a")],
)
def test_request_that_the_instrumentation_cannot_read_is_served(
    collector: OTLPCollector, settings: Settings, key: str, value: str
) -> None:
    with serve(settings) as served:
        logged = AccessLog(served.app.wsgi_app, [served.telemetry.request_observer])
        statuses: list[str] = []

        def start(status: str, *_: object) -> Callable[[bytes], None]:
            statuses.append(status)
            return lambda _: None

        environ = EnvironBuilder("/logs").get_environ() | {key: value}
        logged(environ, start).close()  # type: ignore[attr-defined] # PEP 3333
    assert statuses == ["200 OK"]
    assert [span.name for span in collector.spans] == ["GET /logs"]


def test_calls_name_what_they_are_for(collector: OTLPCollector, settings: Settings) -> None:
    with serve(settings) as served:
        call = served.telemetry.call_observer.call_started("GET", "https://ghcr.io/v2/a/tags/list")
        call.finished(status=200, error=None, sent=0, received=5)
    span = collector.only_span(Span.SPAN_KIND_CLIENT)
    assert span.name == "GET /v2/{name}/tags/list"
    assert attributes(span.attributes)["pyoci.registry.operation"] == "list tags"
    assert attributes(span.attributes)["url.template"] == "/v2/{name}/tags/list"


def test_address_that_is_left_out_of_traces_has_no_span(
    collector: OTLPCollector, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "opentelemetry.instrumentation.flask._excluded_urls_from_env",
        parse_excluded_urls("/stream"),
    )
    with serve(settings) as served:
        assert served.ask("/stream")[1] == b"firstlast"
        served.ask("/logs")
    names = {span.name for span in collector.spans if span.kind != Span.SPAN_KIND_CLIENT}
    assert names == {"GET /logs"}
