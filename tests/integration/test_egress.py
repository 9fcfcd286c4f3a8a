"""Where the application may connect to, and which pages may make it change something."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from werkzeug.wrappers import Response

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import Recorder, answering, tripwire, wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.packages import make_wheel


@pytest.fixture
def calls(tmp_path: Path) -> Recorder:
    """The embedded registry, which remembers what it was asked."""
    return Recorder(create_registry(tmp_path / "registry"))


@pytest.fixture
def registry_url(calls: Recorder) -> Iterator[str]:
    with wsgi_server(calls) as url:
        yield url


def test_a_registry_that_is_not_on_the_list_is_refused_by_the_settings_name(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    other = tripwire()
    with wsgi_server(other) as url:
        app = app_server({"PYOCI_REGISTRIES": "ghcr.io, *.azurecr.io"})
        index = IndexClient(f"{app}/{address(url)}/team", None, http)
        responses = [
            index.get("/foo/"),
            index.get("/foo/foo-1.0.tar.gz"),
            index.publish(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0"),
            index.request("DELETE", "/foo/1.0"),
        ]

    for response in responses:
        assert response.status_code == 403
        assert "PYOCI_REGISTRIES" in response.text
    assert other.calls == []


@pytest.mark.parametrize(
    "pattern", ["http://127.0.0.1:{port}", "http://127.0.0.1:*", "x.example, http://127.*:*"]
)
def test_a_registry_that_a_pattern_names_is_allowed(
    app_server: AppServer, registry_url: str, http: requests.Session, tmp_path: Path, pattern: str
) -> None:
    listed = pattern.format(port=urlsplit(registry_url).port)
    app = app_server({"PYOCI_REGISTRIES": listed})
    index = IndexClient(f"{app}/{address(registry_url)}/team", None, http)

    wheel = index.published(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")

    assert index.filenames("foo") == [wheel.name]


@pytest.mark.parametrize("pattern", ["127.0.0.1:{port}", "127.*:*", "*", "http://127.0.0.1"])
def test_an_entry_for_another_origin_of_the_host_does_not_allow_it(
    app_server: AppServer, http: requests.Session, pattern: str
) -> None:
    other = tripwire()
    with wsgi_server(other) as url:
        app = app_server({"PYOCI_REGISTRIES": pattern.format(port=urlsplit(url).port)})
        response = http.get(f"{app}/{address(url)}/team/foo/")

    assert response.status_code == 403
    assert "PYOCI_REGISTRIES" in response.text
    assert other.calls == []


def _everything(app: str, base: str, http: requests.Session) -> list[requests.Response]:
    """Return every kind of request, for the project `foo` of an index."""
    index = IndexClient(f"{app}/{base}", ("alice", "secret"), http)
    upload = {":action": "file_upload", "name": "foo", "version": "1.0"}
    return [
        index.get("/+simple/"),
        index.get("/+simple/foo/"),
        index.get("/foo/"),
        index.get("/foo"),
        index.get("/foo/json"),
        index.get("/foo/foo-1.0-py3-none-any.whl"),
        index.get("/foo/foo-1.0-py3-none-any.whl.metadata"),
        *(index.request(method, "/foo/") for method in ("HEAD", "OPTIONS")),
        *(index.request(method, "/foo/1.0") for method in ("DELETE", "PATCH")),
        index.request("POST", "/", data=upload, files={"content": ("foo-1.0.tar.gz", b"x")}),
        http.get(f"{app}/ui/{base}/+simple/"),
        http.get(f"{app}/ui/{base}/foo/"),
        http.get(f"{app}/ui/{base}/foo/1.0/"),
    ]


def test_a_pinned_index_allows_its_own_origin_and_namespace_alone(
    app_server: AppServer, registry_url: str, calls: Recorder, http: requests.Session
) -> None:
    other, port = tripwire(), urlsplit(registry_url).port
    with wsgi_server(other) as other_url:
        app = app_server({"PYOCI_INDEX": f"{registry_url}/team"})
        refused = [
            answer
            for base in (
                f"{address(registry_url)}/elsewhere",
                f"{address(registry_url)}/team/sub",
                f"127.0.0.1:{port}/team",
                f"{address(other_url)}/team",
                "ghcr.io/team",
                "no-such-host.invalid/team",
            )
            for answer in _everything(app, base, http)
        ]
        snippets = http.get(f"{app}/?registry=ghcr.io&namespace=team", headers={"Accept": "*/*"})

    assert {answer.status_code for answer in refused} == {403}
    texts = [answer.text for answer in refused if answer.request.method != "HEAD"]
    assert [text for text in texts if "PYOCI_INDEX" not in text] == []
    assert "PYOCI_INDEX" in snippets.text
    assert calls.calls == other.calls == []
    for base in ("simple", f"{address(registry_url)}/team"):
        assert http.get(f"{app}/{base}/foo/").status_code == 404
    assert len(calls.calls) == 2


@pytest.mark.parametrize(
    "registry",
    [
        "http%3A%2F%2F169.254.169.254",
        "169.254.169.254",
        "http%3A%2F%2F169.254.170.2",
        "http%3A%2F%2F%5Bfe80%3A%3A1%5D",
        "http%3A%2F%2F%5B%3A%3Affff%3A169.254.169.254%5D",
        "http%3A%2F%2F%5Bfd00%3Aec2%3A%3A254%5D",
        "http%3A%2F%2F100.100.100.200",
        "http%3A%2F%2F0.0.0.0",
        "http%3A%2F%2F224.0.0.1",
    ],
)
def test_addresses_that_no_registry_has_are_refused_without_connecting(
    app_server: AppServer, http: requests.Session, registry: str
) -> None:
    # A connection to such an address would hang until this time-out and end in a 504.
    response = http.get(f"{app_server()}/{registry}/team/foo/", auth=("alice", "secret"))

    assert response.status_code == 403, response.text


def test_a_redirect_to_a_metadata_address_is_not_followed(
    app_server: AppServer, http: requests.Session
) -> None:
    away = Response("", 307, {"Location": "http://169.254.169.254/latest/meta-data/"})
    with wsgi_server(answering(away)) as url:
        response = http.get(f"{app_server()}/{address(url)}/t/foo/")

    assert response.status_code in {403, 502}


def test_a_token_realm_at_a_metadata_address_is_not_asked(
    app_server: AppServer, http: requests.Session
) -> None:
    challenge = 'Bearer realm="http://169.254.169.254/token",service="x"'
    with wsgi_server(answering(Response("", 401, {"WWW-Authenticate": challenge}))) as url:
        response = http.get(f"{app_server()}/{address(url)}/t/foo/", auth=("alice", "secret"))

    assert response.status_code in {401, 403, 502}


CROSS_SITE = (
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
)


@pytest.mark.parametrize("headers", CROSS_SITE, ids=lambda headers: "+".join(headers.values()))
def test_changes_that_a_browser_sends_from_another_site_are_refused(
    shared_app: str,
    registry_url: str,
    calls: Recorder,
    http: requests.Session,
    tmp_path: Path,
    headers: dict[str, str],
) -> None:
    index = IndexClient(f"{shared_app}/{address(registry_url)}/team", None, http)
    wheel = index.published(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")
    before = len(calls.calls)
    other = make_wheel(tmp_path, "foo", "2.0")
    http.headers.update(headers)

    refused = [
        index.publish(other, "foo", "2.0"),
        index.request("DELETE", f"/foo/{wheel.name}"),
        index.request("DELETE", "/foo/1.0"),
    ]

    assert [response.status_code for response in refused] == [403, 403, 403]
    assert len(calls.calls) == before
    assert index.filenames("foo") == [wheel.name]


def test_changes_from_a_page_of_the_application_itself_are_accepted(
    shared_app: str, registry_url: str, http: requests.Session, tmp_path: Path
) -> None:
    index = IndexClient(f"{shared_app}/{address(registry_url)}/team", None, http)
    http.headers.update({"Origin": shared_app, "Sec-Fetch-Site": "same-origin"})

    wheel = index.published(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")

    assert index.request("DELETE", f"/foo/{wheel.name}").ok
