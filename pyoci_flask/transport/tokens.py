"""Token services: one request for one Bearer token (docker token authentication).

What a registry or its token service says is checked here before credentials are sent to it.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from pyoci_flask.errors import (
    AuthenticationRequiredError,
    DeniedError,
    RateLimitedError,
    RegistryError,
)
from pyoci_flask.transport.challenge import Challenge
from pyoci_flask.transport.credentials import Credentials
from pyoci_flask.transport.session import Transport, is_rate_limited

_TOKEN = re.compile(r"[\x21-\x7e]+")
_ANSWER_LIMIT = 128 * 1024
_TOKEN_LIMIT = 16 * 1024
"""Characters of a token: no server takes a header that is longer."""
_SHORTEST_LIFE = 60.0
_MARGIN = 5.0


@dataclass(frozen=True, slots=True)
class Grant:
    """A Bearer token as a header, and until when (on the caller's clock, seconds) it is good."""

    header: str = field(repr=False)
    expires: float
    scope: str | None
    """As it was asked for: the registry's challenge may name less than what a call needs."""

    @property
    def size(self) -> int:
        """Bytes that it counts in memory."""
        return 500 + len(self.header) + len(self.scope or "")


def fetch_token(
    transport: Transport,
    clock: Callable[[], float],
    registry: str,
    challenge: Challenge,
    scope: str | None,
    credentials: Credentials | None,
) -> Grant:
    """Ask the token service that `challenge` names for a token for `scope`.

    Raises:
        AuthenticationRequiredError: it wants credentials and there are none.
        DeniedError: it refuses the credentials.
        RateLimitedError: it asks to slow down.
        RegistryError: it answers anything else, or is no address to send credentials to.
    """
    url = _token_url(registry, challenge, scope)
    headers = {} if credentials is None else {"Authorization": credentials.header}
    with transport.send(
        "GET", url, registry=registry, headers=headers, idempotent=True, private=False
    ) as reply:
        host = urlsplit(url).netloc
        if reply.status in {400, 401, 403}:
            if credentials is None:
                raise AuthenticationRequiredError(f"{host} asks for a user name and password")
            status = 403 if reply.status == 403 else 401
            access = f", or they give no access to {scope}" if scope else ""
            raise DeniedError(
                f"{host} refuses these credentials{access}: "
                "check user name, token and the token's permissions",
                status,
            )
        if is_rate_limited(reply):
            raise RateLimitedError(
                f"{host} asks to slow down", reply.headers.get("Retry-After"), reply.status
            )
        if reply.status != 200:
            raise RegistryError(f"the token service {host} answered {reply.status}")
        token, life = _parsed(reply.read(_ANSWER_LIMIT), host)
    return Grant(f"Bearer {token}", clock() + life, scope)


def _parsed(document: bytes, host: str) -> tuple[str, float]:
    """The token, and for how many seconds it is used."""
    try:
        answer = json.loads(document)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise RegistryError(f"the token service {host} answered no JSON object")
    token = answer.get("token") or answer.get("access_token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise RegistryError(f"the token service {host} answered without a usable token")
    if len(token) > _TOKEN_LIMIT:
        raise RegistryError(
            f"the token service {host} answered with a token of {len(token)} characters; a token "
            f"has at most {_TOKEN_LIMIT}"
        )
    life = answer.get("expires_in")
    if not isinstance(life, int | float) or isinstance(life, bool) or not 0 < life < 1e9:
        life = _SHORTEST_LIFE
    return token, max(_SHORTEST_LIFE, float(life)) - _MARGIN


def _token_url(registry: str, challenge: Challenge, scope: str | None) -> str:
    """Build the token request: the realm's own query, the service, one scope an entry."""
    try:
        realm = urljoin(f"{registry}/v2/", challenge["realm"] or "")
        parts = urlsplit(realm)
        usable = bool(_TOKEN.fullmatch(realm) and parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.scheme not in {"http", "https"} or parts.username is not None:
        raise RegistryError(f"{registry} names a token service that is no address")
    if parts.scheme == "http" and registry.startswith("https:"):
        raise RegistryError(
            f"{registry} names a token service without TLS; no credentials are sent there"
        )
    query = parse_qsl(parts.query, keep_blank_values=True)
    if challenge["service"]:
        query.append(("service", challenge["service"] or ""))
    query += [("scope", entry) for entry in (scope or "").split()]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), ""))
