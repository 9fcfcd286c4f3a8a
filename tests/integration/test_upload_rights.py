"""The registry says whether the caller may write before the server reads an uploaded file."""

import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from werkzeug.wrappers import Request, Response

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import Recorder, wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.integration.upload_lab import Lab
from tests.packages import make_wheel

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SDIST = "my_pkg-1.0.tar.gz"
WHEEL = "my_pkg-1.0-py3-none-any.whl"
ALICE = ("alice", "secret")
BROKEN = b"this is no archive"


@dataclass(frozen=True, slots=True)
class _ReadOnly:
    """Lets everyone read, but requires the password to write."""

    app: "WSGIApplication"

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        if request.method in {"GET", "HEAD"}:
            return self.app(environ, start)
        if request.authorization is None:
            challenge = {"WWW-Authenticate": 'Basic realm="double"'}
            return Response("no", 401, challenge)(environ, start)
        if request.authorization.password != "secret":
            return Response("no", 403)(environ, start)
        return self.app(environ, start)


@pytest.fixture
def lab(app_server: AppServer, http: requests.Session, tmp_path: Path) -> Iterator[Lab]:
    calls = Recorder(_ReadOnly(create_registry(tmp_path / "registry")))
    with wsgi_server(calls) as url:
        yield Lab(IndexClient(f"{app_server({})}/{address(url)}/team", None, http), calls)


def _as(lab: Lab, auth: tuple[str, str] | None) -> Lab:
    return replace(lab, index=replace(lab.index, auth=auth))


@pytest.mark.parametrize(("auth", "status"), [(None, 401), (("alice", "wrong"), 403), (ALICE, 400)])
@pytest.mark.parametrize("filename", [SDIST, WHEEL])
def test_only_users_who_may_write_learn_what_is_wrong_with_the_archive(
    lab: Lab, auth: tuple[str, str] | None, status: int, filename: str
) -> None:
    response = _as(lab, auth).upload(filename, BROKEN)

    assert response.status_code == status, response.text
    assert ("not a valid" in response.text or "not a zip" in response.text) == (status == 400)
    if status != 400:
        assert {call.method for call in lab.calls.writes} == {"POST"}


def test_a_stranger_is_asked_for_credentials_and_the_same_upload_is_then_taken(
    lab: Lab, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "my_pkg", "1.0").read_bytes()
    refused = lab.upload(WHEEL, wheel)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].startswith("Basic")

    assert _as(lab, ALICE).upload(WHEEL, wheel).status_code == 200
    assert lab.filenames == [WHEEL]


def _wheel(metadata: bytes, members: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(members):
            archive.writestr(f"my_pkg/a_module_with_a_name_{number}.py", b"")
        archive.writestr("my_pkg-1.0.dist-info/METADATA", metadata, zipfile.ZIP_DEFLATED)
        archive.writestr("my_pkg-1.0.dist-info/WHEEL", b"Wheel-Version: 1.0\n")
    return packed.getvalue()


def test_a_package_as_large_as_the_largest_is_published(lab: Lab) -> None:
    """29,000 members, 2,500 requirements and a description of 5 MB, like the largest on PyPI."""
    requirements = [
        line
        for number in range(1250)
        for line in (
            f"Requires-Dist: service-{number}-stubs<1.41.0,>=1.40.0 ; extra == 's{number}'",
            f"Requires-Dist: service-{number}-stubs<1.41.0,>=1.40.0 ; extra == 'all'",
            f"Provides-Extra: s{number}",
        )
    ]
    fields = ["Metadata-Version: 2.1", "Name: my-pkg", "Version: 1.0", *requirements]
    text = "\n".join((*fields, "", "A line of the description.\n" * 190_000))
    wheel = _wheel(text.encode(), 29_000)

    response = _as(lab, ALICE).upload(WHEEL, wheel)

    assert response.status_code == 200, response.text
    assert lab.index.get(f"/my-pkg/{WHEEL}.metadata").content == text.encode()
    assert lab.index.get("/my-pkg/json").json()["info"]["name"] == "my-pkg"


def test_fields_over_a_bound_are_refused_with_the_bound(lab: Lab) -> None:
    fields = b"Metadata-Version: 2.1\nName: my-pkg\nVersion: 1.0\n" + b"X: y\n" * 10_001

    refused = _as(lab, ALICE).upload(WHEEL, _wheel(fields, 1))

    assert refused.status_code == 400
    assert "10000 fields" in refused.text
