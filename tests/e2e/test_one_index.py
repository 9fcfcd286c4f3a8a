"""One index URL for private and public packages, and no way to slip in a public package."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import requests
from werkzeug.wrappers import Request, Response

from pyoci_flask.app import create_app
from pyoci_flask.settings import Settings
from pyoci_flask.web.services import EXTENSION
from tests.clients import installed, run, twine_upload, with_credentials
from tests.doubles import Call, Recorder, answering, closed_port, wsgi_server
from tests.packages import make_wheel
from tests.public_index import host, public_index, reaching_it
from tests.registries import RunningRegistry
from tests.servers import RunningServer, gunicorn

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_UNKNOWN = ("mallory", "wrong")
_ACCEPTED = ["application/vnd.pypi.simple.v1+json", "text/html"]


@dataclass(frozen=True, slots=True)
class PublicIndex:
    """A public index at `url`, and the requests to it."""

    url: str
    recorder: Recorder

    @property
    def asked(self) -> list[Call]:
        """The requests of installers."""
        return [call for call in self.recorder.calls if call.method != "POST"]


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicIndex]:
    """A public index with newer versions of everything that is private elsewhere."""
    tmp = tmp_path_factory.mktemp("public")
    app = create_app(Settings.from_env({"PYOCI_STORAGE": str(tmp / "storage")}))
    recorder = Recorder(app)
    with wsgi_server(recorder) as url:
        names = ["some-pkg", "acme-billing", "lower-part"]
        twine_upload(tmp, f"{url}/simple/", *(make_wheel(tmp, name, "99.0") for name in names))
        yield PublicIndex(f"{url}/simple", recorder)
    services = app.extensions[EXTENSION]
    services.transport.close()
    services.versions.close()


@pytest.fixture(scope="module")
def server(
    public: PublicIndex, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """The application that falls back to the public index."""
    settings = {"PYOCI_FALLBACK_INDEX": public.url, "PYOCI_FALLBACK_EXCLUDE": "acme-*"}
    with gunicorn(tmp_path_factory.mktemp("one-index"), settings) as running:
        yield running


@pytest.fixture
def index(server: RunningServer, docker_htpasswd: RunningRegistry, namespace: str) -> str:
    """A new index in a registry that asks for a password."""
    return f"{server.url}/{docker_htpasswd.address}/{namespace}/"


def _install(
    home: Path,
    client: str,
    index: str,
    requirement: str,
    *,
    environ: dict[str, str] | None = None,
    succeeds: bool = True,
) -> dict[str, str]:
    """Install from this index alone, without retries unless `environ` says so."""
    target = home / client
    settings = {"PIP_RETRIES": "0", "UV_HTTP_RETRIES": "0", **(environ or {})}
    where = ["--no-cache-dir", "--index-url", index, "--target", str(target)]
    if client == "pip":
        quiet = ["--no-input", "--disable-pip-version-check"]
        command = ["pip", "install", *quiet, *where, requirement]
        run(home, *command, environ=settings, succeeds=succeeds)
    else:
        run(home, "uv", "pip", "install", *where, requirement, environ=settings, succeeds=succeeds)
    return installed(target)


@pytest.mark.parametrize("client", ["pip", "uv"])
def test_a_private_package_and_its_public_dependency_install_from_one_url(
    docker_htpasswd: RunningRegistry,
    auth: tuple[str, str],
    namespace: str,
    tmp_path: Path,
    client: str,
) -> None:
    fallback = public_index()
    settings = {"PYOCI_FALLBACK_INDEX": fallback, "PYOCI_FALLBACK_EXCLUDE": "acme-*"}
    reached = reaching_it()
    if fallback.startswith("http:"):
        reached = {"PIP_TRUSTED_HOST": host(fallback), **reached}
    with gunicorn(tmp_path, settings) as server:
        index = f"{server.url}/{docker_htpasswd.address}/{namespace}/"
        wheel = make_wheel(tmp_path, "acme-billing", "1.0", requires=["packaging>=23"])
        twine_upload(tmp_path, index, wheel, auth=auth)
        signed = with_credentials(index, *auth)
        found = _install(tmp_path, client, signed, "acme-billing", environ=reached)
    assert set(found) == {"acme-billing", "packaging"}
    assert found["acme-billing"] == "1.0"


@pytest.mark.parametrize("client", ["pip", "uv"])
def test_the_public_index_is_asked_for_what_is_missing_alone_and_gets_no_credentials(
    public: PublicIndex, index: str, auth: tuple[str, str], tmp_path: Path, client: str
) -> None:
    files = [
        make_wheel(tmp_path, "acme-billing", "1.0", requires=["some-pkg", "lower-part"]),
        make_wheel(tmp_path, "some-pkg", "1.0"),
    ]
    twine_upload(tmp_path, index, *files, auth=auth)
    before = len(public.asked)

    found = _install(tmp_path, client, with_credentials(index, *auth), "acme-billing")

    assert found == {"acme-billing": "1.0", "some-pkg": "1.0", "lower-part": "99.0"}
    asked = public.asked[before:]
    assert asked
    assert {call.path.split("/")[2] for call in asked} == {"lower-part"}
    assert {call.authorization for call in asked} == {None}


@dataclass(frozen=True, slots=True)
class _Case:
    """A project that must not be looked for elsewhere, and the expected response."""

    index: str
    project: str
    status: int
    files: int | None = None
    """The number of files on the page, if it is a page."""


@pytest.fixture
def excluded(index: str, auth: tuple[str, str]) -> _Case:
    """Return a name that the settings call private, and that the registry does not have."""
    return _Case(with_credentials(index, *auth), "Acme.Billing", 404)


@pytest.fixture
def without_credentials(index: str, auth: tuple[str, str], tmp_path: Path) -> _Case:
    """Return a private project, requested without credentials."""
    twine_upload(tmp_path, index, make_wheel(tmp_path, "some-pkg", "1.0"), auth=auth)
    return _Case(index, "some-pkg", 401)


@pytest.fixture
def missing_without_credentials(index: str) -> _Case:
    """Return a project that does not exist, requested without credentials."""
    return _Case(index, "some-pkg", 401)


@pytest.fixture
def missing_for_the_anonymous(server: RunningServer) -> Iterator[_Case]:
    """Return the same at a registry with tokens for everyone, which show only public projects."""
    with wsgi_server(_anonymous_tokens) as url:
        yield _Case(f"{server.url}/{quote(url, safe='')}/team/", "some-pkg", 401)


def _anonymous_tokens(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    asked = Request(environ)
    if asked.path == "/token":
        return Response('{"token": "everybody"}')(environ, start)
    if asked.headers.get("Authorization") == "Bearer everybody":
        unknown = '{"errors": [{"code": "NAME_UNKNOWN", "message": "no such repository"}]}'
        return Response(unknown, 404, content_type="application/json")(environ, start)
    challenge = f'Bearer realm="{asked.host_url}token",service="double"'
    return Response("", 401, {"WWW-Authenticate": challenge})(environ, start)


@pytest.fixture
def denied_with_401(index: str) -> _Case:
    """A registry that does not know the user."""
    return _Case(with_credentials(index, *_UNKNOWN), "some-pkg", 401)


@pytest.fixture
def denied_with_403(server: RunningServer) -> Iterator[_Case]:
    """A registry that denies the user access."""
    with wsgi_server(answering(Response("no", 403))) as url:
        yield _Case(
            with_credentials(f"{server.url}/{quote(url, safe='')}/team/", *_UNKNOWN),
            "some-pkg",
            403,
        )


@pytest.fixture
def down(server: RunningServer) -> Iterator[_Case]:
    """A registry that does not exist."""
    with closed_port() as url:
        yield _Case(f"{server.url}/{quote(url, safe='')}/team/", "some-pkg", 502)


@pytest.fixture
def failing(server: RunningServer) -> Iterator[_Case]:
    """A registry whose responses make no sense."""
    with wsgi_server(answering(Response("<html>", 200))) as url:
        yield _Case(f"{server.url}/{quote(url, safe='')}/team/", "some-pkg", 502)


@pytest.fixture
def emptied(index: str, auth: tuple[str, str], http: requests.Session, tmp_path: Path) -> _Case:
    """A project whose only version was deleted."""
    twine_upload(tmp_path, index, make_wheel(tmp_path, "some-pkg", "1.0"), auth=auth)
    assert http.delete(f"{index}some-pkg/1.0", auth=auth).status_code == 200
    return _Case(with_credentials(index, *auth), "some-pkg", 200, files=0)


@pytest.mark.parametrize(
    "case",
    [
        "excluded",
        "without_credentials",
        "missing_without_credentials",
        "missing_for_the_anonymous",
        "denied_with_401",
        "denied_with_403",
        "down",
        "failing",
        "emptied",
    ],
)
def test_the_public_project_of_the_same_name_is_never_installed_instead(
    request: pytest.FixtureRequest,
    public: PublicIndex,
    http: requests.Session,
    tmp_path: Path,
    case: str,
) -> None:
    wanted: _Case = request.getfixturevalue(case)
    before = len(public.asked)

    for accept in _ACCEPTED:
        page = http.get(
            f"{wanted.index}{wanted.project}/", headers={"Accept": accept}, allow_redirects=False
        )
        assert page.status_code == wanted.status, page.text
        assert "Location" not in page.headers
        if wanted.files is not None and accept == _ACCEPTED[0]:
            assert len(page.json()["files"]) == wanted.files
    for client in ["pip", "uv"]:
        assert _install(tmp_path, client, wanted.index, wanted.project, succeeds=False) == {}

    assert public.asked[before:] == []
