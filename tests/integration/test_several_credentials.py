"""Users with different rights on one worker at the same time: each gets only what they may read."""

import base64
import json
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import bcrypt
import pytest
import requests
from werkzeug.wrappers import Request, Response

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.integration.registry_doubles import challenge, error
from tests.packages import make_wheel
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

WRITER, READER = ("writer", "writer-secret"), ("reader", "reader-secret")
DENIED, UNKNOWN = ("denied", "denied-secret"), ("unknown", "unknown-secret")
ROUNDS = 6


@dataclass(slots=True)
class TokenRegistry:
    """Bearer tokens, each for one user; WRITER and READER can read, DENIED has no rights."""

    app: "WSGIApplication"
    issued: list[str] = field(default_factory=list)

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        if request.path == "/token":
            return self._token(request)(environ, start)
        user = request.headers.get("Authorization", "").removeprefix("Bearer token-of-")
        if not request.headers.get("Authorization", "").startswith("Bearer token-of-"):
            return challenge(f'Bearer realm="{request.host_url}token",service="s"')(environ, start)
        writes = request.method not in {"GET", "HEAD"}
        if user == "writer" or (user == "reader" and not writes):
            return self.app(environ, start)
        return error(403)(environ, start)

    def _token(self, request: Request) -> Response:
        sent = request.authorization
        user = "anonymous"
        if sent is not None:
            pair = (sent.username, sent.password)
            if pair not in {WRITER, READER, DENIED}:
                return error(401)
            user = str(sent.username)
        self.issued.append(user)
        body = json.dumps({"token": f"token-of-{user}", "expires_in": 300})
        return Response(body, content_type="application/json")


@pytest.fixture
def token_registry(tmp_path: Path) -> Iterator[str]:
    with wsgi_server(TokenRegistry(create_registry(tmp_path / "tokens"))) as url:
        yield address(url)


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """The users file of the embedded registry: a writer and a reader."""
    file = tmp_path / "users"
    lines = [
        f"{name}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}:{role}\n"
        for (name, password), role in ((WRITER, "write"), (READER, "read"))
    ]
    file.write_text("".join(lines))
    return file


@pytest.fixture(params=["embedded", "tokens"])
def base(
    request: pytest.FixtureRequest,
    app_server: AppServer,
    users: Path,
    tmp_path: Path,
    token_registry: str,
) -> str:
    """An index for either registry."""
    environ = {"PYOCI_STORAGE": str(tmp_path / "storage"), "PYOCI_STORAGE_USERS": str(users)}
    app = app_server(environ)
    registry = "embedded" if request.param == "embedded" else token_registry
    return f"{app}/{registry}/team"


def _client(base: str, auth: tuple[str, str] | None) -> IndexClient:
    session = requests.Session()
    session.trust_env = False
    return IndexClient(base, auth, session)


def _in_threads(tasks: "list[Iterator[str]]") -> list[str]:
    """Run generators in parallel, all started together; return what each reported."""
    ready = threading.Barrier(len(tasks))

    def run(task: "Iterator[str]") -> list[str]:
        ready.wait(PATIENCE)
        return list(task)

    with ThreadPoolExecutor(len(tasks)) as pool:
        return [fault for faults in pool.map(run, tasks) for fault in faults]


def _reads(
    base: str, auth: tuple[str, str] | None, statuses: set[int], secret: str
) -> Iterator[str]:
    """Ask for everything; yield what should not have been answered like this."""
    client = _client(base, auth)
    with client.session:
        for _ in range(ROUNDS):
            for path in (
                "/foo/",
                "/foo/foo-1.0-py3-none-any.whl",
                "/foo/foo-1.0-py3-none-any.whl.metadata",
                "/foo/json",
                "/foo/foo-9.0-py3-none-any.whl",
            ):
                response = client.get(path)
                expected = {404} if 200 in statuses and "9.0" in path else statuses
                if response.status_code not in expected:
                    yield f"{auth} {path}: {response.status_code}"
                if 200 not in statuses and secret in response.text:
                    yield f"{auth} {path}: holds {secret}"


def _writes(
    base: str, auth: tuple[str, str] | None, wheel: Path, refused: set[int]
) -> Iterator[str]:
    client = _client(base, auth)
    with client.session:
        for _ in range(ROUNDS):
            responses = [
                client.publish(wheel, "foo", "2.0"),
                client.request("DELETE", "/foo/1.0"),
                client.request("PATCH", "/foo/1.0", json={"yanked": True}),
            ]
            for response in responses:
                if response.status_code not in refused:
                    yield f"{auth} {response.request.method}: {response.status_code}"


