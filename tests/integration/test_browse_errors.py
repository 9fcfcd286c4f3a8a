"""Errors as people see them in a browser, while clients still get them as text."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from werkzeug.wrappers import Response

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import answering, wsgi_server
from tests.integration.index_client import address
from tests.integration.registry_doubles import ALICE, BOB, Members
from tests.pages import BROWSER
from tests.ports import free_port

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

SIMPLE = "application/vnd.pypi.simple.v1"
CLIENTS = (f"{SIMPLE}+json, {SIMPLE}+html; q=0.1, text/html; q=0.01", "*/*")
"""The header of pip and hatch."""

Both = Callable[..., tuple[requests.Response, str]]


@pytest.fixture
def both(http: requests.Session) -> Both:
    """Return a browser's page and its text, after comparing it with the text that clients get."""

    def ask(url: str, auth: tuple[str, str] | None = None) -> tuple[requests.Response, str]:
        page = http.get(url, auth=auth, headers=BROWSER)
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["X-Request-Id"] in page.text
        for accept in CLIENTS:
            plain = http.get(url, auth=auth, headers={"Accept": accept})
            assert (plain.status_code, plain.reason) == (page.status_code, page.reason)
            assert plain.headers["Content-Type"] == "text/plain; charset=utf-8"
            assert plain.text.count("\n") == 1
        return page, page.text

    return ask


def test_missing_project(shared_app: str, both: Both) -> None:
    page, text = both(f"{shared_app}/simple/missing-project/")

    assert page.status_code == 404
    assert "no project missing-project" in text
    assert "spelling" in text


def test_missing_project_is_a_page_of_the_ui_too(shared_app: str, both: Both) -> None:
    page, text = both(f"{shared_app}/ui/simple/missing-project/")

    assert page.status_code == 404
    assert "What to do" in text


@pytest.mark.parametrize(
    ("path", "setup"),
    [
        ("/ui/embedded/a/b/+simple/hello/", "/?registry=embedded&amp;namespace=a%2Fb"),
        ("/ui/embedded/team/hello/1.0/", "/?registry=embedded&amp;namespace=team"),
        ("/embedded/team/hello/", "/?registry=embedded&amp;namespace=team"),
        *(("/ui/simple/hello/", "/"), ("/nothing", "/"), ("/ui/embedded/a b/hello/", "/")),
    ],
)
def test_way_to_the_configuration_keeps_the_index_that_the_address_names(
    app_server: AppServer, http: requests.Session, tmp_path: Path, path: str, setup: str
) -> None:
    page = http.get(f"{app_server({'PYOCI_STORAGE': str(tmp_path)})}{path}", headers=BROWSER)

    assert page.status_code in {400, 404}
    assert f'<a class="button" href="{setup}">Set up your tools</a>' in page.text


@pytest.mark.parametrize(
    ("auth", "status", "words"),
    [
        (None, 401, ["requires credentials", "user name and the token"]),
        (("alice", "wrong"), 401, ["refused these credentials"]),
        (BOB, 403, ["do not permit this", "private window"]),
    ],
)
def test_denial(
    app_server: AppServer,
    both: Both,
    tmp_path: Path,
    auth: tuple[str, str] | None,
    status: int,
    words: list[str],
) -> None:
    assert auth != ALICE
    with wsgi_server(Members(create_registry(tmp_path))) as url:
        page, text = both(f"{app_server()}/{address(url)}/team/hello/", auth)

    assert page.status_code == status
    assert ("WWW-Authenticate" in page.headers) is (status == 401)
    for one in words:
        assert one in text
    if auth is not None:
        assert auth[1] not in text


def test_registry_that_is_not_allowed(app_server: AppServer, both: Both) -> None:
    root = app_server({"PYOCI_REGISTRIES": "ghcr.io"})

    page, text = both(f"{root}/quay.io/acme/hello/")

    assert page.status_code == 403
    assert "PYOCI_REGISTRIES" in text
    assert "The administrator of this server" in text


def test_address_that_cannot_be_one(shared_app: str, both: Both) -> None:
    page, text = both(f"{shared_app}/simple/<script>alert(1)<%2Fscript>/")

    assert page.status_code in {400, 404}
    assert "<script>alert" not in text


@pytest.mark.parametrize(
    ("status", "answered", "words"),
    [
        (429, 429, "received too many requests"),
        (500, 502, "sent an invalid response"),
        (200, 502, "sent an invalid response"),
    ],
)
def test_registry_that_fails(
    app_server: AppServer, both: Both, status: int, answered: int, words: str
) -> None:
    hostile = "<html><script>alert(1)</script></html>"
    with wsgi_server(answering(Response(hostile, status, content_type="text/html"))) as url:
        page, text = both(f"{app_server()}/{address(url)}/team/hello/")

    assert page.status_code == answered
    assert words in text
    assert "<script>alert" not in text


def test_registry_that_is_down(app_server: AppServer, both: Both) -> None:
    page, text = both(f"{app_server()}/http%3A%2F%2F127.0.0.1%3A{free_port()}/team/hello/")

    assert page.status_code == 502
    assert "cannot be reached" in text


def test_page_says_first_what_to_do_then_what_happened_and_then_the_request(
    app_server: AppServer, both: Both
) -> None:
    page, text = both(f"{app_server()}/http%3A%2F%2F127.0.0.1%3A{free_port()}/team/hello/")
    order = ["<h1>", "What to do", "is running", "What happened", "no connection to", "Request ID"]

    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    assert page.reason.startswith("Check that 127.0.0.1:")


def test_registry_that_denies_everyone_is_not_said_to_know_the_caller(
    app_server: AppServer, both: Both
) -> None:
    with wsgi_server(_denies_everyone) as url:
        page, text = both(f"{app_server()}/{address(url)}/team/hello/")

    assert page.status_code == 403
    assert "accepted your credentials" not in text
    assert "it does not ask for credentials" in text


def test_registry_with_tls_that_is_called_without_it_is_written_with_https(
    app_server: AppServer, both: Both
) -> None:
    said = "Client sent an HTTP request to an HTTPS server."
    with wsgi_server(answering(Response(said, 400, content_type="text/plain"))) as url:
        _, text = both(f"{app_server()}/{address(url)}/team/hello/")

    assert f"Use TLS: write the registry as https://{url[7:]}" in text


def _denies_everyone(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    root = environ["PATH_INFO"] == "/v2/"
    return Response("{}" if root else '{"errors": [{"code": "DENIED"}]}', 200 if root else 403)(
        environ, start
    )
