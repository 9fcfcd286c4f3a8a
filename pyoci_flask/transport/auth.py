"""Authentication towards registries (docker token authentication, RFC 7617, RFC 6750).

The caller's credentials are exchanged for a Bearer token where the registry asks for one and
sent as Basic where it asks for that. Tokens live in this worker's memory until they expire,
under a key that holds a keyed hash of the credentials, never across credentials.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pyoci_flask.common.memory import remember, shrink
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
from pyoci_flask.transport.credentials import BasicCredentials, BearerCredentials, Credentials
from pyoci_flask.transport.credentials import fingerprint as fingerprint_of
from pyoci_flask.transport.reply import Reply
from pyoci_flask.transport.session import Body, Transport
from pyoci_flask.transport.tokens import Grant, fetch_token

_REMEMBERED = 4096
_REMEMBERED_BYTES = 4 * 1024 * 1024
"""Of tokens; as many of challenges."""
_FLIGHT_PATIENCE = 40.0
"""Seconds to wait for another thread that fetches the same token: what its tries may take."""

_MOVED = (EgressError, RegistryError, RegistryUnreachableError, RegistryTimeoutError)
"""What comes of a token service that is gone, or is elsewhere now."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a call needs: access to a repository, or (with any name) to the registry's catalog."""

    repository: str
    access: Literal["pull", "push", "delete", "catalog"]

    def __str__(self) -> str:
        if self.access == "catalog":
            return "registry:catalog:*"
        # `delete` is asked for only in the words of the registry's own challenge: some token
        # services refuse the whole request for an action that they do not know.
        actions = "pull" if self.access == "pull" else "pull,push"
        return f"repository:{self.repository}:{actions}"


_Key = tuple[str, str, Scope]
"""Registry, fingerprint of the credentials, scope."""