def test_interleaved_users_get_what_is_theirs_and_nothing_else(base: str, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "foo", "1.0", summary="top-secret-summary")
    second = make_wheel(tmp_path, "foo", "2.0")
    with requests.Session() as http:
        http.trust_env = False
        IndexClient(base, WRITER, http).published(wheel, "foo", "1.0")
    secret = "top-secret-summary"
    refused = {401, 403}
    faults = _in_threads(
        [
            _reads(base, WRITER, {200}, secret),
            _reads(base, READER, {200}, secret),
            _reads(base, DENIED, refused, secret),
            _reads(base, UNKNOWN, {401}, secret),
            _reads(base, None, {401, 403}, secret),
            _writes(base, READER, second, {401, 403}),
            _writes(base, DENIED, second, {401, 403}),
            _writes(base, None, second, {401, 403}),
        ]
    )
    assert faults == []
    with requests.Session() as http:
        http.trust_env = False
        index = IndexClient(base, READER, http)
        assert index.filenames("foo") == [wheel.name]
        assert "yanked" not in index.get("/foo/").text


def test_who_is_denied_gets_no_metadata_that_the_server_has_read_for_another(
    base: str, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "foo", "1.0", summary="top-secret-summary")
    with requests.Session() as http:
        http.trust_env = False
        writer = IndexClient(base, WRITER, http)
        writer.published(wheel, "foo", "1.0")
        for auth in (DENIED, UNKNOWN, None):
            assert "top-secret" in writer.get(f"/foo/{wheel.name}.metadata").text
            refused = IndexClient(base, auth, http).get(f"/foo/{wheel.name}.metadata")
            assert refused.status_code in {401, 403}
            assert "top-secret" not in refused.text


def test_answer_that_a_user_may_keep_is_not_one_for_another(base: str, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "foo", "1.0")
    with requests.Session() as http:
        http.trust_env = False
        writer = IndexClient(base, WRITER, http)
        writer.published(wheel, "foo", "1.0")
        for path in ("/foo/", f"/foo/{wheel.name}", f"/foo/{wheel.name}.metadata", "/foo/json"):
            whole = writer.get(path)
            assert "private" in whole.headers["Cache-Control"], path
            assert "Authorization" in whole.headers["Vary"], path
            # The ETag of a response proves nothing: a denied user does not learn that it is still
            # valid.
            for auth in (DENIED, None):
                known = IndexClient(base, auth, http).get(
                    path, headers={"If-None-Match": whole.headers["ETag"]}
                )
                assert known.status_code in {401, 403}, path


def test_each_user_has_a_token_of_its_own(app_server: AppServer, tmp_path: Path) -> None:
    registry = TokenRegistry(create_registry(tmp_path / "registry"))
    with wsgi_server(registry) as url:
        base = f"{app_server()}/{address(url)}/team"
        wheel = make_wheel(tmp_path, "foo", "1.0")
        with requests.Session() as http:
            http.trust_env = False
            IndexClient(base, WRITER, http).published(wheel, "foo", "1.0")
            registry.issued.clear()
            statuses = [
                [IndexClient(base, auth, http).get("/foo/").status_code for _ in range(5)]
                for auth in (DENIED, READER, None, WRITER)
            ]
    assert statuses == [[403] * 5, [200] * 5, [401] * 5, [200] * 5]
    # One for all calls of a user; WRITER may have one from publishing.
    assert {"denied", "reader", "anonymous"} <= set(registry.issued)
    assert registry.issued.count("reader") == 1
    assert registry.issued.count("writer") <= 1


def test_wrong_password_of_a_known_user_gets_nothing_of_that_user(
    base: str, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "foo", "1.0")
    with requests.Session() as http:
        http.trust_env = False
        IndexClient(base, WRITER, http).published(wheel, "foo", "1.0")
        for password in ("", "writer-secre", "writer-secrett", "WRITER-SECRET"):
            refused = IndexClient(base, (WRITER[0], password), http).get("/foo/")
            assert refused.status_code in {401, 403}, password
            assert IndexClient(base, WRITER, http).filenames("foo") == [wheel.name]


def test_cookie_of_one_users_answer_is_not_sent_for_another(
    app_server: AppServer, tmp_path: Path
) -> None:
    registry = create_registry(tmp_path / "registry")
    cookies: list[str | None] = []

    def setting_cookies(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        cookies.append(request.headers.get("Cookie"))
        if request.authorization is None:
            return challenge('Basic realm="x"')(environ, start)
        response = Response.from_app(registry, environ, buffered=True)
        user = base64.b64encode(str(request.authorization.username).encode()).decode()
        response.headers.add("Set-Cookie", f"session={user}; Path=/")
        return response(environ, start)

    with wsgi_server(setting_cookies) as url, requests.Session() as http:
        http.trust_env = False
        base = f"{app_server()}/{address(url)}/team"
        wheel = make_wheel(tmp_path, "foo", "1.0")
        IndexClient(base, WRITER, http).published(wheel, "foo", "1.0")
        for auth in (READER, WRITER, None):
            answer = IndexClient(base, auth, http).get("/foo/")
            assert "Set-Cookie" not in answer.headers
    assert set(cookies) == {None}
