import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pyoci_flask.errors import (
    AuthenticationRequiredError,
    DeniedError,
    PyOCIError,
    RateLimitedError,
    RegistryError,
    RegistryUnreachableError,
)
from pyoci_flask.transport.auth import Authenticator, Scope
from pyoci_flask.transport.credentials import BasicCredentials, BearerCredentials, Credentials
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.session import Reply, Transport
from pyoci_flask.transport.wsgi import WSGIAdapter
from tests.unit.doubles import Answer, HTTPDouble, Received, http_double

ALICE = BasicCredentials("alice", "wonder:land")
BOB = BasicCredentials("bob", "builder")
PULL = Scope("acme/hello", "pull")
PUSH = Scope("acme/hello", "push")


@dataclass(slots=True)
class TokenRegistry:
    """A registry that wants Bearer tokens, and the token service beside it at `/token`.

    `grant` makes the token service's answer; `challenge` is the WWW-Authenticate header, in which
    `HOST` stands for the server's own address; `accepts` tells which Authorization will do.
    """

    challenge: str = 'Bearer realm="HOST/token",service="svc",scope="repository:acme/hello:pull"'
    grant: Callable[[Received], Answer] = lambda _: token("t0ken")
    accepts: Callable[[str | None], bool] = lambda sent: sent == "Bearer t0ken"
    asked: list[Received] = field(default_factory=list)

    def __call__(self, received: Received) -> Answer:
        host = f"http://{received.headers['Host']}"
        if received.path == "/token":
            self.asked.append(received)
            return self.grant(received)
        if self.accepts(received.authorization):
            return Answer(body=b"content")
        return Answer(401, headers={"WWW-Authenticate": self.challenge.replace("HOST", host)})


def token(value: str, **members: Any) -> Answer:  # noqa: ANN401 - any JSON
    return Answer(body=json.dumps({"token": value, **members}).encode())


def document(members: object) -> Callable[[Received], Answer]:
    return lambda _: Answer(body=json.dumps(members).encode())


def ask(
    authenticator: Authenticator,
    server: HTTPDouble,
    credentials: Credentials | None = None,
    scope: Scope = PULL,
) -> Reply:
    reply = authenticator.send(
        "GET",
        f"{server.url}/v2/x",
        registry=server.url,
        credentials=credentials,
        scope=scope,
        headers={},
    )
    reply.close()
    return reply


@pytest.fixture
def authenticator(transport: Transport) -> Authenticator:
    return Authenticator(transport)


def test_scope_asks_to_pull_or_to_pull_and_push_and_never_to_delete() -> None:
    assert str(PULL) == "repository:acme/hello:pull"
    assert str(PUSH) == "repository:acme/hello:pull,push"
    assert str(Scope("acme/hello", "delete")) == "repository:acme/hello:pull,push"


def test_open_registry_is_asked_once_and_without_authorization(
    authenticator: Authenticator,
) -> None:
    for credentials in (None, ALICE):
        with http_double(lambda _: Answer()) as server:
            assert ask(authenticator, server, credentials).status == 200
            assert [one.authorization for one in server.received] == [None]


def test_credentials_are_exchanged_for_a_token(authenticator: Authenticator) -> None:
    registry = TokenRegistry()
    with http_double(registry) as server:
        assert ask(authenticator, server, ALICE).status == 200
        assert server.calls == [("GET", "/v2/x"), ("GET", "/token"), ("GET", "/v2/x")]
        assert [one.authorization for one in server.received] == [
            None,
            ALICE.header,
            "Bearer t0ken",
        ]
    assert registry.asked[0].query == [
        ("service", "svc"),
        ("scope", "repository:acme/hello:pull"),
    ]


def test_anonymous_token_is_tried_without_credentials(authenticator: Authenticator) -> None:
    registry = TokenRegistry()
    with http_double(registry) as server:
        assert ask(authenticator, server).status == 200
    assert registry.asked[0].authorization is None


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


@pytest.mark.parametrize("status", [500, 502, 404, 301])
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
    """An observer that counts the exchanges whose end it has not been told."""

    def __init__(self) -> None:
        self.count = 0

    def call_started(self, method: str, url: str) -> "_Open":
        del method, url
        self.count += 1
        return self

    def finished(self, **_: object) -> None:
        self.count -= 1


