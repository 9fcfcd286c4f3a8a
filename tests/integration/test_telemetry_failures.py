"""A collector that refuses, hangs or does not exist does no harm."""

import logging
import time
from collections.abc import Iterator

import pytest

from pyoci_flask.settings import Settings
from tests.doubles import closed_port, silent_server
from tests.otlp_collector import OTLPCollector
from tests.patience import PATIENCE
from tests.telemetry_app import AUTHORIZATION, serve, telemetry_settings


@pytest.fixture
def collector() -> Iterator[OTLPCollector]:
    with OTLPCollector() as running:
        yield running


@pytest.fixture
def settings(collector: OTLPCollector) -> Settings:
    return telemetry_settings(collector.url)


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "pyoci.telemetry"]


def test_refusing_collector_costs_a_few_warnings_without_the_authorization(
    settings: Settings, caplog: pytest.LogCaptureFixture, collector: OTLPCollector
) -> None:
    collector.status = 401
    with serve(settings) as served:
        assert served.ask("/fan/2")[0] == 200
    assert collector.requests == 3
    assert len(_warnings(caplog)) == 3
    assert all("401" in line for line in _warnings(caplog))
    assert "hunter2" not in caplog.text.replace("Authorization: Basic aHVudGVyMg==", "")


def test_sdk_repeats_a_warning_only_after_a_while(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(settings):
        for _ in range(50):
            logging.getLogger("opentelemetry.exporter").warning("no collector")
        logging.getLogger("opentelemetry.sdk").warning("queue full")
    assert [line.partition(" (")[0] for line in _warnings(caplog)] == ["no collector", "queue full"]


def test_sdk_logs_as_it_did_before_once_telemetry_has_ended(settings: Settings) -> None:
    source = logging.getLogger("opentelemetry")
    before = (source.propagate, list(source.handlers), list(logging.getLogger().handlers))
    with serve(settings):
        assert not source.propagate
    assert (source.propagate, source.handlers, logging.getLogger().handlers) == before


def test_absent_collector_neither_fails_requests_nor_holds_up_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        closed_port() as endpoint,
        serve(Settings(otlp_endpoint=endpoint, otlp_auth=AUTHORIZATION)) as served,
    ):
        assert served.ask("/fan/2")[0] == 200
        served.telemetry.shutdown()
    # One for each signal; dropping a span that ends this late may also be reported.
    failures = [line for line in _warnings(caplog) if line.startswith("Failed to export")]
    assert 0 < len(failures) <= 3
    assert "collector-hunter2" not in caplog.text


def test_hanging_collector_holds_up_the_end_for_a_few_seconds_at_most() -> None:
    with silent_server() as silent, serve(Settings(otlp_endpoint=silent)) as served:
        assert served.ask("/fan/2")[0] == 200
        started = time.monotonic()
        served.telemetry.shutdown()
        assert time.monotonic() - started < PATIENCE
        # The worker lives on until its last request has ended.
        assert served.ask("/fan/2")[0] == 200


def test_second_shutdown_does_nothing(collector: OTLPCollector, settings: Settings) -> None:
    with serve(settings) as served:
        served.ask("/fan/1")
        served.telemetry.shutdown()
        sent = collector.requests
        served.telemetry.shutdown()
        assert collector.requests == sent == 3
