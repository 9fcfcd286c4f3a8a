"""Telemetry and logging of whole processes: gunicorn and its workers."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.doubles import silent_server
from tests.otlp_collector import OTLPCollector, attributes
from tests.patience import PATIENCE
from tests.servers import ROOT, environment, gunicorn, gunicorn_command, wait_until
from tests.telemetry_app import AUTHORIZATION, SIGNALS


def test_without_an_endpoint_nothing_of_opentelemetry_is_imported(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pyoci_flask.app import create_app\n"
        "from pyoci_flask.settings import Settings\n"
        "app = create_app(Settings.from_env({'PYOCI_STORAGE': sys.argv[1]}))\n"
        "assert app.test_client().get('/health').status_code == 200\n"
        "loaded = [name for name in sys.modules if name.split('.')[0] == 'opentelemetry']\n"
        "print(loaded, any(name.startswith('pyoci_flask.telemetry.') for name in sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "storage")],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stdout == "[] False\n"


def _get(url: str, **headers: str) -> int:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("GET", urlsplit(url).path, headers=headers)
        response = connection.getresponse()
        response.read()
        return response.status


def test_gunicorn_worker_sends_all_signals_when_it_is_stopped(
    tmp_path: Path, collector: OTLPCollector
) -> None:
    environ = {
        "PYOCI_STORAGE": str(tmp_path / "storage"),
        "OTLP_ENDPOINT": f"{collector.url}/",
        "OTLP_AUTH": AUTHORIZATION,
        "DEPLOYMENT_ENVIRONMENT": "staging",
        "CONTAINER_APP_NAME": "pyoci-app",
        "CONTAINER_APP_REVISION": "pyoci-app--rev1",
        "CONTAINER_APP_REPLICA_NAME": "pyoci-app--rev1-abc",
        "WEB_CONCURRENCY": "2",
    }
    with gunicorn(tmp_path, environ) as server:
        status = _get(f"{server.url}/simple/no-such-project/", Authorization="Basic dTpodW50ZXIy")
        assert status == http.client.NOT_FOUND
        # The first one may answer before the second one is forked.
        wait_until(lambda: server.logged().count("Booting worker") == 2)
    assert {export.path for export in collector.exports} == SIGNALS
    assert {export.headers["authorization"] for export in collector.exports} == {AUTHORIZATION}
    assert len({resource["service.instance.id"] for resource in collector.resources}) == 2
    expected = {
        "service.name": "pyoci",
        "deployment.environment": "staging",
        "k8s.container.name": "pyoci-app",
        "k8s.pod.name": "pyoci-app--rev1",
        "k8s.replicaset.name": "pyoci-app--rev1-abc",
    }
    assert all(expected.items() <= resource.items() for resource in collector.resources)

    (request,) = (
        span
        for span in collector.spans
        if attributes(span.attributes).get("url.path") == "/simple/no-such-project/"
    )
    calls = [span for span in collector.spans if span.kind == Span.SPAN_KIND_CLIENT]
    assert calls
    assert {span.parent_span_id for span in calls} == {request.span_id}
    logged = [record.body.string_value for record in collector.log_records]
    assert [line for line in logged if " path=/simple/no-such-project/ " in line]
    assert [line for line in logged if " path=/v2/python/no_such_project/tags/list " in line]

    everything = collector.text().replace(AUTHORIZATION, "") + server.logged()
    assert "hunter2" not in everything
    assert "dTpodW50ZXIy" not in everything


def test_gunicorn_worker_writes_its_log_lines_to_stderr(tmp_path: Path) -> None:
    environ = {"PYOCI_STORAGE": str(tmp_path / "storage")}
    with gunicorn(tmp_path, environ) as server:
        _get(f"{server.url}/simple/no-such-project/", **{"X-Request-Id": "r-1"})
    lines = [line for line in server.logged().splitlines() if "request_id=r-1" in line]
    loggers = [part for line in lines for part in line.split() if part.startswith("logger=")]
    assert loggers.count("logger=pyoci.access") == 1
    assert "logger=pyoci.registry" in loggers


@pytest.mark.acceptance
def test_gunicorn_stops_in_time_though_its_collector_hangs(tmp_path: Path) -> None:
    with silent_server() as silent:
        environ = {"PYOCI_STORAGE": str(tmp_path / "storage"), "OTLP_ENDPOINT": silent}
        with gunicorn(tmp_path, environ) as server:
            _get(f"{server.url}/simple/no-such-project/")
            os.kill(server.process.pid, signal.SIGTERM)
            server.process.wait(PATIENCE)
            assert "Worker (pid" not in server.logged()  # none was killed


def test_start_ends_where_the_collector_is_to_be_asked_by_grpc(tmp_path: Path) -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    }
    done = subprocess.run(
        gunicorn_command(),
        cwd=ROOT,
        env=environment(tmp_path, environ),
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    assert done.stdout == (
        "Error: OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf, not 'grpc'; the endpoint must "
        "then use the collector's port for HTTP (usually 4318)\n"
    )