class Authenticator:
    """Sends calls with whatever authorization the registry turns out to want."""

    def __init__(self, transport: Transport, clock: Callable[[], float] = time.monotonic) -> None:
        self._transport = transport
        self._clock = clock
        self._lock = threading.Lock()
        self._grants: OrderedDict[_Key, Grant] = OrderedDict()
        self._bearer: OrderedDict[str, Challenge] = OrderedDict()
        self._proven: OrderedDict[str, Challenge] = OrderedDict()
        self._basic: OrderedDict[str, bool] = OrderedDict()
        self._anonymous: OrderedDict[_Key, bool] = OrderedDict()
        """Whether the last call without credentials was answered for an anonymous token."""
        self._flights: dict[_Key, threading.Lock] = {}

    def send(
        self,
        method: str,
        url: str,
        *,
        registry: str,
        credentials: Credentials | None,
        scope: Scope,
        headers: Mapping[str, str],
        body: Body = None,
        length: int = 0,
        idempotent: bool = False,
        patience: float | None = None,
        refused: Reply | None = None,
    ) -> Reply:
        """Send the call; on 401 authenticate and send it again. A 401 returned is final.

        `refused` is the 401 to a first try that the caller made by itself.

        Raises:
            AuthenticationRequiredError: the token service wants credentials and there are none.
            DeniedError: the token service refuses the credentials.
        """

        def attempt(authorization: str | None) -> Reply:
            extra = {} if authorization is None else {"Authorization": authorization}
            return self._transport.send(
                method,
                url,
                registry=registry,
                headers={**headers, **extra},
                body=body,
                length=length,
                idempotent=idempotent,
                patience=patience,
            )

        key = (registry, fingerprint_of(credentials), scope)
        denied: PyOCIError | None = None
        if refused is None:
            prepared, denied = self._prepared(key, credentials)
            reply = attempt(prepared)
        else:
            reply = refused
        if reply.status == 401 and not isinstance(credentials, BearerCredentials):
            try:
                for answer in self._answers(reply, key, credentials, denied):
                    reply.close()
                    reply = attempt(answer)
                    if reply.status != 401:
                        break
            except BaseException:
                reply.close()
                raise
        if credentials is None and reply.status != 401:
            with self._lock:
                remember(self._anonymous, key, reply.authorization is not None, _REMEMBERED)
        return reply

    def wants_token(self, registry: str, scope: Scope) -> bool:
        """Tell whether the last answer without credentials about `scope` was to a token.

        With an anonymous token, private things are not seen. Calls that fail change nothing here.
        """
        with self._lock:
            return self._anonymous.get((registry, fingerprint_of(None), scope), False)

    def _known(self, key: _Key, credentials: Credentials | None) -> str | None:
        if isinstance(credentials, BearerCredentials):
            return credentials.header
        with self._lock:
            grant = self._grants.get(key)
            if grant is not None and grant.expires > self._clock():
                self._grants.move_to_end(key)
                return grant.header
            if isinstance(credentials, BasicCredentials) and key[0] in self._basic:
                return credentials.header
        return None

    def _prepared(
        self, key: _Key, credentials: Credentials | None
    ) -> tuple[str | None, PyOCIError | None]:
        """The authorization to begin with: what is known, or what the registry is known to want.

        A registry that gave a token for a repository's scope gives one for every repository, so
        the call that would only bring its 401 is left out. What is second is the token service's
        refusal, so that it need not be asked again.
        """
        known = self._known(key, credentials)
        with self._lock:
            challenge = self._proven.get(key[0])
        if known is not None or challenge is None or key[2].access not in {"pull", "push"}:
            return known, None
        try:
            return self._new_token(key, challenge, str(key[2]), credentials, {None}), None
        except (DeniedError, AuthenticationRequiredError) as error:
            # Its own challenge may ask for another scope, and what is public needs none.
            return None, error
        except (EgressError, RegistryError, RegistryUnreachableError):
            return None, None  # the next 401 tells where it is now

    def _flight(self, key: _Key) -> threading.Lock:
        """One authentication per key at a time: 100 parallel calls fetch one token."""
        with self._lock:
            if len(self._flights) > _REMEMBERED:
                self._flights = {k: lock for k, lock in self._flights.items() if lock.locked()}
            return self._flights.setdefault(key, threading.Lock())

    def _answers(
        self,
        reply: Reply,
        key: _Key,
        credentials: Credentials | None,
        denied: PyOCIError | None,
    ) -> Iterator[str]:
        """Yield the Authorization headers to try, best first."""
        challenges = self._challenges(reply, key[0])
        bearer = next((c for c in challenges if c.scheme == "bearer" and c["realm"]), None)
        with self._lock:
            if bearer is not None:
                self._keep(self._bearer, key[0], bearer)
            elif (reply.authorization or "").startswith("Bearer "):
                # Harbor answers an expired Bearer token with a Basic challenge.
                bearer = self._bearer.get(key[0])
        if bearer is not None:
            yield from self._bearer_answers(bearer, key, credentials, reply.authorization, denied)
        elif any(c.scheme == "basic" for c in challenges):
            self._forget(key)
            with self._lock:
                remember(self._basic, key[0], True, _REMEMBERED)
            if credentials is not None and reply.authorization != credentials.header:
                yield credentials.header

    def _challenges(self, reply: Reply, registry: str) -> tuple[Challenge, ...]:
        """Read the challenges of a 401; where it has none, those of the API's root."""
        text = reply.headers.get("WWW-Authenticate")
        if text is None:
            with self._root(registry) as root:
                text = root.headers.get("WWW-Authenticate", "") if root.status == 401 else ""
        return parse_challenges(text)

    def _root(self, registry: str) -> Reply:
        """Ask for the root of the API, where a registry says what it wants (distribution-spec)."""
        return self._transport.send(
            "GET", f"{registry}/v2/", registry=registry, headers={}, idempotent=True
        )

    def asks(self, registry: str) -> bool:
        """Tell whether a registry asks for credentials; True unless it shows that it does not."""
        with self._lock:
            if registry in self._bearer or registry in self._basic:
                return True
        try:
            with self._root(registry) as root:
                return root.status != 200
        except PyOCIError:
            return True

    def _bearer_answers(
        self,
        challenge: Challenge,
        key: _Key,
        credentials: Credentials | None,
        sent: str | None,
        denied: PyOCIError | None,
    ) -> Iterator[str]:
        fresher = self._fresher(key, credentials, sent)
        if fresher is not None:
            # Another thread authenticated while this one's call was under way.
            yield fresher
        tried = {sent, fresher}
        refused = denied
        for wanted in dict.fromkeys([challenge["scope"], str(key[2])]):
            if denied is not None and wanted == str(key[2]):
                continue
            try:
                yield self._new_token(key, challenge, wanted, credentials, tried)
            except (DeniedError, AuthenticationRequiredError) as error:
                # Some token services refuse the scope of their own registry's challenge.
                refused = refused or error
                continue
            refused = None
        if refused is not None:
            with self._lock:
                self._grants.pop(key, None)
            raise refused

    def _keep(
        self, memory: OrderedDict[str, Challenge], registry: str, challenge: Challenge
    ) -> None:
        remember(memory, registry, challenge, _REMEMBERED)
        shrink(memory, lambda one: one.size, _REMEMBERED_BYTES)

    def _forget(self, key: _Key) -> None:
        """Let the registry say anew what it wants: it may have changed."""
        with self._lock:
            self._bearer.pop(key[0], None)
            self._proven.pop(key[0], None)
            self._grants.pop(key, None)

    def _fresher(self, key: _Key, credentials: Credentials | None, sent: str | None) -> str | None:
        known = self._known(key, credentials)
        return known if known != sent else None

    def _new_token(
        self,
        key: _Key,
        challenge: Challenge,
        wanted: str | None,
        credentials: Credentials | None,
        tried: set[str | None],
    ) -> str:
        """Fetch a token, unless another thread did so while this one waited for its turn.

        Only the token service is asked under the lock: the calls themselves go side by side.
        """
        flight = self._flight(key)
        if not flight.acquire(timeout=_FLIGHT_PATIENCE):
            raise BusyError(f"the token service of {key[0]} is slow to answer; try again")
        try:
            with self._lock:
                known = self._grants.get(key)
            if (
                known is not None
                and known.scope == wanted
                and known.header not in tried
                and known.expires > self._clock()
            ):
                return known.header
            grant = fetch_token(
                self._transport, self._clock, key[0], challenge, wanted, credentials
            )
            with self._lock:
                now = self._clock()
                for old in [known for known, one in self._grants.items() if one.expires <= now]:
                    del self._grants[old]
                remember(self._grants, key, grant, _REMEMBERED)
                shrink(self._grants, lambda one: one.size, _REMEMBERED_BYTES)
                # Scopes may be opaque; then only the registry's own challenge can name the next.
                if (wanted or "").startswith(f"repository:{key[2].repository}:"):
                    self._keep(self._proven, key[0], challenge)
        except _MOVED:
            self._forget(key)
            raise
        finally:
            flight.release()
        tried.add(grant.header)
        return grant.header
