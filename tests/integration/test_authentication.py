"""Credentials on their way to the registry, and the result if they are wrong."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from werkzeug.datastructures import WWWAuthenticate

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import Recorder, TokenGate, wsgi_server
from tests.integration.index_client import IndexClient, address, basic
from tests.packages import make_wheel
from tests.registries import RunningRegistry, write_htpasswd, zuul_registry

TOKEN = "the.bearer-token"
GUARDED = ("docker_htpasswd", "zuul", "embedded_socket")


@pytest.fixture(params=GUARDED)
def guarded(request: pytest.FixtureRequest) -> RunningRegistry:
    """Each registry that asks for credentials."""
    running: RunningRegistry = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def owner(
    shared_app: str,
    guarded: RunningRegistry,
    namespace: str,
    http: requests.Session,
    tmp_path: Path,
) -> IndexClient:
    """A client with correct credentials; one file is published."""
    client = IndexClient(f"{shared_app}/{guarded.address}/{namespace}", guarded.auth, http)
    client.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    return client


def _challenges_with_basic(response: requests.Response) -> bool:
    header = WWWAuthenticate.from_header(response.headers.get("WWW-Authenticate"))
    return header is not None and (header.type, header.get("realm")) == ("basic", "PyOCI")


PATHS = ("/my-pkg/", "/my-pkg/json", "/my-pkg/my_pkg-1.0-py3-none-any.whl")


@pytest.mark.parametrize("path", PATHS)
def test_without_credentials_the_client_is_asked_for_them(owner: IndexClient, path: str) -> None:
    response = owner.get(path, auth=None)

    assert response.status_code == 401
    assert _challenges_with_basic(response)
    assert "my_pkg-1.0" not in response.text


@pytest.mark.parametrize("path", PATHS)
def test_a_wrong_password_is_a_401_that_asks_again(owner: IndexClient, path: str) -> None:
    assert owner.auth
    response = owner.get(path, auth=(owner.auth[0], "wrong"))

    assert response.status_code == 401
    assert _challenges_with_basic(response)
    assert "wrong" not in response.text


@pytest.mark.parametrize("auth", [None, ("writer", "wrong")], ids=["none", "wrong"])
def test_uploads_and_deletes_without_the_right_credentials_change_nothing(
    owner: IndexClient, tmp_path: Path, auth: tuple[str, str] | None
) -> None:
    intruder = IndexClient(owner.base, auth, owner.session)

    upload = intruder.publish(make_wheel(tmp_path, "my_pkg", "2.0"), "my-pkg", "2.0")
    delete_file = intruder.request("DELETE", "/my-pkg/my_pkg-1.0-py3-none-any.whl")
    delete_version = intruder.request("DELETE", "/my-pkg/1.0")

    for response in (upload, delete_file, delete_version):
        assert response.status_code == 401
        assert _challenges_with_basic(response)
    assert owner.filenames("my-pkg") == ["my_pkg-1.0-py3-none-any.whl"]


def test_one_callers_credentials_do_not_serve_the_next(owner: IndexClient) -> None:
    assert owner.get("/my-pkg/").status_code == 200
    assert owner.get("/my-pkg/", auth=None).status_code == 401
    assert owner.get("/my-pkg/", auth=("mallory", "guess")).status_code == 401
    assert owner.get("/my-pkg/").status_code == 200


def test_credentials_that_make_no_sense_are_denied(owner: IndexClient) -> None:
    for header in ("Basic !!!", "Basic", "Bearer", "Digest username=x", "Basic bm9jb2xvbg=="):
        response = owner.get("/my-pkg/", auth=None, headers={"Authorization": header})
        assert response.status_code in {400, 401}, header


def test_an_anonymous_token_is_tried_before_asking_for_credentials(
    shared_app: str, namespace: str, http: requests.Session, tmp_path: Path
) -> None:
    with zuul_registry(tmp_path, anonymous_read=True) as public:
        base = f"{shared_app}/{public.address}/{namespace}"
        writer = IndexClient(base, public.auth, http)
        anonymous = IndexClient(base, None, http)
        wheel = writer.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

        assert anonymous.filenames("my-pkg") == [wheel.name]
        assert anonymous.get(f"/my-pkg/{wheel.name}").content == wheel.read_bytes()
        refused = anonymous.publish(make_wheel(tmp_path, "my_pkg", "2.0"), "my-pkg", "2.0")
        assert refused.status_code == 401
        assert _challenges_with_basic(refused)


def test_an_unknown_project_is_missing_or_empty_as_the_registry_tells(
    index: IndexClient, registry: RunningRegistry
) -> None:
    response = index.get("/unknown-project/")

    if registry.kind == "zuul-registry":
        # zuul-registry lists unknown names as existing and empty.
        assert response.status_code == 200
        assert index.filenames("unknown-project") == []
    else:
        assert response.status_code == 404
        assert "unknown" in response.text


def test_an_unknown_file_is_missing(index: IndexClient, tmp_path: Path) -> None:
    index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    for filename in (
        "my_pkg-2.0-py3-none-any.whl",
        "my_pkg-1.0-cp311-cp311-linux_x86_64.whl",
        "my_pkg-1.0.tar.gz",
    ):
        assert index.get(f"/my-pkg/{filename}").status_code == 404
        assert index.request("HEAD", f"/my-pkg/{filename}").status_code == 404
        assert index.request("DELETE", f"/my-pkg/{filename}").status_code == 404


@pytest.fixture
def gate(tmp_path: Path) -> Recorder:
    """A registry that accepts one Bearer token, and records the requests."""
    return Recorder(TokenGate(create_registry(tmp_path / "gate"), TOKEN))


@pytest.fixture
def gate_url(gate: Recorder) -> Iterator[str]:
    with wsgi_server(gate) as url:
        yield url


def _publish_and_list(base: str, http: requests.Session, wheel: Path, header: str) -> None:
    http.headers["Authorization"] = header
    client = IndexClient(base, None, http)
    client.published(wheel, "my-pkg", "1.0")
    assert client.filenames("my-pkg") == [wheel.name]
    assert client.get(f"/my-pkg/{wheel.name}").content == wheel.read_bytes()


def test_a_bearer_token_is_passed_on_as_it_is(
    app_server: AppServer, gate: Recorder, gate_url: str, http: requests.Session, tmp_path: Path
) -> None:
    base = f"{app_server()}/{address(gate_url)}/team"

    _publish_and_list(base, http, make_wheel(tmp_path, "my_pkg", "1.0"), f"Bearer {TOKEN}")

    assert {call.authorization for call in gate.calls} <= {None, f"Bearer {TOKEN}"}
    assert "/token" not in {call.path for call in gate.calls}


def test_the_bearer_username_makes_its_password_the_token(
    app_server: AppServer, gate: Recorder, gate_url: str, http: requests.Session, tmp_path: Path
) -> None:
    base = f"{app_server({'PYOCI_BEARER_USERNAME': '__token__'})}/{address(gate_url)}/team"

    _publish_and_list(base, http, make_wheel(tmp_path, "my_pkg", "1.0"), basic("__token__", TOKEN))

    assert {call.authorization for call in gate.calls} <= {None, f"Bearer {TOKEN}"}
    assert "/token" not in {call.path for call in gate.calls}


def test_other_user_names_still_use_basic_with_a_bearer_username(
    app_server: AppServer, gate: Recorder, gate_url: str, http: requests.Session
) -> None:
    base = f"{app_server({'PYOCI_BEARER_USERNAME': '__token__'})}/{address(gate_url)}/team"

    response = IndexClient(base, ("alice", TOKEN), http).get("/my-pkg/")

    assert response.status_code == 401
    assert basic("alice", TOKEN) in {c.authorization for c in gate.calls if c.path == "/token"}
    assert f"Bearer {TOKEN}" not in {call.authorization for call in gate.calls}


def test_a_bearer_token_that_the_registry_refuses_is_a_401(
    app_server: AppServer, gate_url: str, http: requests.Session
) -> None:
    base = f"{app_server()}/{address(gate_url)}/team"

    response = http.get(f"{base}/my-pkg/", headers={"Authorization": "Bearer stale"})

    assert response.status_code == 401
    assert "stale" not in response.text


def test_the_users_file_of_the_embedded_registry_guards_the_pinned_index(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    users = tmp_path / "htpasswd"
    write_htpasswd(users, [("alice", "right")])
    environ = {"PYOCI_STORAGE": str(tmp_path / "storage"), "PYOCI_STORAGE_USERS": str(users)}
    base = f"{app_server(environ)}/simple"
    alice = IndexClient(base, ("alice", "right"), http)
    wheel = alice.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    assert alice.filenames("my-pkg") == [wheel.name]
    for auth in (None, ("alice", "wrong"), ("bob", "right")):
        denied = alice.get("/my-pkg/", auth=auth)
        assert denied.status_code == 401
        assert _challenges_with_basic(denied)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_a_name_and_password_beyond_ascii_arrive_however_a_client_encodes_them(
    app_server: AppServer, http: requests.Session, tmp_path: Path, encoding: str
) -> None:
    """pip and twine encode them in Latin-1, curl and uv in UTF-8; registries get UTF-8."""
    users = tmp_path / "htpasswd"
    write_htpasswd(users, [("jörg", "pässword")])
    app = app_server({"PYOCI_STORAGE": str(tmp_path / "s"), "PYOCI_STORAGE_USERS": str(users)})
    pair = base64.b64encode("jörg:pässword".encode(encoding)).decode()

    answer = http.get(f"{app}/simple/", headers={"Authorization": f"Basic {pair}"})

    assert answer.status_code == 200
