from collections.abc import Callable
from pathlib import Path

import pytest

from pyoci_flask.errors import (
    AuthenticationRequiredError,
    DeniedError,
    PayloadTooLargeError,
    PyOCIError,
    RateLimitedError,
    RegistryError,
    UnsupportedError,
)
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.transport.request import BearerCredentials
from tests.unit.conftest import Callers
from tests.unit.doubles import Answer, HTTPDouble, Received, http_double, in_turn

TOKEN = BearerCredentials("t0ken")


def redirecting(target: Callable[[Received], str], status: int = 307) -> Callable[..., Answer]:
    """Redirect everything below /v2/ and answer the rest."""

    def handler(received: Received) -> Answer:
        if received.path.startswith("/v2/"):
            return Answer(status, headers={"Location": target(received)})
        return Answer(body=b"arrived")

    return handler


def get(caller: RepositoryCaller, method: str = "GET") -> tuple[int, bytes]:
    with caller.call(method, "blobs/x", "pull", headers={"Range": "bytes=1-"}) as reply:
        return reply.status, reply.read(100)


def test_calls_go_below_the_repository(caller_of: Callers) -> None:
    with http_double(lambda _: Answer(body=b"x")) as server:
        caller = caller_of(server.url, "team/python/my_pkg")
        assert caller.base == f"{server.url}/v2/team/python/my_pkg/"
        assert get(caller) == (200, b"x")
        assert server.calls == [("GET", "/v2/team/python/my_pkg/blobs/x")]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading_follows_redirects_with_its_headers(
    caller_of: Callers, status: int, method: str
) -> None:
    with http_double(redirecting(lambda _: "/storage?sig=a%2Fb", status)) as server:
        assert get(caller_of(server.url), method)[0] == 200
        assert server.received[1].method == method
        assert server.received[1].target == "/storage?sig=a%2Fb"
        assert server.received[1].headers["Range"] == "bytes=1-"


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://ghcr.io/x", True),
        ("https://ghcr.io:443/x", True),
        ("https://GHCR.io/x", True),
        ("https://ghcr.io:80/x", False),
        ("http://ghcr.io/x", False),
        ("http://ghcr.io:443/x", False),
        ("https://storage.example.com/x", False),
    ],
)
def test_an_origin_is_the_same_with_and_without_its_own_port(
    caller_of: Callers, url: str, own: bool
) -> None:
    for registry in ("https://ghcr.io", "https://ghcr.io:443"):
        assert caller_of(registry).is_own(url) is own


def test_authorization_stays_on_the_same_origin(caller_of: Callers) -> None:
    with http_double(redirecting(lambda _: "/storage")) as server:
        get(caller_of(server.url, credentials=TOKEN))
        assert [one.authorization for one in server.received] == [TOKEN.header] * 2


def test_authorization_is_dropped_on_another_origin(caller_of: Callers) -> None:
    with (
        http_double(lambda _: Answer(body=b"arrived")) as storage,
        http_double(redirecting(lambda _: f"{storage.url}/blob")) as server,
    ):
        assert get(caller_of(server.url, credentials=TOKEN)) == (200, b"arrived")
        assert [one.authorization for one in storage.received] == [None]


def test_authorization_does_not_come_back_after_a_foreign_hop(caller_of: Callers) -> None:
    doubles: list[HTTPDouble] = []
    back = redirecting(lambda _: f"{doubles[0].url}/storage")
    with (
        http_double(back) as foreign,
        http_double(redirecting(lambda _: f"{foreign.url}/v2/")) as own,
    ):
        doubles.append(own)
        assert get(caller_of(own.url, credentials=TOKEN)) == (200, b"arrived")
        assert [one.authorization for one in own.received] == [TOKEN.header, None]


def test_same_host_by_another_name_is_another_origin(caller_of: Callers) -> None:
    with http_double(
        redirecting(lambda one: f"http://localhost:{one.headers['Host'].split(':')[1]}/storage")
    ) as server:
        get(caller_of(server.url, credentials=TOKEN))
        assert [one.authorization for one in server.received] == [TOKEN.header, None]


