"""Authentication to registries (Docker token authentication, RFC 7617, RFC 6750).

If a registry asks for a Bearer token, the caller's credentials are exchanged for one. If it asks
for Basic, they are sent as they are, except for an identity token. Tokens are kept in this worker's
memory until they expire. Their key contains a keyed hash of the credentials, so they are never used
for other credentials.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from pyoci_flask.common.memory import KeyedLocks, Memory
from pyoci_flask.errors import (
    AuthenticationRequiredError,
    BusyError,
    DeniedError,
    EgressError,
    PyOCIError,
    RegistryError,
    RegistryTimeoutError,
    RegistryUnreachableError,
)
from pyoci_flask.transport.challenge import Challenge, parse_challenges
from pyoci_flask.transport.reply import Reply
from pyoci_flask.transport.request import (
    BasicCredentials,
    BearerCredentials,
    IdentityToken,
    Request,
    Scope,
    fingerprint,
)
from pyoci_flask.transport.session import Transport
from pyoci_flask.transport.tokens import Grant, fetch_token

_ENTRIES = 4096
_BYTES = 4 * 1024 * 1024
"""Bounds of each memory."""
_PATIENCE = 40.0
"""Seconds that one fetch and its retries may take. A thread that has waited longer for others to
fetch the same token does not fetch it itself."""

_MOVED = (EgressError, RegistryError, RegistryUnreachableError, RegistryTimeoutError)
"""The errors that occur if a token service no longer exists or has moved to another address."""

_Key = tuple[str, str, Scope]
"""Registry, fingerprint of the credentials, scope."""


class Authenticator:
    """Sends calls with the authorization that the registry requires."""

    def __init__(self, transport: Transport, clock: Callable[[], float] = time.monotonic) -> None:
        self._transport = transport
        self._clock = clock
        self._grants: Memory[_Key, Grant] = Memory(
            entries=_ENTRIES, max_bytes=_BYTES, size=lambda grant: grant.size, clock=clock
        )
        self._last_bearer = _challenges()
        """The last Bearer challenge of each registry."""
        self._proven = _challenges()
        """For each registry, the challenge that led to a token for a repository's scope."""
        self._basic: Memory[str, bool] = Memory(entries=_ENTRIES, max_bytes=_BYTES)
        """The registries that asked for Basic credentials."""
        self._anonymous: Memory[_Key, bool] = Memory(entries=_ENTRIES, max_bytes=_BYTES)
        """Whether the last call without credentials that was allowed used an anonymous token."""
        self._fetching: KeyedLocks[_Key] = KeyedLocks()

    def send(self, request: Request, refused: Reply | None = None) -> Reply:
        """Send the call; after a 401, authenticate and send it again. A returned 401 is final.

        `refused` is the 401 response to a first attempt that the caller has already made.

        Raises:
            AuthenticationRequiredError: the token service requires credentials; there are none.
            DeniedError: the token service refuses the credentials.
        """
        if self._transport.is_mounted(request):
            return self._send_here(request, refused)
        key = request.registry, fingerprint(request.credentials), request.scope
        denied: PyOCIError | None = None
        if refused is None:
            first, denied = self._first(request, key)
            reply = self._transport.send(request.authorized(first))
        else:
            reply = refused
        if reply.status == 401 and not isinstance(request.credentials, BearerCredentials):
            try:
                for answer in self._answers(request, key, reply, denied):
                    reply.close()
                    reply = self._transport.send(request.authorized(answer))
                    if reply.status != 401:
                        break
            except BaseException:
                reply.close()
                raise
        if request.credentials is None and reply.status != 401:
            with_token = reply.authorization is not None
            if self._anonymous.get(key) is not with_token:
                self._anonymous.put(key, with_token)
        return reply

    def _send_here(self, request: Request, refused: Reply | None) -> Reply:
        """Call a registry in this process, which takes the caller's credentials as they are."""
        own = _as_they_are(request)
        if refused is not None:
            if own is None or refused.authorization == own:
                return refused
            refused.close()
        return self._transport.send(request.authorized(own))

    def wants_token(self, registry: str, scope: Scope) -> bool:
        """Return whether the last anonymous call for `scope` needed an anonymous token.

        An anonymous token does not show private content. Failed calls do not change the result.
        """
        return self._anonymous.get((registry, fingerprint(None), scope)) or False

    def was_challenged(self, registry: str) -> bool:
        """Return whether a registry has asked this worker for credentials or a token."""
        return registry in self._last_bearer or registry in self._basic

    def probe(self, registry: str, *, may_wait: bool = True) -> bool:
        """Return whether a registry asks for credentials, and call it if that is not known yet.

        The result is False only if the root of the API returns 200 without credentials.
        """
        if self.was_challenged(registry):
            return True
        with suppress(PyOCIError), self._root(registry, may_wait=may_wait) as root:
            return root.status != 200
        return True

    def _root(self, registry: str, *, may_wait: bool) -> Reply:
        """Call the API root. It states which authentication is required (distribution-spec)."""
        return self._transport.send(
            Request("GET", f"{registry}/v2/", registry, idempotent=True, may_wait=may_wait)
        )

    def _first(self, request: Request, key: _Key) -> tuple[str | None, PyOCIError | None]:
        """Return the authorization for the first attempt: a known one, or a token fetched now.

        A registry that issued a token for one repository's scope issues tokens for all of them, so
        the call that would only return a 401 is skipped. The second value is the error if the
        token service refused; then it need not be asked again.
        """
        known = self._known(request, key)
        challenge = self._proven.get(request.registry)
        if known is not None or challenge is None or request.scope.access not in {"pull", "push"}:
            return known, None
        try:
            return self._token(request, key, challenge, str(request.scope), {None}), None
        except (DeniedError, AuthenticationRequiredError) as error:
            # The registry's challenge may ask for another scope; public content needs no token.
            return None, error
        except (EgressError, RegistryError, RegistryUnreachableError):
            return None, None  # the next 401 contains the service's new address

    def _known(self, request: Request, key: _Key) -> str | None:
        if isinstance(request.credentials, BearerCredentials):
            return request.credentials.header
        grant = self._grants.get(key)
        if grant is not None:
            return grant.header
        if isinstance(request.credentials, BasicCredentials) and request.registry in self._basic:
            return request.credentials.header
        return None

    def _answers(
        self, request: Request, key: _Key, reply: Reply, denied: PyOCIError | None
    ) -> Iterator[str]:
        """Yield the Authorization headers to try after a 401, best first."""
        sent, registry = reply.authorization, request.registry
        text = reply.headers.get("WWW-Authenticate")
        if text is None:
            with self._root(registry, may_wait=request.may_wait) as root:
                text = root.headers.get("WWW-Authenticate", "") if root.status == 401 else ""
        challenges = parse_challenges(text)
        bearer = next((c for c in challenges if c.scheme == "bearer" and c["realm"]), None)
        if bearer is not None:
            self._last_bearer.put(registry, bearer)
        elif (sent or "").startswith("Bearer "):
            # Harbor responds to an expired Bearer token with a Basic challenge.
            bearer = self._last_bearer.get(registry)
        if bearer is not None:
            yield from self._bearer_answers(request, key, bearer, sent, denied)
        elif any(c.scheme == "basic" for c in challenges):
            self._forget(key)
            self._basic.put(registry, True)
            own = _as_they_are(request)
            if own is not None and sent != own:
                yield own

    def _bearer_answers(
        self,
        request: Request,
        key: _Key,
        challenge: Challenge,
        sent: str | None,
        denied: PyOCIError | None,
    ) -> Iterator[str]:
        known = self._known(request, key)
        if known is not None and known != sent:
            # Another thread authenticated while this thread's call was in progress.
            yield known
        tried = {sent, known}
        refused, own = denied, str(request.scope)
        for wanted in dict.fromkeys([challenge["scope"], own]):
            if denied is not None and wanted == own:
                continue
            try:
                yield self._token(request, key, challenge, wanted, tried)
            except (DeniedError, AuthenticationRequiredError) as error:
                # Some token services refuse the scope of their own registry's challenge.
                refused = refused or error
                continue
            refused = None
        if refused is not None:
            self._grants.remove(key)
            raise refused

    def _token(
        self,
        request: Request,
        key: _Key,
        challenge: Challenge,
        wanted: str | None,
        tried: set[str | None],
    ) -> str:
        """Fetch a token unless another thread fetched it while this thread was waiting.

        Only one thread at a time asks for a token, so 100 parallel calls fetch only one. The calls
        themselves are made in parallel.
        """
        limit = self._clock() + _PATIENCE
        with self._fetching.hold(key, _PATIENCE):
            grant = self._grants.get(key)
            if grant is None or grant.scope != wanted or grant.header in tried:
                if self._clock() >= limit:
                    raise BusyError(
                        f"the token service of {key[0]} is slow to answer",
                        advice="Try again in a few seconds",
                    )
                try:
                    grant = fetch_token(self._transport, request, challenge, wanted)
                except _MOVED:
                    self._forget(key)
                    raise
                self._grants.put(key, grant, ttl=grant.lifetime)
                # If scopes are opaque, only the registry's own challenge can state the next one.
                if (wanted or "").startswith(f"repository:{request.scope.repository}:"):
                    self._proven.put(request.registry, challenge)
                tried.add(grant.header)
        return grant.header

    def _forget(self, key: _Key) -> None:
        """Forget what a registry asked for, because this may have changed."""
        self._last_bearer.remove(key[0])
        self._proven.remove(key[0])
        self._grants.remove(key)


def _as_they_are(request: Request) -> str | None:
    """Return the caller's credentials for a registry that takes them without a token service.

    Raises:
        DeniedError: they are an identity token, which only a token service may get.
    """
    if isinstance(request.credentials, IdentityToken):
        raise DeniedError(
            f"{request.host} asks for a user name and password, but the login is an identity "
            "token, which only a token service takes: log in with a user name and password",
            401,
            advice=f"Log in to {request.host} with a user name and a password",
        )
    return None if request.credentials is None else request.credentials.header


def _challenges() -> Memory[str, Challenge]:
    return Memory(entries=_ENTRIES, max_bytes=_BYTES, size=lambda challenge: challenge.size)
