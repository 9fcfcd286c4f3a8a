"""A call as a value, and its variants."""

import io

import pytest

from pyoci_flask.transport.request import Body, Request, Scope, origin_of

GHCR = "https://ghcr.io"
SENT = Request("GET", f"{GHCR}/v2/a", GHCR, {"Accept": "x/y", "Authorization": "Bearer t0ken"})


@pytest.mark.parametrize("url", [f"{GHCR}/storage", "https://ghcr.io:443/storage"])
def test_another_url_of_the_same_origin_gets_the_authorization(url: str) -> None:
    moved = SENT.moved(url)
    assert (moved.url, moved.authorization) == (url, "Bearer t0ken")
    assert moved.headers == SENT.headers


@pytest.mark.parametrize(
    "url",
    [
        "https://storage.example/a",
        "http://ghcr.io/a",
        "https://ghcr.io:8443/a",
        "https://ghcr.io.example/a",
    ],
)
def test_another_origin_gets_the_headers_without_the_authorization(url: str) -> None:
    moved = SENT.moved(url)
    assert moved.headers == {"Accept": "x/y"}
    assert moved.registry == GHCR
    assert moved.moved(SENT.url).authorization is None
    assert SENT.authorization == "Bearer t0ken"


def test_an_authorization_replaces_the_one_before() -> None:
    assert SENT.authorized("Basic x").authorization == "Basic x"
    assert SENT.authorized(None) is SENT


@pytest.mark.parametrize(
    ("body", "length", "size"), [(None, 0, 0), (b"123", 0, 3), (io.BytesIO(b"12345"), 5, 5)]
)
def test_size_is_that_of_the_body(body: Body, length: int, size: int) -> None:
    assert Request("PUT", GHCR, GHCR, body=body, length=length).size == size


def test_a_value_shows_no_secrets() -> None:
    assert "t0ken" not in repr(SENT)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://ghcr.io/a", ("https", "ghcr.io", 443)),
        ("HTTP://GHCR.io:81", ("http", "ghcr.io", 81)),
        ("http://[::1]/", ("http", "::1", 80)),
        ("ftp://x/", ("ftp", "x", None)),
    ],
)
def test_origin_is_scheme_host_and_port(url: str, origin: tuple[str, str, int | None]) -> None:
    assert origin_of(url) == origin


def test_scope_of_nothing_is_empty() -> None:
    assert str(Request("GET", GHCR, GHCR).scope) == ""
    assert str(Scope("a", "catalog")) == "registry:catalog:*"