def test_five_redirects_are_followed_and_a_sixth_is_not(caller_of: Callers) -> None:
    hop = Answer(302, headers={"Location": "next"})
    with http_double(in_turn(*[hop] * 5, Answer(body=b"there"))) as server:
        assert get(caller_of(server.url)) == (200, b"there")
    with http_double(lambda _: hop) as server:
        with pytest.raises(RegistryError, match="redirects in circles"):
            get(caller_of(server.url))
        assert len(server.received) == 6


def test_redirect_without_location_is_the_answer(caller_of: Callers) -> None:
    with http_double(lambda _: Answer(302)) as server:
        assert get(caller_of(server.url))[0] == 302


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_changes_follow_no_redirect(caller_of: Callers, method: str) -> None:
    with http_double(redirecting(lambda _: "/elsewhere")) as server:
        reply = caller_of(server.url).call(method, "manifests/x", "push", body=b"x")
        reply.close()
        assert reply.status == 307
        assert len(server.received) == 1


@pytest.mark.parametrize(
    "location",
    [
        "http://user:pass@127.0.0.1/",
        "http://user@127.0.0.1/",
        "http://@127.0.0.1/",
        "//user@127.0.0.1/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:x/",
        "http://[::1",
    ],
)
def test_location_that_is_no_address_is_the_registrys_fault(
    caller_of: Callers, location: str
) -> None:
    with http_double(redirecting(lambda _: location)) as server:
        with pytest.raises(PyOCIError):
            get(caller_of(server.url))
        assert len(server.received) == 1


def test_redirect_to_an_infrastructure_address_is_refused(caller_of: Callers) -> None:
    with (
        http_double(redirecting(lambda _: "http://169.254.169.254/latest/")) as server,
        pytest.raises(PyOCIError, match="no registry is called there"),
    ):
        get(caller_of(server.url))


def test_https_registry_leads_nowhere_without_tls(
    tls_caller_of: Callers, certificate: tuple[Path, Path]
) -> None:
    with http_double(lambda _: Answer(body=b"plain")) as plain:
        location = plain.url.replace("127.0.0.1", "localhost")
        with http_double(redirecting(lambda _: location), certificate) as server:
            with pytest.raises(RegistryError, match="redirects from https to http"):
                get(tls_caller_of(server.url))
            with pytest.raises(RegistryError, match="redirects from https to http"):
                tls_caller_of(server.url).resolve(
                    tls_caller_of(server.url).call("POST", "x", "push"), location
                )
        assert plain.received == []


def test_same_host_over_http_is_upgraded_to_https(
    tls_caller_of: Callers, certificate: tuple[Path, Path]
) -> None:
    # Registries behind a TLS proxy often do not know of it.
    with http_double(redirecting(lambda _: "http://127.0.0.1/storage?a=b"), certificate) as server:
        assert get(tls_caller_of(server.url, credentials=TOKEN)) == (200, b"arrived")
        assert server.received[1].target == "/storage?a=b"
        assert server.received[1].authorization == TOKEN.header


def test_redirect_from_http_to_https_is_followed(
    tls_caller_of: Callers, certificate: tuple[Path, Path]
) -> None:
    with (
        http_double(lambda _: Answer(body=b"secure"), certificate) as secure,
        http_double(redirecting(lambda _: secure.url)) as server,
    ):
        assert get(tls_caller_of(server.url)) == (200, b"secure")


ERRORS = b'{"errors":[{"code":"SOME_CODE","message":"some message","detail":"secret detail"}]}'


