"""Where telemetry goes, by our settings and by the standard variables."""

from pathlib import Path

import pytest
from opentelemetry.util.re import parse_env_headers

from pyoci_flask.errors import ConfigurationError
from pyoci_flask.settings import Settings
from pyoci_flask.settings.otlp import endpoints

BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"
OURS = Settings(otlp_endpoint="https://ours:4318")


def test_nothing_is_sent_by_default() -> None:
    assert endpoints(Settings(), {}) == {}
    assert endpoints(Settings(), {BASE: "", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) == {}


def test_own_endpoint_wins() -> None:
    assert endpoints(OURS, {BASE: "http://theirs", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "x"}) == {
        "TRACES": "https://ours:4318/v1/traces",
        "METRICS": "https://ours:4318/v1/metrics",
        "LOGS": "https://ours:4318/v1/logs",
    }


def test_standard_endpoint_has_the_paths_of_the_signals_added() -> None:
    assert endpoints(Settings(), {BASE: "http://theirs:4318/otlp/"}) == {
        "TRACES": "http://theirs:4318/otlp/v1/traces",
        "METRICS": "http://theirs:4318/otlp/v1/metrics",
        "LOGS": "http://theirs:4318/otlp/v1/logs",
    }


def test_endpoint_of_a_signal_is_used_as_it_is() -> None:
    environ = {BASE: "http://theirs", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://logs/in/"}
    assert endpoints(Settings(), environ)["LOGS"] == "http://logs/in/"


@pytest.mark.parametrize("value", ["true", "TRUE"])
def test_sdk_can_be_disabled(value: str) -> None:
    assert endpoints(OURS, {"OTEL_SDK_DISABLED": value}) == {}


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "must be http/protobuf, not 'grpc'"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json", "must be http/protobuf"),
        ("OTEL_TRACES_EXPORTER", "console", "must be otlp or none"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such.pem", "must be a file"),
        ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY", "/no/such.pem", "must be a file"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key: hunter2", "must be a list of name=value"),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "a=b,hunter2", "must be a list of name=value"),
        (
            "OTEL_PROPAGATORS",
            "tracecontext,b3",
            "contains 'b3', which is not installed; installed propagators: ",
        ),
    ],
)
def test_variable_that_cannot_be_used_is_named(name: str, value: str, wanted: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name} {wanted}"):
        endpoints(OURS, {name: value})


def test_endpoint_that_is_no_url_is_not_quoted() -> None:
    with pytest.raises(ConfigurationError) as raised:
        endpoints(Settings(), {BASE: "http://user:hunter2@theirs"})
    assert str(raised.value).startswith(f"{BASE} must be an http or https URL without credentials")
    assert "hunter2" not in str(raised.value)


def test_known_propagators_and_files_are_accepted(tmp_path: Path) -> None:
    certificate = tmp_path / "ca.pem"
    certificate.touch()
    environ = {
        "OTEL_PROPAGATORS": "tracecontext, none",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(certificate),
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }
    assert len(endpoints(OURS, environ)) == 3


@pytest.mark.parametrize("value", ["a=b", " a = b c , x-key=d%20e=,", "", "A=Basic%20eA=="])
def test_headers_that_the_exporters_take_are_taken(
    value: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert endpoints(OURS, {"OTEL_EXPORTER_OTLP_HEADERS": value})
    parse_env_headers(value, liberal=True)
    assert caplog.messages == []


@pytest.mark.parametrize(
    "value", ["a", "=b", "a b=c", "a=ü", "a=b;c", 'a="b"', "(=b", "a: b", "a=b\\"]
)
def test_headers_that_the_exporters_would_log_are_refused_without_their_text(
    value: str, caplog: pytest.LogCaptureFixture
) -> None:
    parse_env_headers(value, liberal=True)
    assert caplog.messages

    with pytest.raises(ConfigurationError) as refused:
        endpoints(OURS, {"OTEL_EXPORTER_OTLP_HEADERS": value})
    assert str(refused.value) == (
        "OTEL_EXPORTER_OTLP_HEADERS must be a list of name=value, with values that are "
        "percent-encoded"
    )
