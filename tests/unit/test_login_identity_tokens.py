"""Identity tokens: what the token service gets, and what no one else gets."""

import json
import logging
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from pyoci_flask.errors import DeniedError, RegistryError
from pyoci_flask.transport.auth import Authenticator
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.request import IdentityToken, Request, fingerprint
from pyoci_flask.transport.session import Transport
from tests.unit.doubles import Answer, HTTPDouble, Received, http_double
from tests.unit.token_double import ALICE, PUSH, TokenRegistry, ask, token

SECRET = "refresh/to+ken=&%"
IDENTITY = IdentityToken("<token>", SECRET)


def _access(value: str = "t0ken") -> Answer:
    return Answer(body=json.dumps({"access_token": value, "scope": ""}).encode())


def _form(received: Received) -> list[tuple[str, str]]:
    return parse_qsl(received.body.decode(), keep_blank_values=True)


def _places_of_the_secret(server: HTTPDouble) -> set[tuple[str, str]]:
    """Return the calls that contained the identity token, in any header, address or body."""
    found = set()
    for one in server.received:
        texts = [one.target, *one.headers.values(), one.body.decode()]
        parsed = [value for _, value in _form(one)]
        if any("refresh" in text for text in texts) or SECRET in parsed:
            found.add((one.method, one.path))
    return found


def test_it_is_exchanged_for_a_bearer_token_with_a_post(authenticator: Authenticator) -> None:
    registry = TokenRegistry(grant=lambda _: _access())
    with http_double(registry) as server:
        assert ask(authenticator, server, IDENTITY).status == 200
        assert server.calls == [("GET", "/v2/x"), ("POST", "/token"), ("GET", "/v2/x")]
        assert _places_of_the_secret(server) == {("POST", "/token")}
    [asked] = registry.asked
    assert asked.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert asked.authorization is None
    assert asked.query == []
    assert _form(asked) == [
        ("grant_type", "refresh_token"),
        ("client_id", "pyoci-flask"),
        ("service", "svc"),
        ("scope", "repository:acme/hello:pull"),
        ("refresh_token", SECRET),
    ]


@pytest.mark.parametrize(
    ("challenge", "query", "form"),
    [
        ('Bearer realm="HOST/token"', [], []),
        ('Bearer realm="/token?tenant=a%2Fb"', [("tenant", "a/b")], []),
        (
            'Bearer realm="HOST/token",service="s v",scope="a:b:c d:e:f"',
            [],
            [("service", "s v"), ("scope", "a:b:c d:e:f")],
        ),
        ('Basic realm="x", Bearer realm="HOST/token"', [], []),
    ],
)
def test_the_form_contains_what_the_challenge_names(
    authenticator: Authenticator,
    challenge: str,
    query: list[tuple[str, str]],
    form: list[tuple[str, str]],
) -> None:
    registry = TokenRegistry(challenge, lambda _: _access())
    with http_double(registry) as server:
        assert ask(authenticator, server, IDENTITY).status == 200
    [asked] = registry.asked
    assert asked.query == query
    assert _form(asked)[2:-1] == form


def test_the_bearer_token_is_kept_and_the_identity_token_is_asked_with_once(
    authenticator: Authenticator,
) -> None:
    registry = TokenRegistry(grant=lambda _: _access())
    with http_double(registry) as server:
        for _ in range(3):
            assert ask(authenticator, server, IDENTITY).status == 200
        assert len(registry.asked) == 1
        # Another caller's token is not used for these credentials, and the other way round.
        ask(authenticator, server, ALICE)
        assert [one.method for one in registry.asked] == ["POST", "GET"]


def test_another_scope_is_asked_for_with_the_same_identity_token(
    authenticator: Authenticator,
) -> None:
    def grant(received: Received) -> Answer:
        return _access("weak" if ("scope", "write") in _form(received) else "t0ken")

    registry = TokenRegistry('Bearer realm="HOST/token",scope="write"', grant)
    with http_double(registry) as server:
        assert ask(authenticator, server, IDENTITY, PUSH).status == 200
    assert [dict(_form(one))["scope"] for one in registry.asked] == [
        "write",
        "repository:acme/hello:pull,push",
    ]


def test_a_registry_that_asks_for_basic_does_not_get_it(authenticator: Authenticator) -> None:
    registry = TokenRegistry('Basic realm="x"')
    with http_double(registry) as server:
        for _ in range(2):
            with pytest.raises(DeniedError, match="only a token service takes: log in") as caught:
                ask(authenticator, server, IDENTITY)
            assert caught.value.status == 401
        assert _places_of_the_secret(server) == set()
        assert {one.authorization for one in server.received} == {None}
    assert server.netloc in str(caught.value)


@pytest.mark.parametrize(("answered", "status"), [(400, 401), (401, 401), (403, 403)])
def test_a_refused_identity_token_is_a_denial_without_the_token(
    authenticator: Authenticator, answered: int, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    registry = TokenRegistry(grant=lambda _: Answer(answered, SECRET.encode()))
    with (
        http_double(registry) as server,
        pytest.raises(DeniedError, match="it may have expired, so log in again") as caught,
    ):
        ask(authenticator, server, IDENTITY)
    assert caught.value.status == status
    assert "or it gives no access to repository:acme/hello:pull" in str(caught.value)
    assert SECRET not in str(caught.value) + caplog.text


@pytest.mark.parametrize("realm", ["ftp://h/token", "https://user@h/token", "http://[x/token"])
def test_it_goes_to_no_address_that_is_not_one_for_credentials(
    authenticator: Authenticator, realm: str
) -> None:
    with http_double(TokenRegistry(f'Bearer realm="{realm}"')) as server:
        with pytest.raises(RegistryError, match="unusable address for its token service"):
            ask(authenticator, server, IDENTITY)
        assert _places_of_the_secret(server) == set()


def test_it_is_not_sent_without_tls_on_behalf_of_a_registry_with_tls(
    certificate: tuple[Path, Path],
) -> None:
    transport = Transport(network=Network(ca_bundle=str(certificate[0])), pool_size=1)
    with http_double(lambda _: _access()) as plain:
        registry = TokenRegistry(f'Bearer realm="{plain.url}/token"')
        with (
            http_double(registry, certificate) as server,
            pytest.raises(RegistryError, match="a token service without TLS"),
        ):
            ask(Authenticator(transport), server, IDENTITY)
        assert plain.received == []
    transport.close()


def test_a_redirect_of_the_token_service_is_not_followed(authenticator: Authenticator) -> None:
    with http_double(lambda _: token("t0ken")) as other:
        to_other = Answer(307, headers={"Location": f"{other.url}/token"})
        with (
            http_double(TokenRegistry(grant=lambda _: to_other)) as server,
            pytest.raises(RegistryError, match="answered 307"),
        ):
            ask(authenticator, server, IDENTITY)
        assert other.received == []


def test_it_shows_in_no_representation() -> None:
    request = Request("GET", "http://h/", "http://h", credentials=IDENTITY)
    assert SECRET not in repr(IDENTITY) + repr(request) + fingerprint(IDENTITY)
    assert fingerprint(IDENTITY) != fingerprint(IdentityToken("<token>", "another"))