@pytest.mark.parametrize("status", [200, 401, 403, 429, 404])
def test_no_connection_is_left_open_when_the_token_service_fails(status: int) -> None:
    observer = _Open()
    transport = Transport(network=Network(), pool_size=1, observers=[observer])
    registry = TokenRegistry(grant=lambda _: Answer(status, b"nonsense"))
    with http_double(registry) as server:
        with pytest.raises(PyOCIError):
            ask(Authenticator(transport), server, ALICE)
        assert observer.count == 0
    transport.close()


def test_401_to_a_fresh_token_is_final(authenticator: Authenticator) -> None:
    registry = TokenRegistry(accepts=lambda _: False)
    with http_double(registry) as server:
        assert ask(authenticator, server, ALICE).status == 401
        assert server.calls == [("GET", "/v2/x"), ("GET", "/token"), ("GET", "/v2/x")]


def test_token_that_was_revoked_is_replaced(authenticator: Authenticator) -> None:
    good = ["Bearer first"]
    registry = TokenRegistry(
        grant=lambda _: token(good[0].removeprefix("Bearer ")),
        accepts=lambda sent: sent == good[0],
    )
    with http_double(registry) as server:
        ask(authenticator, server, ALICE)
        good[0] = "Bearer second"
        assert ask(authenticator, server, ALICE).status == 200
        assert len(registry.asked) == 2


@pytest.mark.parametrize("challenge", ["", "Digest realm=x", "Bearer", 'Bearer service="x"', "=,="])
def test_401_without_a_usable_challenge_is_final(
    authenticator: Authenticator, challenge: str
) -> None:
    with http_double(TokenRegistry(challenge=challenge)) as server:
        assert ask(authenticator, server, ALICE).status == 401
        assert len(server.received) == 1


@pytest.mark.parametrize("challenge", ["Basic", 'Basic realm="x"', "bAsIc", "Negotiate, Basic"])
def test_basic_is_sent_where_the_registry_asks_for_it_and_at_once_from_then_on(
    authenticator: Authenticator, challenge: str
) -> None:
    registry = TokenRegistry(challenge, accepts=lambda sent: sent == ALICE.header)
    with http_double(registry) as server:
        assert ask(authenticator, server, ALICE).status == 200
        assert ask(authenticator, server, ALICE, PUSH).status == 200
        assert [one.authorization for one in server.received] == [None, ALICE.header, ALICE.header]


def test_wrong_basic_credentials_are_sent_once(authenticator: Authenticator) -> None:
    registry = TokenRegistry("Basic", accepts=lambda sent: sent == ALICE.header)
    with http_double(registry) as server:
        assert ask(authenticator, server, BOB).status == 401
        assert ask(authenticator, server, BOB).status == 401
        assert [one.authorization for one in server.received] == [None, BOB.header, BOB.header]


def test_basic_is_not_answered_without_credentials(authenticator: Authenticator) -> None:
    with http_double(TokenRegistry("Basic")) as server:
        assert ask(authenticator, server).status == 401
        assert len(server.received) == 1


def test_bearer_credentials_are_passed_on_and_never_exchanged(
    authenticator: Authenticator,
) -> None:
    registry = TokenRegistry()
    with http_double(registry) as server:
        assert ask(authenticator, server, BearerCredentials("t0ken")).status == 200
        assert ask(authenticator, server, BearerCredentials("other")).status == 401
        assert [one.authorization for one in server.received] == ["Bearer t0ken", "Bearer other"]


def test_basic_answer_to_an_expired_token_renews_the_token(transport: Transport) -> None:
    # Harbor does so.
    tokens = iter(["first", "second"])
    good = ["Bearer first"]
    registry = TokenRegistry(
        grant=lambda _: token(next(tokens)), accepts=lambda sent: sent == good[0]
    )
    authenticator = Authenticator(transport)
    with http_double(registry) as server:
        ask(authenticator, server, ALICE)
        registry.challenge, good[0] = 'Basic realm="harbor"', "Bearer second"
        assert ask(authenticator, server, ALICE).status == 200
        assert ALICE.header not in [
            one.authorization for one in server.received if one.path != "/token"
        ]


