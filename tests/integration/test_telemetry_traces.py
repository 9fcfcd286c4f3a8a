"""Traces of whole operations and the metrics of a server, as a collector receives them."""

import http.client
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import requests
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    Metric,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from pyoci_flask.registry import create_registry
from tests.doubles import wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.otlp_collector import OTLPCollector, attributes
from tests.packages import make_wheel
from tests.patience import PATIENCE
from tests.servers import gunicorn

INDEX = "/{registry}/{namespace}"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FILE = "foo-1.0-py3-none-any.whl"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the collector has after a server that did every operation has stopped."""

    collector: OTLPCollector
    size: int
    """Bytes of the file that was published and downloaded."""
    log: str

    def server(self, name: str, **wanted: object) -> Span:
        """Return the one SERVER span with that name."""
        (found,) = (
            span
            for span in self.collector.spans
            if span.kind == Span.SPAN_KIND_SERVER
            and span.name == name
            and wanted.items() <= attributes(span.attributes).items()
        )
        return found

    def children(self, parent: Span) -> list[Span]:
        return [one for one in self.collector.spans if one.parent_span_id == parent.span_id]

    def calls(self, parent: Span) -> list[tuple[str, object]]:
        """Return the name of each call to the registry below a span, and its purpose."""
        calls = [one for one in self.children(parent) if one.kind == Span.SPAN_KIND_CLIENT]
        calls.sort(key=lambda span: span.start_time_unix_nano)
        return [
            (one.name, attributes(one.attributes).get("pyoci.registry.operation")) for one in calls
        ]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("traces")
    wheel = make_wheel(folder, "foo", "1.0", size=300_000)
    environ = {"PYOCI_STORAGE": str(folder / "storage"), "PYOCI_CACHE_TTL": "0"}
    with (
        OTLPCollector() as collector,
        wsgi_server(create_registry(folder / "registry")) as registry,
        requests.Session() as session,
    ):
        environ |= {
            "OTLP_ENDPOINT": collector.url,
            "PYOCI_REGISTRIES": f"{registry},embedded",
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
        }
        session.trust_env = False
        with gunicorn(folder, environ) as server:
            index = IndexClient(f"{server.url}/{address(registry)}/acme", None, session)
            assert index.publish(wheel, "foo", "1.0").status_code == 200
            assert index.get("/foo/").status_code == 200
            content = index.get(f"/foo/{FILE}", headers={"traceparent": TRACEPARENT}).content
            assert content == wheel.read_bytes()
            assert index.get(f"/foo/{FILE}.metadata").status_code == 200
            _await_export(collector, "pyoci_requests")
            assert index.get("/foo/json").status_code == 200
            assert index.get("/").status_code == 200
            assert index.request("OPTIONS", "/foo/").status_code == 200
            assert index.request("PATCH", f"/foo/{FILE}", json={"yanked": "why"}).ok
            assert index.request("DELETE", f"/foo/{FILE}").ok
            assert index.get("/missing/").status_code == 404
            assert session.get(f"{server.url}/simple/missing/").status_code == 404
            assert session.get(f"{server.url}/nothing").status_code == 404
            assert session.options(f"{server.url}/health").status_code == 200
            assert session.get(f"{server.url}/v2/acme/foo/tags/list").status_code == 404
            assert session.get(f"{server.url}/", headers={"Host": "elsewhere"}).status_code == 403
            for host in ("xn--a", "a:b", "[", "127.0.0.1:99999", "\xe4"):
                _odd(server.port, "/odd", host)
            for target in (
                "/%ff%00odd",
                "//[odd",
                "http://[odd/",
                "/http:%2F%2F[/odd/x/",
                "*",
                "/?%",
            ):
                _odd(server.port, target, "127.0.0.1")
        yield Seen(collector, len(content), server.logged())


def _await_export(collector: OTLPCollector, metric: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not _all(collector, metric):
        assert time.monotonic() < deadline, metric
        time.sleep(0.01)


def _odd(port: int, target: str, host: str) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1"))
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert answer.status < 500, (target, host)


def test_trace_of_a_download(seen: Seen) -> None:
    server = seen.server(f"GET {INDEX}/{{project}}/{{filename}}")
    found = attributes(server.attributes)
    assert server.trace_id.hex() == TRACEPARENT.split("-")[1]
    assert server.parent_span_id.hex() == TRACEPARENT.split("-")[2]
    assert server.status.code == Status.STATUS_CODE_UNSET
    assert (
        found.items()
        >= {
            "pyoci.operation": "download",
            "http.request.method": "GET",
            "http.response.status_code": 200,
            "http.response.body.size": seen.size,
            "http.route": f"{INDEX}/{{project}}/{{filename}}",
            "server.address": "127.0.0.1",
            "url.scheme": "http",
        }.items()
    )
    assert ("GET /v2/{name}/manifests/{reference}", "read manifest") in seen.calls(server)
    assert ("GET /v2/{name}/blobs/{digest}", "read blob") in seen.calls(server)
    (transfer,) = (one for one in seen.children(server) if one.kind == Span.SPAN_KIND_INTERNAL)
    assert transfer.name == "send body"
    assert attributes(transfer.attributes) == {"http.response.body.size": seen.size}
    assert server.start_time_unix_nano < transfer.start_time_unix_nano
    assert server.end_time_unix_nano < transfer.end_time_unix_nano
    assert {one.trace_id for one in seen.children(server)} == {server.trace_id}


def test_trace_of_an_upload(seen: Seen) -> None:
    server = seen.server(f"POST {INDEX}/")
    assert server.parent_span_id == b""
    found = attributes(server.attributes)
    assert found["pyoci.operation"] == "publish"
    assert int(str(found["http.request.body.size"])) > seen.size
    calls = [name for _, name in seen.calls(server)]
    for name in ("start upload", "finish upload", "write manifest"):
        assert name in calls


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        (f"GET {INDEX}/", "list_projects"),
        (f"GET {INDEX}/{{project}}/{{filename}}.metadata", "metadata"),
        (f"GET {INDEX}/{{project}}/json", "json"),
        (f"OPTIONS {INDEX}/{{project}}/", "options"),
        (f"PATCH {INDEX}/{{project}}/{{filename}}", "yank"),
        (f"DELETE {INDEX}/{{project}}/{{filename}}", "delete"),
        ("GET /simple/{project}/", "list"),
        ("OPTIONS /health", "health"),
        ("GET /v2/{name}/tags/list", "list tags"),
    ],
)
def test_operations_have_different_names(seen: Seen, name: str, operation: str) -> None:
    found = attributes(seen.server(name).attributes)
    assert found["pyoci.operation"] == operation
    assert found["http.route"] == name.partition(" ")[2]


def test_answer_of_4xx_is_no_error_of_the_server_span(seen: Seen) -> None:
    missing = [
        span
        for span in seen.collector.spans
        if span.kind == Span.SPAN_KIND_SERVER
        and attributes(span.attributes)["http.response.status_code"] in (403, 404)
    ]
    assert len(missing) >= 4
    assert {span.status.code for span in missing} == {Status.STATUS_CODE_UNSET}


def test_names_of_spans_hold_no_part_of_an_address(seen: Seen) -> None:
    names = {span.name for span in seen.collector.spans}
    assert not [name for name in names if "foo" in name or "acme" in name or "odd" in name]


def test_refusal_before_flask_has_a_server_span(seen: Seen) -> None:
    refused = seen.server("GET", **{"http.response.status_code": 403, "url.path": "/"})
    assert seen.children(refused) == []


def test_metrics_follow_the_conventions(seen: Seen) -> None:
    metrics = seen.collector.metrics
    units = {name: metric.unit for name, metric in metrics.items()}
    assert units == {
        "http.server.request.duration": "s",
        "http.server.active_requests": "{request}",
        "http.client.request.duration": "s",
        "pyoci_uptime": "seconds",
        "pyoci_requests": "requests",
        "pyoci_request_duration": "s",
        "pyoci_bytes": "By",
        "pyoci_registry_calls": "{call}",
    }
    for name, value in (("pyoci_uptime", "as_double"), ("pyoci_requests", "as_int")):
        metric = metrics[name]
        assert metric.sum.is_monotonic
        assert metric.sum.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
        assert {one.WhichOneof("value") for one in metric.sum.data_points} == {value}


def test_durations_have_a_route_for_each_operation(seen: Seen) -> None:
    points = [
        attributes(point.attributes)
        for metric in _all(seen.collector, "http.server.request.duration")
        for point in metric.histogram.data_points
    ]
    routes = {point.get("http.route") for point in points}
    assert routes >= {
        f"{INDEX}/",
        f"{INDEX}/{{project}}/",
        f"{INDEX}/{{project}}/{{filename}}",
        f"{INDEX}/{{project}}/{{filename}}.metadata",
        f"{INDEX}/{{project}}/json",
        "/simple/{project}/",
        "/health",
        "/v2/{name}/tags/list",
    }
    assert all({"http.request.method", "url.scheme"} <= point.keys() for point in points)
    calls = [
        attributes(point.attributes)
        for metric in _all(seen.collector, "http.client.request.duration")
        for point in metric.histogram.data_points
    ]
    assert {
        "http.request.method",
        "http.response.status_code",
        "server.address",
        "server.port",
        "url.template",
        "pyoci.registry.operation",
    } <= set().union(*calls)


def _all(collector: OTLPCollector, name: str) -> list[Metric]:
    """Return the metric as each scope exported it."""
    return [
        metric
        for export in collector.exports
        if export.path == "/v1/metrics"
        for resource in export.message.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
    ]


def test_counters_grow_from_export_to_export(seen: Seen) -> None:
    exports = _all(seen.collector, "pyoci_uptime")
    values = [metric.sum.data_points[0].as_double for metric in exports]
    assert len(values) > 2
    assert values == sorted(values)
    starts = {metric.sum.data_points[0].start_time_unix_nano for metric in exports}
    assert len(starts) == 1
    counts = [
        sum(point.as_int for point in metric.sum.data_points)
        for metric in _all(seen.collector, "pyoci_requests")
    ]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
