"""The same file uploaded again: a conflict, or accepted if the setting says so."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import Recorder, wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.integration.upload_lab import Lab, upload_lab
from tests.packages import make_wheel

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

WHEEL = "my_pkg-1.0-py3-none-any.whl"
SDIST = "my_pkg-1.0.tar.gz"


@pytest.fixture
def lab(app_server: AppServer, http: requests.Session, tmp_path: Path) -> Iterator[Lab]:
    with upload_lab(app_server, http, tmp_path, {}) as running:
        yield running


@pytest.fixture
def wheel(tmp_path: Path) -> bytes:
    return make_wheel(tmp_path, "my_pkg", "1.0", requires_python=">=3.8").read_bytes()


@pytest.fixture
def skipping(app_server: AppServer, http: requests.Session, tmp_path: Path) -> Iterator[Lab]:
    """With the setting that accepts a byte-identical upload."""
    with upload_lab(app_server, http, tmp_path, {"PYOCI_SKIP_IDENTICAL": "true"}) as running:
        yield running


def test_an_identical_upload_is_a_conflict_by_default(lab: Lab, wheel: bytes) -> None:
    assert lab.upload(WHEEL, wheel).status_code == 200
    lab.calls.calls.clear()

    assert "already exists" in lab.refused(lab.upload(WHEEL, wheel), 409)


def test_an_identical_upload_is_accepted_and_nothing_pushed_where_that_is_set(
    skipping: Lab, wheel: bytes
) -> None:
    assert skipping.upload(WHEEL, wheel).status_code == 200
    skipping.calls.calls.clear()

    assert "already" in skipping.refused(skipping.upload(WHEEL, wheel), 200)
    assert skipping.filenames == [WHEEL]


def test_another_file_under_the_name_stays_a_conflict(
    skipping: Lab, wheel: bytes, tmp_path: Path
) -> None:
    assert skipping.upload(WHEEL, wheel).status_code == 200
    skipping.calls.calls.clear()
    (tmp_path / "other").mkdir()
    other = make_wheel(tmp_path / "other", "my_pkg", "1.0", summary="other").read_bytes()

    skipping.refused(skipping.upload(WHEEL, other), 409)
    assert skipping.index.get(f"/my-pkg/{WHEEL}").content == wheel


@dataclass(slots=True)
class Overtaking:
    """Runs `overtake` once before the first manifest is put, like a faster writer."""

    app: "WSGIApplication"
    overtake: list[Any] = field(default_factory=list)

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "PUT" and "/manifests/" in environ["PATH_INFO"]:
            while self.overtake:
                self.overtake.pop()()
        return self.app(environ, start)


def test_an_identical_upload_that_is_overtaken_by_another_is_accepted(
    app_server: AppServer, http: requests.Session, tmp_path: Path, wheel: bytes
) -> None:
    """Clients send an upload again while the first one is still in progress."""
    registry = create_registry(tmp_path / "registry")
    slow = Overtaking(registry)
    root = app_server({"PYOCI_SKIP_IDENTICAL": "true"})
    with wsgi_server(slow) as url, wsgi_server(registry) as direct, requests.Session() as session:
        first = Lab(IndexClient(f"{root}/{address(url)}/team", None, http), Recorder(slow))
        other = Lab(IndexClient(f"{root}/{address(direct)}/team", None, session), Recorder(slow))
        answers: list[int] = []
        slow.overtake.append(lambda: answers.append(other.upload(WHEEL, wheel).status_code))

        answers.append(first.upload(WHEEL, wheel).status_code)

    assert answers == [200, 200]
