"""A registry that wants Bearer tokens, and how to ask it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pyoci_flask.transport.auth import Authenticator
from pyoci_flask.transport.reply import Reply
from pyoci_flask.transport.request import BasicCredentials, Credentials, Request, Scope
from tests.unit.doubles import Answer, HTTPDouble, Received

ALICE = BasicCredentials("alice", "wonder:land")
BOB = BasicCredentials("bob", "builder")
PULL = Scope("acme/hello", "pull")
PUSH = Scope("acme/hello", "push")


@dataclass(slots=True)
class TokenRegistry:
    """A registry that wants Bearer tokens, and its token service at `/token`.

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
        Request("GET", f"{server.url}/v2/x", server.url, credentials=credentials, scope=scope)
    )
    reply.close()
    return reply
