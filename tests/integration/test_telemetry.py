"""What a collector receives: all signals, the resource, metrics and logs, but no secret."""

import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    AGGREGATION_TEMPORALITY_DELTA,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from pyoci_flask import __version__
from pyoci_flask.settings import Settings
from tests.otlp_collector import OTLPCollector, attributes
from tests.telemetry_app import AUTHORIZATION, SIGNALS, serve, telemetry_settings


@pytest.fixture
def collector() -> Iterator[OTLPCollector]:
    with OTLPCollector() as running:
        yield running


@pytest.fixture
def settings(collector: OTLPCollector) -> Settings:
    return telemetry_settings(collector.url)


def test_all_signals_arrive_with_authorization_and_resource(
    collector: OTLPCollector, settings: Settings
) -> None:
    with serve(settings) as served:
        served.ask("/fan/1")
    assert {export.path for export in collector.exports} == SIGNALS
    assert {export.headers["authorization"] for export in collector.exports} == {AUTHORIZATION}
    assert {export.headers["content-type"] for export in collector.exports} == {
        "application/x-protobuf"
    }
    instances = {resource["service.instance.id"] for resource in collector.resources}
    assert len(instances) == 1
    expected = {
        "service.name": "pyoci",
        "service.version": __version__,
        "deployment.environment": "staging",
        "deployment.environment.name": "staging",
        "k8s.container.name": "pyoci-app",
        "k8s.pod.name": "pyoci-app--rev1",
        "k8s.replicaset.name": "pyoci-app--rev1-abc",
    }
    for resource in collector.resources:
        assert expected.items() <= resource.items()


def test_attributes_that_are_not_set_are_left_out(collector: OTLPCollector) -> None:
    with serve(Settings(otlp_endpoint=collector.url)) as served:
        served.ask("/fan/1")
    assert not any("authorization" in export.headers for export in collector.exports)
    assert collector.resources
    for resource in collector.resources:
        assert not [name for name in resource if name.startswith(("k8s.", "deployment."))]


def test_each_process_start_is_an_instance_of_its_own(
    collector: OTLPCollector, settings: Settings
) -> None:
    for _ in range(2):
        with serve(settings) as served:
            served.ask("/logs")
    assert len({resource["service.instance.id"] for resource in collector.resources}) == 2


def test_metrics_count_requests_bytes_and_registry_calls(
    collector: OTLPCollector, settings: Settings
) -> None:
    with serve(settings) as served:
        for _ in range(3):
            served.ask("/call/there")
        served.ask("/upload", "POST")
        served.ask("/upload", "BREW")
        served.ask("/call/missing")
        host = urlsplit(served.registry).netloc
    assert collector.sums("pyoci_requests") == {
        frozenset({("method", "GET"), ("status", "200")}): 4,
        frozenset({("method", "POST"), ("status", "200")}): 1,
        frozenset({("method", "_OTHER"), ("status", "405")}): 1,
    }
    traffic = collector.sums("pyoci_bytes")
    assert traffic[frozenset({("direction", "up")})] == 5
    assert traffic[frozenset({("direction", "down")})] > 4 * len("[200]")
    assert collector.sums("pyoci_registry_calls") == {
        frozenset({("host", host), ("status", "200")}): 3,
        frozenset({("host", host), ("status", "404")}): 1,
    }
    for name, count in (
        ("pyoci_request_duration", 6),
        ("http.server.request.duration", 6),
        ("http.client.request.duration", 4),
    ):
        metric = collector.metrics[name]
        assert metric.unit == "s"
        assert sum(point.count for point in metric.histogram.data_points) == count
        assert 0 < sum(point.sum for point in metric.histogram.data_points) < 60
    (uptime,) = collector.metrics["pyoci_uptime"].sum.data_points
    assert 0 < uptime.as_double < 60
    for name, unit in (("pyoci_uptime", "seconds"), ("pyoci_requests", "requests")):
        metric = collector.metrics[name]
        assert metric.unit == unit
        assert metric.sum.is_monotonic
        assert metric.sum.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE


def test_number_of_hosts_in_the_metrics_is_bounded(
    collector: OTLPCollector, settings: Settings
) -> None:
    with serve(settings) as served:
        observer = served.telemetry.call_observer
        for i in range(50):
            call = observer.call_started("GET", f"https://made-up-{i}.example/")
            call.finished(status=None, error=OSError(), sent=0, received=0)
        for i in range(150):
            call = observer.call_started("GET", f"https://real-{i}.example/")
            call.finished(status=200, error=None, sent=0, received=0)
    hosts = [str(dict(key)["host"]) for key in collector.sums("pyoci_registry_calls")]
    assert sum(host.startswith("made-up-") for host in hosts) == 10
    assert sum(host.startswith("real-") for host in hosts) == 90
    assert set(hosts) - {
        f"{kind}-{i}.example" for kind in ("made-up", "real") for i in range(150)
    } == {"_other"}


