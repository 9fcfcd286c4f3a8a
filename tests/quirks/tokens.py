"""Access control: Basic, or Bearer tokens of a token service, in the registry's own manner."""

import json
import secrets
from dataclasses import dataclass, field
from typing import Final

from werkzeug.wrappers import Request, Response

from tests.quirks.switches import Auth

OWNER: Final = ("owner", "owner-password")
READER: Final = ("reader", "reader-password")
STRANGER: Final = ("stranger", "stranger-password")
"""A user who is known to the registry, but has no rights."""
IDENTITY: Final = "owner-identity-token"
"""A refresh token of the owner."""

_ACTIONS = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}
_RIGHTS = {OWNER: frozenset({"pull", "push", "delete"}), READER: frozenset({"pull"})}
_EVERYWHERE = "*"


def refusal(status: int, code: str, message: str) -> Response:
    """Return an error object of the distribution specification."""
    body = json.dumps({"errors": [{"code": code, "message": message, "detail": None}]})
    return Response(body, status, content_type="application/json")


@dataclass(frozen=True, slots=True)
class Grant:
    """The rights of a token: a repository (or all of them), and the actions in it."""

    repository: str
    actions: frozenset[str]


@dataclass(slots=True)
class Tokens:
    """The access control of a registry, and its token service at `url`."""

    auth: Auth
    url: str = ""
    grants: dict[str, frozenset[Grant]] = field(default_factory=dict)
    asked: list[Request] = field(default_factory=list)
    """Every request to the token service."""

    def refuse(self, request: Request, repository: str) -> Response | None:
        """Refuse a call to the registry; return None if it may go on."""
        if self.auth.scheme == "none":
            return None
        action = _ACTIONS.get(request.method, "push")
        if self.auth.scheme == "basic":
            return self._refuse_basic(request, action)
        sent = request.headers.get("Authorization", "")
        kind, _, token = sent.partition(" ")
        granted = self.grants.get(token) if kind == "Bearer" else None
        if granted is not None and self._opens(granted, repository, action):
            return None
        if granted is None or self.auth.denied == 401:
            return self._challenge(repository, action, denied=bool(sent))
        return refusal(self.auth.denied, "DENIED", "requested access to the resource is denied")

    def may_push(self, request: Request, repository: str) -> bool:
        """Return whether the call has a token to push."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return self._opens(self.grants.get(token, frozenset()), repository, "push")

    def _refuse_basic(self, request: Request, action: str) -> Response | None:
        user = _user(request)
        if user is not None and user not in {OWNER, READER, STRANGER}:
            user = None
        if user is None:
            if self.auth.public and action == "pull":
                return None
            answer = refusal(401, "UNAUTHORIZED", "authentication required")
            answer.headers["WWW-Authenticate"] = self.auth.basic
            return answer
        if action in _RIGHTS.get(user, frozenset()):
            return None
        return refusal(self.auth.denied, "DENIED", "not authorized")

    def _opens(self, granted: frozenset[Grant], repository: str, action: str) -> bool:
        wanted = {action}
        if action == "delete" and not self.auth.delete_scope:
            wanted.add("push")
        return any(
            grant.repository in {repository, _EVERYWHERE} and grant.actions & wanted
            for grant in granted
        )

    def _challenge(self, repository: str, action: str, *, denied: bool) -> Response:
        answer = refusal(401, "UNAUTHORIZED", "authentication required")
        if self.auth.mute:
            answer.headers["WWW-Authenticate"] = ""
            return answer
        if denied and self.auth.basic_when_denied:
            answer.headers["WWW-Authenticate"] = 'Basic realm="harbor"'
            return answer
        realm = "/token" if self.auth.realm == "relative" else f"{self.url}/token"
        if self.auth.realm_query:
            realm += f"?{self.auth.realm_query}"
        parameters = {"realm": realm}
        if self.auth.service is not None:
            parameters["service"] = self.auth.service
        scope = self._scope(repository, action)
        if scope is not None:
            parameters["scope"] = scope
        quote = '"' if self.auth.quoted else ""
        # A scope contains a comma if it names two actions; that one is always quoted.
        words = ",".join(
            f'{name}="{value}"' if {",", " "} & set(value) else f"{name}={quote}{value}{quote}"
            for name, value in parameters.items()
        )
        text = f"{self.auth.bearer} {words}"
        if self.auth.second == "same header":
            text = f"{self.auth.basic}, {text}"
        answer.headers["WWW-Authenticate"] = text
        if self.auth.second == "own header":
            answer.headers.add("WWW-Authenticate", self.auth.basic)
        return answer

    def _scope(self, repository: str, action: str) -> str | None:
        if self.auth.scope == "none":
            return None
        if self.auth.scope == "opaque":
            return "aws"
        if self.auth.scope == "level":
            return "read" if action == "pull" else "write"
        if action == "delete" and not self.auth.delete_scope:
            action = "push"
        scope = f"repository:{repository}:{'pull,push' if action == 'push' else action}"
        return f"{scope} registry:ping:pull" if self.auth.scope == "two" else scope

    def answer(self, request: Request) -> Response:
        """Answer as the token service."""
        self.asked.append(request)
        if request.method == "POST" and self.auth.refresh:
            return self._answer_refresh(request)
        if request.method != "GET":
            return Response("POST is not for this", 401)
        user = _user(request)
        if "Authorization" in request.headers and user not in {OWNER, READER, STRANGER}:
            return refusal(401, "UNAUTHORIZED", "incorrect username or password")
        query = request.query_string.decode()
        if self.auth.realm_query not in query:
            return refusal(400, "UNSUPPORTED", "the realm has a query")
        if self.auth.service is not None and request.args.get("service") != self.auth.service:
            return refusal(400, "UNSUPPORTED", "this is not my service")
        return self._answer_scopes(user, request.args.getlist("scope"))

    def _answer_refresh(self, request: Request) -> Response:
        """Answer "Oauth2 Token Authentication" of distribution: one scope, in a form."""
        form = request.form.to_dict(flat=False)
        token, scopes = form.pop("refresh_token", []), form.pop("scope", [""])
        expected = {"grant_type": ["refresh_token"], "client_id": ["pyoci-flask"]}
        if self.auth.service is not None:
            expected["service"] = [self.auth.service]
        if "Authorization" in request.headers or form != expected or len(scopes) != 1:
            return refusal(400, "UNSUPPORTED", "not a request for a token")
        if token != [IDENTITY]:
            return refusal(401, "UNAUTHORIZED", "the refresh token has expired")
        return self._answer_scopes(OWNER, scopes[0].split())

    def _answer_scopes(self, user: tuple[str, str] | None, scopes: list[str]) -> Response:
        if not self.auth.knows_delete and any("delete" in scope for scope in scopes):
            return refusal(400, "UNSUPPORTED", "unknown action delete")
        own = {"aws", "read", "write"} & set(scopes)
        if self.auth.refuses_challenge_scope and own:
            return refusal(403, "DENIED", "no such scope for you")
        rights = _RIGHTS.get(user, frozenset()) if user else frozenset()
        if self.auth.public:
            rights |= {"pull"}
        granted = frozenset(_grants(scopes, rights))
        if not granted and self.auth.nothing_granted != 200:
            return refusal(
                self.auth.nothing_granted, "DENIED", "permission denied (or it may not exist)"
            )
        token = secrets.token_urlsafe(16)
        self.grants[token] = granted
        document: dict[str, object] = dict.fromkeys(self.auth.members, token)
        if self.auth.expires_in is not None:
            document["expires_in"] = self.auth.expires_in
        return Response(json.dumps(document), content_type="application/json")


def _grants(scopes: list[str], rights: frozenset[str]) -> list[Grant]:
    found = []
    for scope in scopes:
        repository, wanted = _EVERYWHERE, frozenset({"pull", "push", "delete"})
        if scope.startswith("repository:"):
            _, repository, actions = scope.split(":")
            wanted = frozenset(actions.split(","))
        elif scope == "read":
            wanted = frozenset({"pull"})
        elif scope not in {"aws", "write"}:
            continue
        if wanted & rights:
            found.append(Grant(repository, wanted & rights))
    return found


def _user(request: Request) -> tuple[str, str] | None:
    sent = request.authorization
    if sent is None or sent.type != "basic":
        return None
    return sent.username or "", sent.password or ""
