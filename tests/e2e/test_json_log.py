"""The log of a whole server as JSON lines, and the span of a change."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.integration.index_client import IndexClient
from tests.otlp_collector import OTLPCollector, attributes
from tests.packages import make_wheel
from tests.patience import PATIENCE
from tests.servers import LOOPBACK, ROOT, RunningServer, gunicorn, wait_until

WHEEL = "foo-1.0-py3-none-any.whl"
USER = "alice@example.com"
SECRET = "s3cret-of-alice"

_FAULTY = """\
import threading, warnings
from flask import Flask
from pyoci_flask.app import create_app_from_env

app = create_app_from_env()

def fail():
    raise ValueError("in a thread\\nwith two lines")

def faulty(environ, start_response):
    if environ["PATH_INFO"] == "/warn":
        warnings.warn("careful\\nplease", UserWarning)
        threading.Thread(target=fail).start()
    if environ["PATH_INFO"] == "/break":
        raise RuntimeError("https://bob:hunter2@ghcr.io/\\nbroken")
    return inner(environ, start_response)

inner, app.wsgi_app = app.wsgi_app, faulty
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a server has written and exported."""

    lines: list[str]
    collector: OTLPCollector

    def records(self, logger: str) -> list[dict[str, Any]]:
        """Return the objects of one logger."""
        return [one for one in map(json.loads, self.lines) if one["logger"] == logger]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("json")
    (folder / "faulty.py").write_text(_FAULTY)
    wheel = make_wheel(folder, "foo", "1.0")
    with OTLPCollector() as collector, requests.Session() as session:
        session.trust_env = False
        environ = {
            "PYOCI_LOG_FORMAT": "json",
            "PYOCI_STORAGE": str(folder / "storage"),
            "PYOCI_PATH": "",
            "OTLP_ENDPOINT": collector.url,
            "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
            "RUST_LOG": "hyper=debug",
        }
        with gunicorn(folder, environ, faults="hunter2", app="faulty:app") as server:
            index = IndexClient(f"{server.url}/simple", (USER, SECRET), session)
            assert index.publish(wheel, "foo", "1.0").status_code == 200
            session.get(f"{server.url}/warn")
            assert session.get(f"{server.url}/break").status_code == 500
            _send(server, b"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n")
            (worker,) = server.workers
            os.kill(worker, signal.SIGTERM)
            wait_until(lambda: server.workers not in ([], [worker]))
        yield Seen(server.logged().splitlines(), collector)


def _send(server: RunningServer, request: bytes) -> None:
    with socket.create_connection((LOOPBACK, server.port), timeout=PATIENCE) as client:
        client.sendall(request)
        while client.recv(4096):
            pass


def test_every_line_is_an_object_with_the_same_first_members(seen: Seen) -> None:
    for line in seen.lines:
        members = json.loads(line)
        assert list(members)[:5] == ["time", "level", "logger", "request_id", "message"], line
        assert members["time"].endswith("Z")
        assert len(line) < 4096
        assert line.isascii()


def test_gunicorn_tells_of_its_start_its_workers_and_its_end(seen: Seen) -> None:
    messages = "\n".join(one["message"] for one in seen.records("gunicorn.error"))
    for text in (
        "Starting gunicorn",
        "Listening at",
        "Booting worker",
        "Invalid request",
        "Shutting",
    ):
        assert text in messages


def test_warnings_of_the_start_are_records(seen: Seen) -> None:
    assert "RUST_LOG: ignoring unsupported directive 'hyper=debug'" in [
        one["message"] for one in seen.records("pyoci")
    ]


def test_what_python_would_print_is_a_record(seen: Seen) -> None:
    warnings = [one["message"] for one in seen.records("py.warnings")]
    assert any("UserWarning: careful\nplease" in one for one in warnings)
    (ended,) = [one for one in seen.records("pyoci") if one["message"] == "a thread ended"]
    assert "ValueError: in a thread" in ended["exception"]


def test_a_traceback_is_one_member_without_secrets(seen: Seen) -> None:
    (failed,) = [one for one in map(json.loads, seen.lines) if "broken" in one.get("exception", "")]
    assert failed["exception"].startswith("Traceback")
    assert "https://[redacted]@ghcr.io/" in failed["exception"]


def test_a_request_has_its_fields_as_members(seen: Seen) -> None:
    (access,) = [one for one in seen.records("pyoci.access") if one["path"] == "/simple/"]
    assert (access["method"], access["status"]) == ("POST", 200)
    assert access["bytes_in"] > 0


def test_the_span_of_a_change_says_who_made_it(seen: Seen) -> None:
    (change,) = seen.records("pyoci.changes")
    assert (change["user"], change["client"]) == (USER, "127.0.0.1")
    (span,) = [
        one
        for one in seen.collector.spans
        if one.kind == Span.SPAN_KIND_SERVER and one.name == "POST /simple/"
    ]
    found = attributes(span.attributes)
    lists = {
        name: [one.string_value for one in found[name].values]  # type: ignore[attr-defined]
        for name in ("pyoci.files", "pyoci.digests")
    }
    assert lists == {
        "pyoci.files": [WHEEL],
        "pyoci.digests": [change["files"][0]["digest"]],
    }
    expected = {
        "pyoci.change": "publish",
        "pyoci.project": "foo",
        "pyoci.version": "1.0",
        "user.name": USER,
        "client.address": "127.0.0.1",
        "pyoci.request_id": change["request_id"],
    }
    assert expected.items() <= found.items()
    assert not any(SECRET in line for line in seen.lines)
