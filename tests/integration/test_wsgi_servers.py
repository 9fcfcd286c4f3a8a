"""The application under a WSGI server that follows PEP 3333 strictly."""

import threading
from collections.abc import Iterator
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.validate import validator

import pytest
import requests

from pyoci_flask.app import create_app
from pyoci_flask.settings import Settings
from pyoci_flask.web.services import EXTENSION
from tests.doubles import LOOPBACK
from tests.integration.index_client import IndexClient
from tests.packages import make_wheel
from tests.ports import free_port


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Write nothing: the application writes its own access log."""


@pytest.fixture
def index(tmp_path: Path, http: requests.Session) -> Iterator[IndexClient]:
    """Serve the pinned index with the standard library's server, wrapped in a validator."""
    app = create_app(Settings.from_env({"PYOCI_STORAGE": str(tmp_path / "storage")}))
    with WSGIServer((LOOPBACK, free_port()), _QuietHandler) as server:
        server.set_app(validator(app))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield IndexClient(f"http://{LOOPBACK}:{server.server_port}/simple", None, http)
        finally:
            server.shutdown()
            thread.join()
    app.extensions[EXTENSION].transport.close()
    app.extensions[EXTENSION].versions.close()


def test_everything_works(index: IndexClient, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "my-pkg", "1.0")
    index.published(wheel, "my-pkg", "1.0")
    assert "my_pkg-1.0" in index.get("/my-pkg/").text
    assert index.get(f"/my-pkg/{wheel.name}").content == wheel.read_bytes()
    assert index.request("HEAD", f"/my-pkg/{wheel.name}").ok
    assert index.request("PATCH", "/my-pkg/1.0", json={"yanked": True}).ok
    assert index.request("DELETE", "/my-pkg/1.0").ok
    assert index.get("/my-pkg/1.0/nothing").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/nothing", 404),
        ("POST", "/", 400),
        ("PATCH", "/my-pkg/1.0", 400),
        ("DELETE", "/my-pkg/1.0", 404),
    ],
)
@pytest.mark.parametrize("body", [b"", b"not read"])
def test_requests_whose_body_is_not_read_are_answered(
    index: IndexClient, method: str, path: str, status: int, body: bytes
) -> None:
    answer = index.request(method, path, data=body, headers={"Content-Type": "text/plain"})
    assert (answer.status_code, "Connection" in answer.headers) == (status, False)
