"""Registries that are down, hang, fail, or send wrong content."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from werkzeug.wrappers import Response

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import Tampering, answering, closed_port, silent_server, wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.integration.oci_client import OCIClient, push_original, sha256
from tests.packages import make_wheel
from tests.registries import RunningRegistry

SHORT = (1.0, 0.5)
"""Seconds for a connection and for an answer."""

OPERATIONS = {
    "page": ("GET", "/foo/"),
    "json": ("GET", "/foo/json"),
    "file": ("GET", "/foo/foo-1.0.tar.gz"),
    "delete-file": ("DELETE", "/foo/foo-1.0.tar.gz"),
    "delete-version": ("DELETE", "/foo/1.0"),
}


@pytest.fixture(params=OPERATIONS)
def operation(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Method and path of everything that calls a registry, except uploads."""
    return OPERATIONS[request.param]


def test_a_registry_that_is_down_is_an_immediate_502_that_names_it(
    app_server: AppServer, http: requests.Session, operation: tuple[str, str]
) -> None:
    with closed_port() as url:
        # An application that waits for the connection would hang in this test.
        index = IndexClient(f"{app_server()}/{address(url)}/team", None, http)
        response = index.request(*operation)

    assert response.status_code == 502
    assert urlsplit(url).netloc in response.text


def test_an_upload_to_a_registry_that_is_down_is_a_502_that_names_it(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    with closed_port() as url:
        index = IndexClient(f"{app_server()}/{address(url)}/team", None, http)
        response = index.publish(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")

    assert response.status_code == 502
    assert urlsplit(url).netloc in response.text


def test_a_host_that_does_not_resolve_is_a_502_that_names_it(
    app_server: AppServer, http: requests.Session
) -> None:
    response = http.get(f"{app_server()}/registry.invalid/team/foo/")

    assert response.status_code == 502
    assert "registry.invalid" in response.text


def test_a_registry_that_never_answers_is_a_504_that_names_it(
    app_server: AppServer, http: requests.Session, operation: tuple[str, str]
) -> None:
    with silent_server() as url:
        app = app_server(transport_timeouts=SHORT)
        response = IndexClient(f"{app}/{address(url)}/team", None, http).request(*operation)

    assert response.status_code == 504
    assert urlsplit(url).netloc in response.text


def test_an_upload_to_a_registry_that_never_answers_is_a_504_that_names_it(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    with silent_server() as url:
        app = app_server(transport_timeouts=SHORT)
        index = IndexClient(f"{app}/{address(url)}/team", None, http)
        response = index.publish(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")

    assert response.status_code == 504
    assert urlsplit(url).netloc in response.text


def test_health_answers_while_registries_hang(
    app_server: AppServer, http: requests.Session
) -> None:
    with silent_server() as url:
        app = app_server(transport_timeouts=SHORT)
        assert http.get(f"{app}/{address(url)}/team/foo/").status_code == 504
        assert http.get(f"{app}/health").status_code == 200


@pytest.mark.parametrize(
    ("status", "body", "content_type"),
    [
        (200, "<html>welcome</html>", "text/html"),
        (200, "[]", "application/json"),
        (200, '{"tags": 7}', "application/json"),
        (200, "[" * 100_000, "application/json"),
        (500, "secret stack trace", "text/plain"),
        (418, "short and stout", "text/plain"),
    ],
)
def test_an_answer_that_makes_no_sense_is_a_502_that_names_the_registry_alone(
    app_server: AppServer, http: requests.Session, status: int, body: str, content_type: str
) -> None:
    with wsgi_server(answering(Response(body, status, content_type=content_type))) as url:
        response = http.get(f"{app_server()}/{address(url)}/team/foo/")

    assert response.status_code == 502
    assert urlsplit(url).netloc in response.text
    assert body not in response.text
    if status != 200:
        assert str(status) in response.text


def test_code_and_message_of_a_registrys_error_are_quoted(
    app_server: AppServer, http: requests.Session
) -> None:
    error = '{"errors": [{"code": "DENIED", "message": "ask the owner", "detail": "inner secret"}]}'
    with wsgi_server(answering(Response(error, 403, content_type="application/json"))) as url:
        index = IndexClient(f"{app_server()}/{address(url)}/team", ("alice", "pass"), http)
        response = index.get("/foo/")

    assert response.status_code == 403
    assert "ask the owner" in response.text
    assert "inner secret" not in response.text


def test_a_rate_limit_is_passed_on_with_its_retry_after(
    app_server: AppServer, http: requests.Session
) -> None:
    limit = Response("slow down", 429, {"Retry-After": "3600"})
    with wsgi_server(answering(limit)) as url:
        response = http.get(f"{app_server()}/{address(url)}/team/foo/")

    assert response.status_code == 429
    assert response.headers["Retry-After"] == "3600"


TAMPERED: dict[str, Callable[[bytes], bytes]] = {
    "short": lambda body: body[: len(body) // 2],
    "last-byte-missing": lambda body: body[:-1],
    "empty": lambda _: b"",
    "first-byte-changed": lambda body: bytes([body[0] ^ 1]) + body[1:],
    "last-byte-changed": lambda body: body[:-1] + bytes([body[-1] ^ 1]),
}


@pytest.mark.parametrize("size", [0, 1_500_000], ids=["small", "large"])
@pytest.mark.parametrize("digest_annotation", [True, False], ids=["digest", "no-digest"])
@pytest.mark.parametrize("kind", TAMPERED)
def test_a_blob_that_is_not_what_was_published_never_arrives_as_a_whole(
    shared_app: str,
    http: requests.Session,
    tmp_path: Path,
    kind: str,
    size: int,
    *,
    digest_annotation: bool,
) -> None:
    content = make_wheel(tmp_path, "foo", "1.0", size=size).read_bytes()
    registry = create_registry(tmp_path / "registry")
    tampering = Tampering(registry, f"sha256:{sha256(content)}", TAMPERED[kind])
    with wsgi_server(registry) as honest_url, wsgi_server(tampering) as url:
        honest = RunningRegistry(
            honest_url, urlsplit(honest_url).netloc, None, None, True, "honest"
        )
        push_original(
            OCIClient(honest, "team/foo", http),
            "1.0",
            {"py3-none-any.whl": content},
            digest_annotation=digest_annotation,
        )
        path = "team/foo/foo-1.0-py3-none-any.whl"
        assert http.get(f"{shared_app}/{address(honest_url)}/{path}").content == content

        with http.get(f"{shared_app}/{address(url)}/{path}", stream=True) as response:
            if response.status_code == 200:
                assert response.headers["Content-Length"] == str(len(content))
                with pytest.raises(
                    (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)
                ):
                    _ = response.content
            else:
                # The error was noticed before the first byte went to the client.
                assert response.status_code >= 500
                assert content[:1000] not in response.content