def test_log_records_carry_the_ids_of_trace_and_request(
    collector: OTLPCollector, settings: Settings
) -> None:
    with serve(settings) as served:
        served.ask("/logs", headers={"X-Request-Id": "r-1"})
    span = collector.only_span(Span.SPAN_KIND_SERVER)
    by_body = {record.body.string_value: record for record in collector.log_records}
    warning, failed = by_body["sent Authorization: Basic [redacted]"], by_body["failed"]
    assert (warning.severity_text, failed.severity_text) == ("WARN", "ERROR")
    (access,) = (record for body, record in by_body.items() if body.startswith("status=200 "))
    for record in (warning, failed, access):
        assert record.trace_id == span.trace_id
        assert record.span_id == span.span_id
        assert attributes(record.attributes)["pyoci.request_id"] == "r-1"
    error = attributes(failed.attributes)
    assert error["exception.type"] == "ValueError"
    assert error["exception.message"] == "https://[redacted]@ghcr.io/"
    assert "Traceback" in str(error["exception.stacktrace"])


def test_nothing_that_is_sent_holds_a_secret(collector: OTLPCollector, settings: Settings) -> None:
    secret_headers = {"Authorization": "Basic aHVudGVyMg==", "Cookie": "hunter2"}
    with serve(settings) as served:
        served.ask("/fan/2?password=hunter2", headers=secret_headers)
        served.ask("/logs", headers=secret_headers)
        served.ask("/http%3A%2F%2Fuser%3Ahunter2%40ghcr.io/ns/pkg/", headers=secret_headers)
    assert len(collector.exports) >= 3
    assert "user" in collector.text()
    sent = collector.text().replace(AUTHORIZATION, "")
    assert "hunter2" not in sent
    assert "aHVudGVyMg" not in sent


def test_exports_are_not_logged_to_the_collector(
    collector: OTLPCollector, settings: Settings
) -> None:
    with serve(settings) as served:
        logging.getLogger("opentelemetry.sdk").error("of the SDK")
        logging.getLogger("pyoci.telemetry").error("of ours")
        served.ask("/logs")
    scopes = {
        scope.scope.name
        for export in collector.exports
        if export.path == "/v1/logs"
        for resource in export.message.resource_logs
        for scope in resource.scope_logs
    }
    assert scopes == {"pyoci.access", "pyoci.test"}


def test_own_settings_win_over_the_standard_variables(
    collector: OTLPCollector,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    foreign = {
        "NETRC": str(netrc),
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20foreign",
        "OTEL_RESOURCE_ATTRIBUTES": (
            "deployment.environment=foreign,deployment.environment.name=foreign,"
            "k8s.pod.name=foreign,service.instance.id=foreign"
        ),
    }
    for name, value in foreign.items():
        monkeypatch.setenv(name, value)
    with serve(settings) as served:
        served.ask("/fan/1")
    assert {export.path for export in collector.exports} == SIGNALS
    assert {export.headers["authorization"] for export in collector.exports} == {AUTHORIZATION}
    assert {export.headers["content-encoding"] for export in collector.exports} == {"gzip"}
    assert "foreign" not in collector.text()
    duration = collector.metrics["pyoci_request_duration"]
    assert duration.histogram.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    assert duration.histogram.data_points[0].explicit_bounds[0] == 0.005


def test_standard_variables_work_where_no_setting_is(
    collector: OTLPCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    standard = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"{collector.url}/",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20standard,x-tenant=acme",
        "OTEL_EXPORTER_OTLP_LOGS_HEADERS": "x-tenant=logs",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "deflate",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=standard,team=packages",
        "OTEL_SERVICE_NAME": "packages",
    }
    for name, value in standard.items():
        monkeypatch.setenv(name, value)
    with serve(Settings()) as served:
        served.ask("/fan/1")
    headers = {export.path: export.headers for export in collector.exports}
    assert headers.keys() == SIGNALS
    assert headers["/v1/traces"]["authorization"] == "Bearer standard"
    assert headers["/v1/metrics"]["x-tenant"] == "acme"
    assert headers["/v1/logs"]["x-tenant"] == "logs"
    assert {each["content-encoding"] for each in headers.values()} == {"deflate"}
    wanted = {
        "service.name": "packages",
        "team": "packages",
        "deployment.environment.name": "standard",
    }
    assert all(wanted.items() <= resource.items() for resource in collector.resources)
    duration = collector.metrics["pyoci_request_duration"]
    assert duration.histogram.aggregation_temporality == AGGREGATION_TEMPORALITY_DELTA


def test_each_signal_has_an_endpoint_of_its_own(
    collector: OTLPCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/v1/traces")
    with serve(Settings()) as served:
        served.ask("/fan/1")
    assert {export.path for export in collector.exports} == {"/v1/traces"}


def test_signal_that_is_turned_off_is_not_sent(
    collector: OTLPCollector, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    with serve(settings) as served:
        served.ask("/fan/1")
    assert {export.path for export in collector.exports} == {"/v1/traces", "/v1/metrics"}


def test_sampler_of_the_environment_decides_about_traces(
    collector: OTLPCollector, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with serve(settings) as served:
        served.ask("/fan/1")
    assert {export.path for export in collector.exports} == {"/v1/metrics", "/v1/logs"}
    assert sum(collector.sums("pyoci_requests").values()) == 1
