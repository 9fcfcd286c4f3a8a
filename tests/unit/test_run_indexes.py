"""What clients may do with the indexes of a run, with the real application and a real registry."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyoci_flask.app import create_app
from pyoci_flask.cli.run.allowed import Allowed
from pyoci_flask.cli.run.failures import Failures
from pyoci_flask.cli.run.front import Front
from pyoci_flask.cli.run.indexes import Indexes
from pyoci_flask.cli.run.logins import Logins
from pyoci_flask.registry import create_registry
from pyoci_flask.settings import PinnedIndex, Settings
from pyoci_flask.settings.origins import OriginPattern
from pyoci_flask.transport.request import BasicCredentials
from tests.doubles import wsgi_server
from tests.registries import write_htpasswd
from tests.run_server import LOGIN, PROXY_LOGIN, SECRET, ask, run_server
from tests.run_server import status_of as status

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HOST = "http://run.pyoci.invalid"
PASSWORD = "password-for-the-registry"
OWN = ("Authorization", LOGIN)


@dataclass
class _Seen:
    """Passes requests on to the registry, and keeps their headers."""

    app: "WSGIApplication"
    calls: list[tuple[str, str]] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        self.calls.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        self.headers += [f"{key}: {environ[key]}" for key in environ if key.startswith("HTTP_")]
        return self.app(environ, start_response)


@dataclass(frozen=True)
class _Run:
    port: int
    place: str
    """The path of the index, without a slash at its end."""
    registry: _Seen
    failures: Failures

    def get(self, path: str, *headers: tuple[str, str], method: str = "GET") -> bytes:
        return ask(self.port, method, f"{HOST}{path}", PROXY_LOGIN, *headers)


@contextlib.contextmanager
def _run(
    folder: Path,
    namespace: str = "acme",
    *,
    publish: bool = False,
    login: tuple[str, str] = ("alice", PASSWORD),
    fallback: Callable[[PinnedIndex], str | None] = lambda _: "http://next.example/simple",
) -> Iterator[_Run]:
    users = folder / "htpasswd"
    write_htpasswd(users, [("alice", PASSWORD)])
    registry = _Seen(create_registry(folder / "storage", users))
    with wsgi_server(registry) as url:
        index = PinnedIndex.parse(f"{url}/{namespace}")
        settings = dataclasses.replace(
            Settings(), registries=(OriginPattern.of(index.registry),), spool=folder
        )
        failures = Failures()
        served = Indexes(
            create_app(settings, one_user=True),
            Allowed(settings, [index], publish=publish),
            fallback,
            Logins(BasicCredentials(*login), index.registry, None),
            failures,
        )

        def forward(*_: object) -> Iterable[bytes]:
            raise AssertionError("nothing is forwarded here")

        with run_server(Front(SECRET, served, forward)) as port:
            place = f"/{url.replace('://', '%3A%2F%2F').replace(':1', '%3A1')}/{namespace}"
            yield _Run(port, place, registry, failures)


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Run]:
    with _run(tmp_path_factory.mktemp("reading")) as run:
        yield run


def _text(answer: bytes) -> str:
    return answer.partition(b"\r\n\r\n")[2].decode()


def test_a_project_that_is_missing_is_missing(reading: _Run) -> None:
    answer = reading.get(f"{reading.place}/foo/")
    assert status(answer) == 404
    assert reading.failures.lines() == []


def test_with_the_fallback_a_missing_project_is_looked_up_elsewhere(reading: _Run) -> None:
    answer = reading.get(f"{reading.place}/+simple/foo/")
    assert status(answer) == 302
    assert b"\r\nLocation: http://next.example/simple/foo/\r\n" in answer


def test_a_publish_address_has_no_fallback(reading: _Run) -> None:
    assert status(ask(reading.port, "GET", f"{reading.place}/+simple/foo/", OWN)) == 404


@pytest.mark.parametrize("at", [HOST, ""])
@pytest.mark.parametrize("below", ["/", "/foo/1.0", "/foo/foo-1.0.tar.gz", "/+simple/foo/"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "MOVE"])
def test_a_run_that_reads_changes_nothing(reading: _Run, at: str, below: str, method: str) -> None:
    before = len(reading.registry.calls)
    login = PROXY_LOGIN if at else OWN
    answer = ask(reading.port, method, f"{at}{reading.place}{below}", login)
    assert status(answer) == 403
    assert ("--publish" if method == "POST" else f"{method} is not allowed") in _text(answer)
    assert len(reading.registry.calls) == before


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_a_run_that_publishes_changes_and_deletes_nothing(tmp_path: Path, method: str) -> None:
    with _run(tmp_path, publish=True) as run:
        for below in ("", "foo/1.0", "foo/foo-1.0.tar.gz", "foo/1.0?blobs=delete"):
            assert status(ask(run.port, method, f"{run.place}/{below}", OWN)) == 403
        for other in ("/v2/acme/foo/blobs/uploads/", "/ghcr.io/acme/", f"{run.place}2/"):
            answer = ask(run.port, "POST", other, OWN, ("Content-Length", "0"))
            assert status(answer) == 403
        assert run.registry.calls == []
        # This one reaches the form, which it lacks.
        form = ask(run.port, "POST", f"{run.place}/", OWN, ("Content-Length", "0"))
        assert status(form) == 400


ELSEWHERE = [
    *("/", "//", "/health", "/metrics", "/robots.txt", "/style.css", "/favicon.svg", "/v2/"),
    *("/v2/_catalog", "/simple/", "/simple/foo/", "/pypi/foo/json", "/ui", "/ui/", "/ui{place}/"),
    *("/ui{place}/foo/", "/embedded/acme/foo/", "/embedded/acme/", "/setup", "/?registry=x"),
    *("/ghcr.io/acme/foo/", "/ghcr.io/acme/", "/other.example/acme/", "{place}2/foo/", "{place}2/"),
    *("{registry}/other/foo/", "{registry}/acme/team/foo/", "{registry}/", "{registry}"),
    *("{registry}/other/foo/foo-1.0.tar.gz", "{registry}/other/foo/json", "{registry}/other/"),
    *("{place}/team/foo/foo-1.0.tar.gz", "{place}/team/+simple/foo/"),
    *("{registry}/other/+simple/foo/", "{registry}/other/+simple/acme/", "{registry}//other/foo/"),
    *("{registry}/+simple/acme/foo/", "{registry}/oth%65r/foo/"),
    *("//ghcr.io/acme/foo/", "///v2/", "/./v2/", "/http:/ghcr.io/acme/foo/"),
    *("/http%3A%2F%2F127.0.0.1%3A1/acme/foo/", "/https{registry_rest}/acme/foo/"),
]
"""Paths of other indexes, and of other parts of a server."""
UNUSABLE = [
    *("{place}/../other/foo/", "{place}/%2e%2e/other/foo/", "{place}/%2e%2e%2fother/foo/"),
    *("{registry}%2fother/foo/", "{registry}%2Facme%2F/foo/", "{place}%2Fteam/foo/"),
    *("{place}/..%2f..%2fother/foo/", "{registry}/other%2f..%2facme/foo/", "{place}/foo/%2e%2e/x"),
    *("{registry}/other/../acme/foo/", "{place}/foo@bar/", "/user:pw@ghcr.io/acme/foo/"),
    *("{place}/%00/", "{place}/foo%0d%0aX:%20y/", "{place}/%ff/", "{place};x/foo/"),
    "{registry}/other;acme/foo/",
    *(r"{place}\..\other/foo/", "{place}/fo o/", "/http://acme/x/y/", "/http%3A%2F%2F/acme/foo/"),
]
"""Paths that name no index."""


@pytest.mark.parametrize("target", [*ELSEWHERE, *UNUSABLE])
@pytest.mark.parametrize("at", [HOST, ""])
@pytest.mark.parametrize("accept", ["*/*", "text/html"])
def test_nothing_else_is_served_and_the_registry_is_not_asked(
    reading: _Run, at: str, target: str, accept: str
) -> None:
    registry = reading.place.removesuffix("/acme")
    target = target.format(
        place=reading.place, registry=registry, registry_rest=registry.removeprefix("/http")
    )
    before = len(reading.registry.calls)
    login = PROXY_LOGIN if at else OWN
    answer = ask(reading.port, "GET", f"{at}{target}", login, ("Accept", accept))
    assert status(answer) in {400, 403, 404}
    assert len(reading.registry.calls) == before
    assert b"<html" not in answer or b"Error response" in answer
    assert b"PYOCI_" not in answer
    assert PASSWORD.encode() not in answer


@pytest.mark.parametrize("target", ELSEWHERE)
def test_the_answer_to_another_index_says_what_is_served(reading: _Run, target: str) -> None:
    registry = reading.place.removesuffix("/acme")
    target = target.format(
        place=reading.place, registry=registry, registry_rest=registry.removeprefix("/http")
    )
    answer = reading.get(target)
    assert status(answer) == 403
    assert _text(answer).startswith("this run serves only http://127.0.0.1:")


@pytest.mark.parametrize(
    "spelling",
    [
        "{place}//foo/",
        "/{place}/foo/",
        "{registry}//acme/foo/",
        "{registry}/ACME/foo/",
        "{registry}/%61cme/foo/",
        "{place}/Foo/",
        "{place}/%2Bsimple/foo/",
    ],
)
def test_other_spellings_of_the_index_are_the_index(reading: _Run, spelling: str) -> None:
    registry = reading.place.removesuffix("/acme")
    answer = reading.get(spelling.format(place=reading.place, registry=registry))
    assert status(answer) in {302, 404}
    assert {path.split("/")[2] for _, path in reading.registry.calls} <= {"acme", ""}


def test_of_the_namespaces_below_another_only_the_named_one_is_served(tmp_path: Path) -> None:
    with _run(tmp_path, "acme/team") as run:
        above = run.place.removesuffix("/team")
        assert status(run.get(f"{run.place}/foo/")) == 404
        for other in (f"{above}/foo/", f"{above}/", f"{above}/teams/foo/", f"{run.place}/x/foo/"):
            answer = run.get(other)
            assert status(answer) == 403, other


def test_headers_of_the_client_do_not_reach_the_registry(reading: _Run) -> None:
    sent = [
        ("Authorization", "Basic bWFya2Vy"),
        ("Cookie", "marker"),
        ("X-Forwarded-For", "marker"),
        ("X-Forwarded-Host", "marker.example"),
        ("X-Forwarded-Prefix", "/marker"),
        ("Forwarded", "host=marker.example"),
        ("X-Marker", "marker"),
        ("Referer", "http://marker.example/"),
    ]
    answer = reading.get(f"{reading.place}/sent/", *sent)
    assert status(answer) == 404
    assert b"marker" not in answer
    assert reading.registry.headers
    text = "\n".join(reading.registry.headers)
    for secret in ("marker", "bWFya2Vy", SECRET, LOGIN):
        assert secret not in text


def test_a_denied_login_is_reported_once_and_clients_do_not_ask_for_a_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "pyoci")
    with _run(tmp_path, login=("alice", "wrong-password")) as run:
        for _ in range(3):
            answer = run.get(f"{run.place}/foo/")
            assert status(answer) == 403
            assert b"WWW-Authenticate" not in answer
        (line,) = run.failures.lines()
    assert "PYOCI_USERNAME and PYOCI_PASSWORD" in line
    assert "wrong-password" not in answer.decode() + line + caplog.text
