"""Requests Bearer tokens from token services (Docker token authentication).

The address that a registry states for its token service is checked before credentials are sent.
"""

import json
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode

from pyoci_flask.common.url import usable_url
from pyoci_flask.errors import (
    AuthenticationRequiredError,
    DeniedError,
    RateLimitedError,
    RegistryError,
)
from pyoci_flask.transport.challenge import Challenge
from pyoci_flask.transport.request import Request
from pyoci_flask.transport.session import Transport, is_rate_limited, retry_after

_TOKEN = re.compile(r"[\x21-\x7e]+")
_ANSWER_LIMIT = 128 * 1024
_TOKEN_LIMIT = 16 * 1024
"""Characters of a token. No server accepts a longer header."""
_SHORTEST_LIFE = 60.0
_MARGIN = 5.0


@dataclass(frozen=True, slots=True)
class Grant:
    """A Bearer token as a header, and the number of seconds for which it is used."""

    header: str = field(repr=False)
    lifetime: float
    scope: str | None
    """The requested scope. The registry's challenge may ask for less than a call needs."""

    @property
    def size(self) -> int:
        """The number of bytes that this grant counts for in a `Memory`."""
        return 500 + len(self.header) + len(self.scope or "")


def fetch_token(
    transport: Transport, request: Request, challenge: Challenge, scope: str | None
) -> Grant:
    """Request a token for `scope` from the token service that `challenge` specifies.

    `request` is the call that needs the token, with its registry and credentials.

    Raises:
        AuthenticationRequiredError: the service requires credentials and `request` has none.
        DeniedError: the service refuses the credentials.
        RateLimitedError: the service asks to slow down.
        RegistryError: the response is not usable, or the address is not one for credentials.
    """
    asking = Request(
        "GET",
        _token_url(request.registry, challenge, scope),
        request.registry,
        idempotent=True,
        may_be_private=False,
        may_wait=request.may_wait,
    )
    credentials, host = request.credentials, asking.host
    authorization = None if credentials is None else credentials.header
    with transport.send(asking.authorized(authorization)) as reply:
        if reply.status in {400, 401, 403}:
            if credentials is None:
                raise AuthenticationRequiredError(f"{host} requires a user name and password")
            status = 403 if reply.status == 403 else 401
            access = f", or they give no access to {scope}" if scope else ""
            raise DeniedError(
                f"{host} refuses these credentials{access}: "
                "check user name, token and the token's permissions",
                status,
            )
        if is_rate_limited(reply):
            raise RateLimitedError(f"{host} asks to slow down", retry_after(reply), reply.status)
        if reply.status != 200:
            raise RegistryError(f"the token service {host} answered {reply.status}")
        token, lifetime = _parsed(reply.read(_ANSWER_LIMIT), host)
    return Grant(f"Bearer {token}", lifetime, scope)


def _parsed(document: bytes, host: str) -> tuple[str, float]:
    """Return the token, and the number of seconds for which it is used."""
    try:
        answer = json.loads(document)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise RegistryError(f"the token service {host} did not return a JSON object")
    token = answer.get("token") or answer.get("access_token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise RegistryError(f"the token service {host} did not return a usable token")
    if len(token) > _TOKEN_LIMIT:
        raise RegistryError(
            f"the token service {host} returned a token of {len(token)} characters; a token can be "
            f"at most {_TOKEN_LIMIT} characters long"
        )
    life = answer.get("expires_in")
    if not isinstance(life, int | float) or isinstance(life, bool) or not 0 < life < 1e9:
        life = _SHORTEST_LIFE
    return token, max(_SHORTEST_LIFE, float(life)) - _MARGIN


def _token_url(registry: str, challenge: Challenge, scope: str | None) -> str:
    """Build the URL of the token request from the realm, its query, the service and each scope."""
    realm = usable_url(challenge["realm"] or "", f"{registry}/v2/")
    if realm is None or realm.username is not None:
        raise RegistryError(f"{registry} specifies an unusable address for its token service")
    if realm.scheme == "http" and registry.startswith("https:"):
        raise RegistryError(
            f"{registry} specifies a token service without TLS; no credentials are sent to it"
        )
    query = parse_qsl(realm.query, keep_blank_values=True)
    if challenge["service"]:
        query.append(("service", challenge["service"] or ""))
    query += [("scope", entry) for entry in (scope or "").split()]
    return realm._replace(query=urlencode(query), fragment="").geturl()
