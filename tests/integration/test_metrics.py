"""`/metrics`: text for Prometheus, of all the workers of one gunicorn."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from pyoci_flask.errors import ConfigurationError
from pyoci_flask.settings import Settings
from pyoci_flask.telemetry.prometheus import Series
from tests.integration.index_client import IndexClient
from tests.otlp_collector import OTLPCollector
from tests.packages import make_wheel
from tests.patience import PATIENCE
from tests.servers import RunningServer, gunicorn, wait_until

ON = {"PYOCI_METRICS": "on"}


def _ask(server: RunningServer, path: str) -> requests.Response:
    """Each on its own connection, so that any worker may answer."""
    with requests.Session() as session:
        session.trust_env = False
        return session.get(f"{server.url}{path}", timeout=PATIENCE)


def _samples(server: RunningServer) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = _ask(server, "/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert answer.headers["Cache-Control"] == "no-store"
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def _labels(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


def _sum(samples: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str) -> float:
    return sum(value for (found, _), value in samples.items() if found == name)


def test_metrics_are_off_by_default(tmp_path: Path) -> None:
    with gunicorn(tmp_path, {"PYOCI_STORAGE": str(tmp_path / "storage")}) as server:
        assert _ask(server, "/metrics").status_code == 404


def test_metrics_of_all_workers_are_one(tmp_path: Path) -> None:
    environ = {**ON, "PYOCI_STORAGE": str(tmp_path / "storage"), "WEB_CONCURRENCY": "2"}
    wheel = make_wheel(tmp_path, "foo", "1.0")
    with gunicorn(tmp_path, environ) as server, requests.Session() as session:
        session.trust_env = False
        index = IndexClient(f"{server.url}/simple", None, session)
        assert index.publish(wheel, "foo", "1.0").ok
        content = index.get(f"/foo/{wheel.name}").content
        for _ in range(20):
            assert _ask(server, "/simple/foo/").status_code == 200
        assert _ask(server, "/v2/python/missing/tags/list").status_code == 404
        first = _samples(server)
        for _ in range(10):
            later = _samples(server)
            assert (
                later[("pyoci_uptime_seconds_total", frozenset())]
                > first[("pyoci_uptime_seconds_total", frozenset())]
            )
            assert _sum(later, "pyoci_requests_total") > _sum(first, "pyoci_requests_total")
            first = later
        wanted = {
            ("GET", "200", "list"): 20,
            ("GET", "200", "download"): 1,
            ("POST", "200", "publish"): 1,
            ("GET", "404", "list tags"): 1,
        }
        for (method, status, operation), count in wanted.items():
            labels = _labels(method=method, status=status, operation=operation)
            assert later[("pyoci_requests_total", labels)] == count
            assert later[("pyoci_request_duration_seconds_count", labels)] == count
        assert later[("pyoci_bytes_total", _labels(direction="up"))] > len(content)
        assert later[("pyoci_bytes_total", _labels(direction="down"))] > len(content)
        calls = _labels(host="embedded", status="201")
        assert later[("pyoci_registry_calls_total", calls)] >= 2
        operations = {
            dict(labels)["operation"]
            for name, labels in later
            if name == "http_client_request_duration_seconds_count"
        }
        assert {"list tags", "read manifest", "write manifest", "start upload"} <= operations


def test_counters_outlive_the_workers(tmp_path: Path) -> None:
    with gunicorn(tmp_path, ON) as server:
        assert _ask(server, "/health").status_code == 200
        first, workers = _samples(server), server.workers
        os.kill(server.process.pid, signal.SIGHUP)
        wait_until(lambda: len(server.workers) == 1 and server.workers != workers)
        later = _samples(server)
    labels = _labels(method="GET", status="200", operation="health")
    assert later[("pyoci_requests_total", labels)] >= first[("pyoci_requests_total", labels)]
    uptime = ("pyoci_uptime_seconds_total", frozenset[tuple[str, str]]())
    assert later[uptime] > first[uptime]


def test_metrics_stay_at_the_root_with_a_sub_path(tmp_path: Path) -> None:
    with gunicorn(tmp_path, {**ON, "PYOCI_PATH": "/acme", "PYOCI_CACHE_TTL": "0"}) as server:
        assert _sum(_samples(server), "pyoci_uptime_seconds_total") > 0
        folders = list(tmp_path.glob("pyoci-flask-cache-*"))
    assert folders == []


def test_metrics_and_a_collector_do_not_exclude_each_other(tmp_path: Path) -> None:
    with (
        OTLPCollector() as collector,
        gunicorn(tmp_path, {**ON, "OTLP_ENDPOINT": collector.url}) as server,
    ):
        assert _ask(server, "/health").status_code == 200
        labels = _labels(method="GET", status="200", operation="health")
        assert _samples(server)[("pyoci_requests_total", labels)] >= 1
    assert "GET /metrics" in {span.name for span in collector.spans}


def test_folder_of_the_metrics_is_removed_when_the_server_stops(tmp_path: Path) -> None:
    with gunicorn(tmp_path, {**ON, "PYOCI_SPOOL": str(tmp_path)}) as server:
        _samples(server)
        (folder,) = tmp_path.glob("pyoci-flask-cache-*/metrics")
        assert list(folder.glob("counter_*.db"))
    assert list(tmp_path.glob("pyoci-flask-cache-*")) == []


def test_a_file_that_a_worker_has_only_opened_is_passed_over(tmp_path: Path) -> None:
    with gunicorn(tmp_path, {**ON, "PYOCI_SPOOL": str(tmp_path)}) as server:
        _ask(server, "/health")
        (folder,) = tmp_path.glob("pyoci-flask-cache-*/metrics")
        (folder / "counter_1.db").touch()
        _samples(server)


def test_one_process_without_a_folder_reports_its_own_metrics() -> None:
    script = (
        "import sys\n"
        "from pyoci_flask.app import create_app\n"
        "from pyoci_flask.settings import Settings\n"
        "for value in ('off', 'on'):\n"
        "    client = create_app(Settings.from_env({'PYOCI_METRICS': value})).test_client()\n"
        "    client.get('/health').close()\n"
        "    text = client.get('/metrics').text\n"
        "    print('operation=\"health\"' in text, 'prometheus_client' in sys.modules)\n"
        "print(any(name.startswith('opentelemetry') for name in sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stdout == "False False\nTrue True\nFalse\n"


def test_sub_path_may_not_hide_the_metrics() -> None:
    with pytest.raises(ConfigurationError, match="PYOCI_PATH must not be /metrics"):
        Settings.from_env({**ON, "PYOCI_PATH": "/metrics"})


def test_no_series_begins_where_the_disk_has_no_room(tmp_path: Path) -> None:
    full, free = Series(str(tmp_path), 1 << 62), Series(str(tmp_path), 0)
    assert not full.admits("GET", "200")
    assert free.admits("GET", "200")
    assert free.admits("GET", "200")
    assert Series(None, 1 << 62).admits("GET", "200")
