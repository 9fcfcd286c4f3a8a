"""Uploads that are refused before their body has been read, by real clients."""

import contextlib
import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import run
from tests.packages import make_wheel
from tests.patience import PATIENCE
from tests.servers import RunningServer, gunicorn

SIZE = 20_000_000
REFUSED = {
    "/quay.io/acme/": 403,
    "/nothing/here/": 404,
    "/simple/": 404,
    "/ghcr.io/acme/": 507,
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server for one registry, of which the folder for uploads is gone."""
    tmp = tmp_path_factory.mktemp("app")
    spool = tmp / "spool"
    spool.mkdir()
    with gunicorn(tmp, {"PYOCI_REGISTRIES": "ghcr.io", "PYOCI_SPOOL": str(spool)}) as running:
        spool.rename(tmp / "elsewhere")
        yield running


@pytest.mark.parametrize("path", REFUSED)
def test_twine_shows_the_answer(app: RunningServer, tmp_path: Path, path: str) -> None:
    wheel = make_wheel(tmp_path, "foo", "1.0", size=SIZE)
    where = ["--username=a", "--password=b", "--repository-url", f"{app.url}{path}"]

    said = run(tmp_path, "twine", "upload", "--disable-progress-bar", *where, wheel, succeeds=False)

    assert f" {REFUSED[path]} " in said
    assert "Traceback" not in said
    assert "RemoteDisconnected" not in said


@pytest.mark.parametrize("path", REFUSED)
def test_the_next_request_of_the_client_is_answered(app: RunningServer, path: str) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    client = http.client.HTTPConnection("127.0.0.1", app.port, timeout=PATIENCE)
    with contextlib.closing(client):
        for _ in range(2):
            client.request("POST", path, bytes(SIZE), headers)
            answer = client.getresponse()
            assert answer.status == REFUSED[path]
            assert answer.headers["Connection"] == "close"
            answer.read()
        client.request("GET", "/health")
        assert client.getresponse().status == 200
