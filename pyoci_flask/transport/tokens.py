"""Requests Bearer tokens from token services (Docker token authentication).

Basic credentials are sent with a GET. An identity token is sent with a POST, as a refresh token of
OAuth 2.0 (RFC 6749, section 6; distribution, "Oauth2 Token Authentication"). The address that a
registry states for its token service is checked before credentials are sent.
"""

import json
import re
from dataclasses import dataclass, field, replace
from urllib.parse import SplitResult, parse_qsl, urlencode

from pyoci_flask.common.url import usable_url
from pyoci_flask.errors import (
    AuthenticationRequiredError,
    DeniedError,
    PyOCIError,
    RateLimitedError,
    RegistryError,
)
from pyoci_flask.transport.challenge import Challenge
from pyoci_flask.transport.failures import LATER, SLOW_DOWN
from pyoci_flask.transport.request import Credentials, IdentityToken, Request
from pyoci_flask.transport.session import Transport, is_rate_limited, retry_after

_TOKEN = re.compile(r"[\x21-\x7e]+")
_ANSWER_LIMIT = 128 * 1024
_TOKEN_LIMIT = 16 * 1024
"""Characters of a token. No server accepts a longer header."""
_SHORTEST_LIFE = 60.0
_MARGIN = 5.0
_CLIENT = "pyoci-flask"
"""Names this program to a token service (RFC 6749, section 2.2)."""


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
    asking = _asking(request, challenge, scope)
    host = asking.host
    with transport.send(asking) as reply:
        if reply.status in {400, 401, 403}:
            raise _refusal(reply.status, request.credentials, host, scope)
        if is_rate_limited(reply):
            raise RateLimitedError(
                f"{host} asks to slow down", retry_after(reply), reply.status, advice=SLOW_DOWN
            )
        if reply.status != 200:
            raise RegistryError(
                f"the token service {host} answered {reply.status}",
                advice=LATER.format(host=host),
            )
        token, lifetime = _parsed(reply.read(_ANSWER_LIMIT), host)
    return Grant(f"Bearer {token}", lifetime, scope)


def _parsed(document: bytes, host: str) -> tuple[str, float]:
    """Return the token, and the number of seconds for which it is used."""
    try:
        answer = json.loads(document)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise RegistryError(
            f"the token service {host} did not return a JSON object", advice=_unusable(host)
        )
    token = answer.get("token") or answer.get("access_token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise RegistryError(
            f"the token service {host} did not return a usable token", advice=_unusable(host)
        )
    if len(token) > _TOKEN_LIMIT:
        raise RegistryError(
            f"the token service {host} returned a token of {len(token)} characters; a token can be "
            f"at most {_TOKEN_LIMIT} characters long",
            advice=_unusable(host),
        )
    life = answer.get("expires_in")
    if not isinstance(life, int | float) or isinstance(life, bool) or not 0 < life < 1e9:
        life = _SHORTEST_LIFE
    return token, max(_SHORTEST_LIFE, float(life)) - _MARGIN


def _unusable(host: str) -> str:
    return f"Ask the administrator of {host} to check its token service"


def _asking(request: Request, challenge: Challenge, scope: str | None) -> Request:
    """Return the request for a token, with the caller's credentials."""
    realm, credentials = _realm(request.registry, challenge), request.credentials
    service, scopes = challenge["service"], (scope or "").split()
    asking = Request(
        "GET",
        realm.geturl(),
        request.registry,
        idempotent=True,
        may_be_private=False,
        may_wait=request.may_wait,
    )
    if isinstance(credentials, IdentityToken):
        form = [("grant_type", "refresh_token"), ("client_id", _CLIENT)]
        form += [("service", service)] if service else []
        form += [("scope", " ".join(scopes))] if scopes else []
        form.append(("refresh_token", credentials.token))
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return replace(asking, method="POST", headers=headers, body=urlencode(form).encode())
    query = parse_qsl(realm.query, keep_blank_values=True)
    query += [("service", service)] if service else []
    query += [("scope", entry) for entry in scopes]
    asking = replace(asking, url=realm._replace(query=urlencode(query)).geturl())
    return asking.authorized(None if credentials is None else credentials.header)


def _refusal(
    status: int, credentials: Credentials | None, host: str, scope: str | None
) -> PyOCIError:
    if credentials is None:
        return AuthenticationRequiredError(
            f"{host} requires a user name and password",
            advice="Sign in with the user name and a token of your account at the registry",
        )
    access = f", or {'it gives' if isinstance(credentials, IdentityToken) else 'they give'} no "
    access = f"{access}access to {scope}" if scope else ""
    status = 403 if status == 403 else 401
    if isinstance(credentials, IdentityToken):
        return DeniedError(
            f"{host} refuses the identity token of this login{access}: it may have expired, so log "
            "in again",
            status,
            advice="Log in to the registry again",
        )
    return DeniedError(
        f"{host} refuses these credentials{access}: "
        "check user name, token and the token's permissions",
        status,
        advice="Check the user name and the token, and what the token permits",
    )


def _realm(registry: str, challenge: Challenge) -> SplitResult:
    """Return the address of the token service, if it is one for credentials."""
    realm = usable_url(challenge["realm"] or "", f"{registry}/v2/")
    if realm is None or realm.username is not None:
        raise RegistryError(
            f"{registry} specifies an unusable address for its token service",
            advice=_unusable(registry),
        )
    if realm.scheme == "http" and registry.startswith("https:"):
        raise RegistryError(
            f"{registry} specifies a token service without TLS; no credentials are sent to it",
            advice=_unusable(registry),
        )
    return realm._replace(fragment="")
