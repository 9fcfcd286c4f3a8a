"""Which hosts and origins a request may name (DNS rebinding, other sites' pages)."""

import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import bcrypt
import pytest

from tests.conftest import AppServer

PATHS = ("/", "/simple/", "/simple/foo/", "/ui/simple/", "/v2/", "/v2/_catalog", "/embedded/x/")
OWN = [
    *("localhost", "LOCALHOST:8080", "localhost.", "127.0.0.1", "127.0.0.1:8080", "127.8.9.1"),
    *("[::1]", "[::1]:8080", "[::ffff:127.0.0.1]"),
]
FOREIGN = [
    *("evil.example", "evil.example:8080", "localhost.evil.example", "evil.localhost", "127.1"),
    *("0.0.0.0", "10.0.0.1", "[::]", "[fe80::1]", "localhost@evil.example", "evil@localhost"),
    *("localhost,evil.example", "2130706433", "127.0.0.1.evil.example", "packages.example.com"),
]


def ask(
    url: str, path: str, headers: Mapping[str, str], method: str = "GET"
) -> http.client.HTTPResponse:
    """Send exactly these headers."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    return connection.getresponse()


@pytest.mark.parametrize("host", OWN)
def test_a_server_without_users_answers_under_the_names_of_this_machine(
    shared_app: str, host: str
) -> None:
    assert ask(shared_app, "/v2/", {"Host": host}).status == 200
    assert ask(shared_app, "/v2/a/blobs/uploads/", {"Host": host}, "POST").status == 202


@pytest.mark.parametrize("host", FOREIGN)
def test_a_server_without_users_refuses_other_names(shared_app: str, host: str) -> None:
    claims = {"Host": host, "X-Forwarded-Host": "localhost", "Forwarded": "host=localhost"}
    for path in PATHS:
        for method in ("GET", "POST", "PUT", "OPTIONS"):
            answer = ask(shared_app, path, claims, method)
            assert answer.status == 403, (method, path)
            assert "PYOCI_STORAGE_USERS" in (text := answer.read().decode())
            if path.startswith("/v2/"):
                assert json.loads(text)["errors"][0]["code"] == "DENIED"
    assert ask(shared_app, "/health", claims).status == 200


def test_a_request_without_a_host_is_not_from_a_browser(shared_app: str) -> None:
    assert ask(shared_app, "/v2/", {}).status == 200


def test_the_host_of_the_public_url_is_one_of_the_names(
    app_server: AppServer, tmp_path: Path
) -> None:
    environ = {"PYOCI_STORAGE": str(tmp_path), "PYOCI_URL": "https://packages.example.com:8443/a"}
    url = app_server(environ)
    assert ask(url, "/v2/", {"Host": "packages.example.com"}).status == 200
    assert ask(url, "/v2/", {"Host": "evil.example"}).status == 403


def test_a_server_with_users_or_without_a_registry_answers_under_every_name(
    app_server: AppServer, tmp_path: Path
) -> None:
    users = tmp_path / "htpasswd"
    users.write_text(f"a:{bcrypt.hashpw(b'b', bcrypt.gensalt(4)).decode()}\n")
    named = {"Host": "packages.example.com"}
    guarded = app_server(
        {"PYOCI_STORAGE": str(tmp_path / "storage"), "PYOCI_STORAGE_USERS": str(users)}
    )
    assert ask(guarded, "/v2/", named).status == 401
    assert ask(app_server(), "/", named).status == 200


ORIGINS: list[tuple[dict[str, str], bool]] = [
    ({"Origin": "http://localhost"}, False),
    ({"Origin": "HTTP://LocalHost:80"}, False),
    ({"Origin": "https://packages.example.com"}, False),
    ({"Origin": "https://packages.example.com:443"}, False),
    ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, False),
    ({"Sec-Fetch-Site": "none"}, False),
    ({}, False),
    ({"Origin": "https://localhost"}, True),
    ({"Origin": "http://localhost:443"}, True),
    ({"Origin": "http://localhost:8080"}, True),
    ({"Origin": "http://packages.example.com"}, True),
    ({"Origin": "https://packages.example.com:80"}, True),
    ({"Origin": "ftp://localhost"}, True),
    ({"Origin": "localhost"}, True),
    ({"Origin": "null"}, True),
    ({"Origin": ""}, True),
    ({"Origin": "http://localhost, http://evil.example"}, True),
    ({"Origin": "http://localhost http://evil.example"}, True),
    ({"Origin": "http://evil.example@localhost"}, True),
    ({"Origin": "http://localhost\\.evil.example"}, True),
    ({"Origin": "http://localhost:999999999999"}, True),
    ({"Origin": "http://xn--lcalhost-54a"}, True),
    ({"Sec-Fetch-Site": "same-site"}, True),
    ({"Sec-Fetch-Site": "cross-site"}, True),
    ({"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"}, True),
]
"""Headers of a request to `http://localhost`, and whether another site's page sent it."""


@pytest.mark.parametrize("path", ["/simple/foo/1.0", "/v2/a/blobs/uploads/"])
def test_a_change_from_a_page_of_another_origin_is_refused(
    app_server: AppServer, tmp_path: Path, path: str
) -> None:
    url = app_server({"PYOCI_STORAGE": str(tmp_path), "PYOCI_URL": "https://packages.example.com"})
    method = "DELETE" if path.startswith("/simple/") else "POST"
    for headers, cross_site in ORIGINS:
        status = ask(url, path, {"Host": "localhost", **headers}, method).status
        assert (status == 403) == cross_site, headers