@pytest.mark.parametrize(
    ("status", "credentials", "kind"),
    [
        (401, None, AuthenticationRequiredError),
        (403, None, AuthenticationRequiredError),
        (401, TOKEN, DeniedError),
        (403, TOKEN, DeniedError),
        (405, TOKEN, UnsupportedError),
        (429, TOKEN, RateLimitedError),
        (400, TOKEN, RegistryError),
        (404, TOKEN, RegistryError),
        (500, TOKEN, RegistryError),
        (302, TOKEN, RegistryError),
    ],
)
def test_unexpected_answer_becomes_the_error_of_its_status(
    caller_of: Callers, status: int, credentials: BearerCredentials | None, kind: type[PyOCIError]
) -> None:
    with http_double(lambda _: Answer(status, ERRORS)) as server:
        caller = caller_of(server.url, credentials=credentials)
        error = caller.refused(caller.call("PUT", "manifests/x", "push", body=b""), "doing a thing")
        assert type(error) is kind
        for part in (server.netloc, "SOME_CODE some message", "doing a thing", "acme/hello"):
            assert part in str(error)
        assert "secret detail" not in str(error)
        if isinstance(error, DeniedError):
            assert error.status == status


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>raw</html>",
        b"raw",
        b"[]",
        b'{"errors":"raw"}',
        b'{"errors":["raw"]}',
        b'{"errors":[{"code":["raw"],"message":{"raw":1}}]}',
        b'{"errors":[]}',
        b'{"raw":1}',
        b'{"errors":[{"code":"' + b"raw" * 30_000 + b'"}]}',
    ],
    ids=lambda body: repr(body[:20]),
)
def test_raw_body_of_an_error_is_never_quoted(caller_of: Callers, body: bytes) -> None:
    with http_double(lambda _: Answer(500, body)) as server:
        caller = caller_of(server.url)
        error = caller.refused(caller.call("PUT", "x", "push", body=b""), "doing a thing")
        assert type(error) is RegistryError
        assert "raw" not in str(error)


def test_quoted_error_is_short_and_printable(caller_of: Callers) -> None:
    body = b'{"errors":[{"code":"A\\r\\nB","message":"\\u001b[2J' + b"x" * 500 + b'"}]}'
    with http_double(lambda _: Answer(500, body)) as server:
        caller = caller_of(server.url)
        error = str(caller.refused(caller.call("PUT", "x", "push", body=b""), "x"))
    assert "A  B" in error
    assert error.isprintable()
    assert len(error) < 600


@pytest.mark.parametrize(
    ("sent", "passed"),
    [("120", "120"), ("Wed, 21 Oct 2099 07:28:00 GMT",) * 2, ("x" * 65, None), (None, None)],
)
def test_retry_after_of_a_rate_limit_is_passed_on_if_it_is_sane(
    caller_of: Callers, sent: str | None, passed: str | None
) -> None:
    headers = {} if sent is None else {"Retry-After": sent}
    with http_double(lambda _: Answer(429, headers=headers)) as server:
        caller = caller_of(server.url)
        error = caller.refused(caller.call("PUT", "x", "push", body=b""), "x")
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == passed


def refusing_writes(received: Received) -> Answer:
    """A registry that never asks for credentials and refuses every write."""
    return Answer(200) if received.path == "/v2/" else Answer(403, ERRORS)


def test_403_of_a_registry_that_asks_nobody_for_credentials_is_a_denial(
    caller_of: Callers,
) -> None:
    with http_double(refusing_writes) as server:
        caller = caller_of(server.url)
        error = caller.refused(caller.call("PUT", "manifests/x", "push", body=b""), "writing")
        assert isinstance(error, DeniedError)
        assert error.status == 403
        assert "SOME_CODE some message" in str(error)
        assert "none were sent" not in str(error)


def test_413_names_the_limit_of_the_registry(caller_of: Callers) -> None:
    with http_double(lambda _: Answer(413, b"<html>")) as server:
        caller = caller_of(server.url)
        error = caller.refused(caller.call("PUT", "x", "push", body=b""), "uploading")
        assert isinstance(error, PayloadTooLargeError)
        assert f"{server.netloc} answered 413" in str(error)
        assert "the limit is the registry's" in str(error)
