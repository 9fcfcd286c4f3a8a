import gc
from typing import Any

import pytest

from pyoci_flask.errors import (
    AuthenticationRequiredError,
    DeniedError,
    PyOCIError,
    RateLimitedError,
    RegistryError,
)
from pyoci_flask.transport.auth import Authenticator
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.request import BasicCredentials
from pyoci_flask.transport.session import Transport
from pyoci_flask.transport.tokens import Grant
from tests.unit.doubles import Answer, Received, http_double
from tests.unit.token_double import ALICE, PUSH, TokenRegistry, ask, document, token


def test_token_serves_until_it_expires(authenticator: Authenticator) -> None:
    registry = TokenRegistry()
    with http_double(registry) as server:
        for _ in range(4):
            assert ask(authenticator, server, ALICE).status == 200
        assert len(registry.asked) == 1
        assert len(server.received) == 3 + 3


@pytest.mark.parametrize(
    ("members", "seconds"),
    [
        ({}, 55),
        ({"expires_in": 300}, 295),
        ({"expires_in": 300.5}, 295.5),
        ({"expires_in": 5}, 55),
        ({"expires_in": 0}, 55),
        ({"expires_in": -7}, 55),
        ({"expires_in": "300"}, 55),
        ({"expires_in": True}, 55),
        ({"expires_in": None}, 55),
        ({"expires_in": 1e300}, 55),
        ({"expires_in": 300, "issued_at": "1970-01-01T00:00:00Z"}, 295),
    ],
)
def test_token_is_renewed_shortly_before_it_expires(
    transport: Transport, members: dict[str, Any], seconds: float
) -> None:
    now = [1000.0]
    registry = TokenRegistry(grant=lambda _: token("t0ken", **members))
    authenticator = Authenticator(transport, clock=lambda: now[0])
    with http_double(registry) as server:
        ask(authenticator, server)
        now[0] = 1000 + seconds - 0.01
        ask(authenticator, server)
        assert len(registry.asked) == 1
        now[0] = 1000 + seconds + 0.01
        ask(authenticator, server)
        assert len(registry.asked) == 2


@pytest.mark.parametrize(
    "members",
    [
        {"token": "t0ken"},
        {"access_token": "t0ken"},
        {"token": "t0ken", "access_token": "other"},
        {"token": "", "access_token": "t0ken"},
        {"token": None, "access_token": "t0ken"},
        {"token": "t0ken", "new": [1]},
    ],
)
def test_token_has_one_of_two_names(authenticator: Authenticator, members: object) -> None:
    with http_double(TokenRegistry(grant=document(members))) as server:
        assert ask(authenticator, server).status == 200


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[]",
        b'"t0ken"',
        b"{}",
        b'{"token": 7}',
        b'{"token": ["t0ken"]}',
        b'{"token": "a b"}',
        b'{"token": "a\\r\\nX-Evil: 1"}',
        b'{"token": "\\u00e4"}',
        b"[" * 100_000,
        b'{"token": "' + b"x" * 140_000 + b'"}',
        b'{"token": "' + b"x" * (16 * 1024 + 1) + b'"}',
    ],
    ids=lambda answer: repr(answer[:20]),
)
def test_answer_without_a_usable_token_is_the_services_fault(
    authenticator: Authenticator, answer: bytes
) -> None:
    with http_double(TokenRegistry(grant=lambda _: Answer(body=answer))) as server:
        with pytest.raises(RegistryError):
            ask(authenticator, server, ALICE)
        assert len(server.received) == 2


def test_tokens_in_memory_are_bounded_in_bytes(authenticator: Authenticator) -> None:
    registry = TokenRegistry(
        grant=lambda _: token("x" * 16 * 1024), accepts=lambda sent: sent is not None
    )
    with http_double(registry) as server:
        users = [BasicCredentials(f"user{number}", "secret") for number in range(300)]
        for user in users:
            ask(authenticator, server, user)
        ask(authenticator, server, users[-1])
        assert len(registry.asked) == 300
        ask(authenticator, server, users[0])
        assert len(registry.asked) == 301


def test_expired_tokens_are_dropped(transport: Transport) -> None:
    now = [1000.0]
    authenticator = Authenticator(transport, clock=lambda: now[0])
    before = _grants()
    registry = TokenRegistry(accepts=lambda sent: sent is not None)
    with http_double(registry) as server:
        for number in range(10):
            ask(authenticator, server, BasicCredentials(f"user{number}", "secret"))
        assert _grants() - before == 10
        now[0] += 1000
        ask(authenticator, server, ALICE)
        assert _grants() - before == 1


def _grants() -> int:
    return sum(isinstance(one, Grant) for one in gc.get_objects())


@pytest.mark.parametrize("status", [404, 301])
def test_failing_token_service_is_not_a_denial(authenticator: Authenticator, status: int) -> None:
    headers = {"Location": "http://127.0.0.1:1/"}
    registry = TokenRegistry(grant=lambda _: Answer(status, headers=headers))
    with http_double(registry) as server:
        with pytest.raises(RegistryError, match=f"token service {server.netloc} answered {status}"):
            ask(authenticator, server, ALICE)
        assert {one.path for one in server.received} == {"/v2/x", "/token"}


