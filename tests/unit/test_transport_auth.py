import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pyoci_flask.errors import (
    BusyError,
    RegistryError,
    RegistryUnreachableError,
)
from pyoci_flask.transport.auth import Authenticator
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.request import BasicCredentials, BearerCredentials, Credentials, Scope
from pyoci_flask.transport.session import Transport
from tests.patience import PATIENCE
from tests.unit.doubles import Answer, Received, http_double
from tests.unit.token_double import ALICE, BOB, PULL, PUSH, TokenRegistry, ask, token
from tests.wsgi_adapter import WSGIAdapter


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


def test_what_an_anonymous_token_was_answered_is_known_whatever_else_fails_meanwhile(
    authenticator: Authenticator,
) -> None:
    registry = TokenRegistry()
    with http_double(registry) as server:
        assert not authenticator.wants_token(server.url, PULL)
        assert ask(authenticator, server).status == 200
        assert authenticator.wants_token(server.url, PULL)
        assert not authenticator.wants_token(server.url, PUSH)
        # The token is not accepted any more, and the service gives no other.
        registry.accepts = lambda _: False
        registry.grant = lambda _: Answer(500)
        with pytest.raises(RegistryError):
            ask(authenticator, server)
        assert authenticator.wants_token(server.url, PULL)
        # It asks for none any more.
        registry.accepts = lambda _: True
        assert ask(authenticator, server).status == 200
        assert not authenticator.wants_token(server.url, PULL)


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


def test_registry_that_turned_to_basic_is_followed(authenticator: Authenticator) -> None:
    # As another registry that took over the address, the token service gone with the first.
    registry = TokenRegistry(accepts=lambda sent: sent in {"Bearer t0ken", ALICE.header})
    with http_double(registry) as server:
        assert ask(authenticator, server, ALICE).status == 200
        registry.challenge, registry.grant = "Basic", lambda _: Answer(500)
        registry.accepts = lambda sent: sent == ALICE.header
        assert ask(authenticator, server, ALICE, PUSH).status == 200
        assert ask(authenticator, server, ALICE).status == 200


def test_gone_token_service_is_asked_for_anew(authenticator: Authenticator) -> None:
    registry = TokenRegistry()
    with http_double(registry) as server:
        assert ask(authenticator, server, ALICE).status == 200
        registry.challenge, registry.grant = 'Basic realm="harbor"', lambda _: Answer(500)
        registry.accepts = lambda sent: sent == ALICE.header
        with pytest.raises(RegistryError):  # its token may have expired, as Harbor says it
            ask(authenticator, server, ALICE)
        assert ask(authenticator, server, ALICE).status == 200


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
    once = ["Bearer alice", "Bearer bob", "Bearer anonymous", "Bearer anonymous"]
    assert used == [None, *once, *once]  # only the very first call finds out what is wanted
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
    transport = Transport(network=Network(), pool_size=50, read_timeout=PATIENCE)
    authenticator = Authenticator(transport)
    waiting = threading.Barrier(50)

    registry = TokenRegistry()

    def handler(received: Received) -> Answer:
        if received.path == "/v2/x" and received.authorization is None:
            waiting.wait(PATIENCE)
        return registry(received)

    with http_double(handler) as server, ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(lambda _: ask(authenticator, server, ALICE), range(50)))
        transport.close()
    assert {reply.status for reply in replies} == {200}
    assert len(registry.asked) == 1


def test_a_call_that_waited_long_for_the_token_of_another_does_not_ask_for_one(
    transport: Transport,
) -> None:
    now, waits = [1000.0], threading.Event()
    registry = TokenRegistry()

    def clock() -> float:
        moment = now[0]
        if threading.current_thread().name.startswith("second"):
            waits.set()
        return moment

    def slow(_: Received) -> Answer:
        second = pool.submit(ask, authenticator, server, ALICE)
        waiting.append(second)
        assert waits.wait(PATIENCE)
        now[0] += 41
        return Answer(404)

    authenticator, waiting = Authenticator(transport, clock), list[Any]()
    registry.grant = slow
    with http_double(registry) as server, ThreadPoolExecutor(1, "second") as pool:
        with pytest.raises(RegistryError):
            ask(authenticator, server, ALICE)
        registry.grant = lambda _: token("t0ken")
        with pytest.raises(BusyError, match="is slow to answer"):
            waiting[0].result(PATIENCE)
        assert ask(authenticator, server, ALICE).status == 200


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


def test_calls_that_wait_for_one_token_then_go_side_by_side(authenticator: Authenticator) -> None:
    together = threading.Barrier(6)

    def answer(received: Received) -> Answer:
        if received.path == "/token":
            return token("t0ken")
        if received.authorization is None:
            challenge = f'Bearer realm="http://{received.headers["Host"]}/token"'
            return Answer(401, headers={"WWW-Authenticate": challenge})
        together.wait(PATIENCE)
        return Answer()

    with http_double(answer) as server, ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(lambda _: ask(authenticator, server, ALICE), range(6)))

    assert [reply.status for reply in replies] == [200] * 6


@pytest.mark.parametrize("challenge", ['Basic realm="x"', 'Bearer realm="HOST/token"'])
def test_401_without_a_challenge_is_answered_by_that_of_the_root(
    authenticator: Authenticator, challenge: str
) -> None:
    wanted = ALICE.header if challenge.startswith("Basic") else "Bearer t0ken"
    registry = TokenRegistry(challenge, accepts=lambda sent: sent == wanted)

    def handler(received: Received) -> Answer:
        answer = registry(received)
        return Answer(401) if answer.status == 401 and received.path != "/v2/" else answer

    with http_double(handler) as server:
        assert ask(authenticator, server, ALICE).status == 200
        assert server.calls.count(("GET", "/v2/")) == 1


def test_401_without_a_challenge_anywhere_is_final(authenticator: Authenticator) -> None:
    with http_double(lambda _: Answer(401)) as server:
        assert ask(authenticator, server, ALICE).status == 401
        assert server.calls == [("GET", "/v2/x"), ("GET", "/v2/")]
