"""Long texts from clients and registries cost little and never make a long line in the log."""

import json
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import requests
from werkzeug.wrappers import Request, Response

from pyoci_flask.logs import LINE_LIMIT
from tests.conftest import AppServer
from tests.doubles import wsgi_server
from tests.integration.index_client import address
from tests.servers import gunicorn

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

INDEX = "application/vnd.oci.image.index.v1+json"
LONG = "=a:" * 16_000 + " @hunter2"


def _registry(member: str) -> "WSGIApplication":
    """A registry with a few versions that are not packages, with a long text in one place."""

    def serve(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
        if Request(environ).path.endswith("/tags/list"):
            document = {"name": "team/x", "tags": ["1.0", "1.1", "1.2"]}
        elif member == "error":
            document = {"errors": [{"code": LONG, "message": LONG}]}
        else:
            document[member] = LONG
        kind = document.get("mediaType", "application/json")
        status = 403 if "errors" in document else 200
        content_type = kind if kind == INDEX else "application/json"
        return Response(json.dumps(document), status, content_type=content_type)(environ, start)

    return serve


@pytest.mark.parametrize("member", ["artifactType", "mediaType", "error"])
def test_a_long_text_of_a_registry_is_cut(
    app_server: AppServer,
    http: requests.Session,
    capsys: pytest.CaptureFixture[str],
    member: str,
) -> None:
    with wsgi_server(_registry(member)) as url:
        base = f"{app_server()}/{address(url)}/team"
        answers = [http.get(f"{base}/x/{rest}") for rest in ("", "x-1.0.tar.gz", "json")]

    for answer in answers:
        assert len(answer.content) < 3000
        assert len(answer.reason) <= 200
    lines = capsys.readouterr().err.splitlines()
    assert max(len(line.encode()) for line in lines) < 1500


def test_long_text_of_a_client_makes_no_long_line(tmp_path: Path) -> None:
    with gunicorn(tmp_path, {"LOG_LEVEL": "debug"}) as server:
        for path in ("=a:" * 2600 + "@", "a" * 8000, "ghcr.io/" + "%00" * 2600):
            head = f"GET /{path} HTTP/1.1\r\nHost: x\r\nUser-Agent: {'=a:' * 10_000} @\r\n\r\n"
            with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
                client.sendall(head.encode())
                assert client.recv(100).startswith(b"HTTP/1.1 4")
        form = {":action": LONG, "name": LONG, "version": LONG}
        files = {"content": ("x-1.0.tar.gz", b"x")}
        base = f"{server.url}/{quote('http://127.0.0.1:1', safe='')}/team/"
        answer = requests.post(base, data=form, files=files, timeout=60)
    assert answer.status_code == 400
    assert len(answer.content) < LINE_LIMIT
    assert max(len(line.encode()) for line in server.logged().splitlines()) < LINE_LIMIT