def test_token_services_rate_limit_is_passed_on(authenticator: Authenticator) -> None:
    registry = TokenRegistry(grant=lambda _: Answer(429, headers={"Retry-After": "77"}))
    with http_double(registry) as server:
        with pytest.raises(RateLimitedError) as caught:
            ask(authenticator, server, ALICE)
        assert caught.value.retry_after == "77"


@pytest.mark.parametrize(("answered", "status"), [(400, 401), (401, 401), (403, 403)])
def test_refusal_of_the_token_service_is_a_denial(
    authenticator: Authenticator, answered: int, status: int
) -> None:
    with http_double(TokenRegistry(grant=lambda _: Answer(answered))) as server:
        with pytest.raises(DeniedError, match=server.netloc) as caught:
            ask(authenticator, server, ALICE)
        assert caught.value.status == status
        assert "wonder" not in str(caught.value)
        with pytest.raises(AuthenticationRequiredError):
            ask(authenticator, server)


@pytest.mark.parametrize(
    ("challenge", "query"),
    [
        (
            "Bearer realm=HOST/token,service=gcr.io",
            [("service", "gcr.io")],
        ),
        ('Bearer realm="HOST/token"', []),
        ('Bearer realm="/token"', []),
        ('Bearer realm="HOST/token",scope="aws"', [("scope", "aws")]),
        ('Bearer realm="HOST/token",scope="a:b:c d:e:f"', [("scope", "a:b:c"), ("scope", "d:e:f")]),
        (
            'Bearer realm="HOST/token?account=x&e=",service="s v"',
            [
                ("account", "x"),
                ("e", ""),
                ("service", "s v"),
            ],
        ),
        ('bearer REALM="HOST/token", Basic realm="x"', []),
        ('Basic realm="x", Bearer realm="HOST/token"', []),
    ],
)
def test_token_is_asked_for_in_the_challenges_own_words(
    authenticator: Authenticator, challenge: str, query: list[tuple[str, str]]
) -> None:
    registry = TokenRegistry(challenge=challenge)
    with http_double(registry) as server:
        assert ask(authenticator, server, ALICE).status == 200
    assert [one.query for one in registry.asked] == [query]


def test_own_scope_is_tried_where_the_token_of_the_challenges_scope_does_not_do(
    authenticator: Authenticator,
) -> None:
    def grant(received: Received) -> Answer:
        return token("weak" if ("scope", "write") in received.query else "t0ken")

    registry = TokenRegistry('Bearer realm="HOST/token",scope="write"', grant)
    with http_double(registry) as server:
        assert ask(authenticator, server, ALICE, PUSH).status == 200
        assert [one.query for one in registry.asked] == [
            [("scope", "write")],
            [("scope", "repository:acme/hello:pull,push")],
        ]
        assert ask(authenticator, server, ALICE, PUSH).status == 200
        assert len(registry.asked) == 2


def test_own_scope_is_tried_where_the_challenges_scope_is_refused(
    authenticator: Authenticator,
) -> None:
    def grant(received: Received) -> Answer:
        return Answer(403) if ("scope", "write") in received.query else token("t0ken")

    with http_double(TokenRegistry('Bearer realm="HOST/token",scope="write"', grant)) as server:
        assert ask(authenticator, server, ALICE).status == 200


def test_refusal_of_a_token_without_a_scope_names_none(authenticator: Authenticator) -> None:
    registry = TokenRegistry('Bearer realm="HOST/token"', lambda _: Answer(403))
    with (
        http_double(registry) as server,
        pytest.raises(DeniedError, match="refuses these credentials: check user name"),
    ):
        ask(authenticator, server, ALICE)


def test_own_scope_is_tried_where_the_token_without_scope_does_not_do(
    authenticator: Authenticator,
) -> None:
    registry = TokenRegistry(
        'Bearer realm="HOST/token"', lambda one: token("t0ken" if one.query else "weak")
    )
    with http_double(registry) as server:
        assert ask(authenticator, server, ALICE, PUSH).status == 200
    assert [one.query for one in registry.asked] == [
        [],
        [("scope", "repository:acme/hello:pull,push")],
    ]


class _Open:
    """An observer that counts the exchanges that have not ended."""

    def __init__(self) -> None:
        self.count = 0

    def call_started(self, method: str, url: str) -> "_Open":
        del method, url
        self.count += 1
        return self

    def finished(self, **_: object) -> None:
        self.count -= 1


@pytest.mark.parametrize("status", [200, 401, 403, 404])
def test_no_connection_is_left_open_when_the_token_service_fails(status: int) -> None:
    observer = _Open()
    transport = Transport(network=Network(), pool_size=1, observers=[observer])
    registry = TokenRegistry(grant=lambda _: Answer(status, b"nonsense"))
    with http_double(registry) as server:
        with pytest.raises(PyOCIError):
            ask(Authenticator(transport), server, ALICE)
        assert observer.count == 0
    transport.close()