def test_tokens_are_never_shared_across_credentials(authenticator: Authenticator) -> None:
    def grant(received: Received) -> Answer:
        kind = {ALICE.header: "alice", BOB.header: "bob"}
        return token(kind.get(received.authorization or "", "anonymous"))

    registry = TokenRegistry(grant=grant, accepts=lambda sent: sent is not None)
    everybody: list[Credentials | None] = [ALICE, BOB, None, BasicCredentials("alice", "x")]
    with http_double(registry) as server:
        for _ in range(2):
            for credentials in everybody:
                ask(authenticator, server, credentials)
        used = [one.authorization for one in server.received if one.path != "/token"]
    assert used[:8] == [
        None,
        "Bearer alice",
        None,
        "Bearer bob",
        None,
        "Bearer anonymous",
        None,
        "Bearer anonymous",
    ]
    assert used[8:] == ["Bearer alice", "Bearer bob", "Bearer anonymous", "Bearer anonymous"]
    assert len(registry.asked) == 4


def test_tokens_are_never_shared_across_registries_and_scopes(
    authenticator: Authenticator,
) -> None:
    one, other = TokenRegistry(), TokenRegistry()
    with http_double(one) as first, http_double(other) as second:
        ask(authenticator, first, ALICE)
        ask(authenticator, second, ALICE)
        assert second.received[0].authorization is None
        ask(authenticator, first, ALICE, PUSH)
        ask(authenticator, first, ALICE, Scope("acme/other", "pull"))
    assert (len(one.asked), len(other.asked)) == (3, 1)


def test_fifty_parallel_calls_ask_for_one_token() -> None:
    transport = Transport(network=Network(), pool_size=50, read_timeout=20)
    authenticator = Authenticator(transport)
    waiting = threading.Barrier(50)

    registry = TokenRegistry()

    def handler(received: Received) -> Answer:
        if received.path == "/v2/x" and received.authorization is None:
            waiting.wait(20)
        return registry(received)

    with http_double(handler) as server, ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(lambda _: ask(authenticator, server, ALICE), range(50)))
        transport.close()
    assert {reply.status for reply in replies} == {200}
    assert len(registry.asked) == 1


def test_realm_of_another_host_gets_the_credentials(authenticator: Authenticator) -> None:
    # Docker Hub and GitLab have one.
    service = TokenRegistry()
    with http_double(service) as tokens:
        with http_double(TokenRegistry(f'Bearer realm="{tokens.url}/token"')) as server:
            assert ask(authenticator, server, ALICE).status == 200
            assert [one.path for one in server.received] == ["/v2/x", "/v2/x"]
        assert [one.authorization for one in tokens.received] == [ALICE.header]


def test_realm_without_tls_gets_nothing_from_an_https_registry(
    certificate: tuple[Path, Path],
) -> None:
    transport = Transport(network=Network(ca_bundle=str(certificate[0])), pool_size=1)
    with http_double(TokenRegistry()) as plain:
        challenge = f'Bearer realm="{plain.url}/token"'
        with http_double(TokenRegistry(challenge), certificate) as server:
            for credentials in (ALICE, None):
                with pytest.raises(RegistryError, match="a token service without TLS"):
                    ask(Authenticator(transport), server, credentials)
        transport.close()
        assert plain.received == []


@pytest.mark.parametrize(
    "realm",
    [
        "ftp://x/token",
        "file:///etc/passwd",
        "http://user:pass@127.0.0.1:1/token",
        "http://127.0.0.1:1/to ken",
        "http://127.0.0.1:1/tokän",
        "javascript:alert(1)",
        "http://[::1",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:x/",
    ],
)
def test_realm_that_is_no_address_is_the_registrys_fault(
    authenticator: Authenticator, realm: str
) -> None:
    with http_double(TokenRegistry(f'Bearer realm="{realm}"')) as server:
        with pytest.raises(RegistryError):
            ask(authenticator, server, ALICE)
        assert len(server.received) == 1


def test_embedded_registry_is_not_reached_through_a_foreign_registrys_realm(
    transport: Transport,
) -> None:
    reached: list[object] = []

    def embedded(environ: Any, start_response: Any) -> list[bytes]:  # noqa: ANN401 - WSGI's
        reached.append(environ)
        start_response("200 OK", [])
        return [b'{"token": "t0ken"}']

    transport.mount("http://embedded", WSGIAdapter(embedded))
    with (
        http_double(TokenRegistry('Bearer realm="http://embedded/token"')) as server,
        pytest.raises(RegistryUnreachableError),
    ):
        ask(Authenticator(transport), server, ALICE)
    assert reached == []
