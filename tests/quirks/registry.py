"""The embedded registry behind a layer that imitates real registries."""

import contextlib
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request, Response

from pyoci_flask.registry import create_registry
from tests.doubles import wsgi_server
from tests.quirks.paging import list_tags
from tests.quirks.switches import Quirks
from tests.quirks.tokens import Tokens, refusal

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags)/(?P<rest>.+)")
_INDEX = "application/vnd.oci.image.index.v1+json"
_UNSUPPORTED = {400: "UNSUPPORTED", 404: "NOT_FOUND", 405: "UNSUPPORTED"}


@dataclass(slots=True)
class QuirkyRegistry:
    """A registry at `url` with a token service and a storage on their own ports."""

    inner: "WSGIApplication"
    quirks: Quirks
    tokens: Tokens
    url: str = ""
    store_url: str = ""
    made: set[str] = field(default_factory=set)
    """Repositories that were created there by hand."""
    calls: list[Request] = field(default_factory=list)
    stored: list[Request] = field(default_factory=list)
    """Every request to the storage."""
    _tags: dict[str, list[str]] = field(default_factory=dict)
    _children: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    _late: dict[str, list[Response]] = field(default_factory=dict)
    _throttled: "itertools.count[int]" = field(default_factory=itertools.count)
    _lost: "itertools.count[int]" = field(default_factory=itertools.count)
    _expired: "itertools.count[int]" = field(default_factory=itertools.count)
    _failed: "itertools.count[int]" = field(default_factory=itertools.count)

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        self.calls.append(request)
        answer = self._answer(request)
        if not self.quirks.digest_header:
            answer.headers.pop("Docker-Content-Digest", None)
        if self.quirks.html_errors and answer.status_code in {401, 403}:
            answer.set_data("<html><title>Error</title><p>That is an error.</html>")
            answer.content_type = "text/html; charset=UTF-8"
        if self.quirks.cookie:
            answer.headers["Set-Cookie"] = "sid=one-callers-session; Path=/; HttpOnly"
        return answer(environ, start)

    def storage(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        """Answer as the storage: a signed address is enough, but other credentials are refused."""
        request = Request(environ)
        self.stored.append(request)
        if "Authorization" in request.headers:
            return refusal(400, "InvalidArgument", "only one way of signing")(environ, start)
        return self._uploaded(request)(environ, start)

    def ask(self, method: str, path: str, body: bytes = b"", media_type: str = "") -> Response:
        """Call the registry itself, without its quirks."""
        builder = EnvironBuilder(
            method=method, path=path, data=body, content_type=media_type or None
        )
        try:
            return Response.from_app(self.inner, builder.get_environ(), buffered=True)
        finally:
            builder.close()

    def _answer(self, request: Request) -> Response:
        refused = self._impossible(request)
        if refused is not None:
            return refused
        match = _PATH.fullmatch(request.path)
        if match is None:
            return self._pass(request)
        name, kind, rest = match["name"], match["kind"], match["rest"]
        refused = self.tokens.refuse(request, name)
        if refused is not None:
            return refused
        unknown = self.ask("GET", f"/v2/{name}/tags/list").status_code == 404
        unknown = unknown or self.quirks.manifests.refuses_artifacts
        missing = self.quirks.auth.missing
        if unknown and missing != 404 and not self.tokens.may_push(request, name):
            return refusal(missing, "UNAUTHORIZED", "access to the resource is not authorized")
        if kind == "tags":
            return list_tags(request, self._known_tags(name), self.quirks.paging, unknown=unknown)
        if kind == "blobs":
            return self._blob(request, name, rest, unknown=unknown)
        match request.method:
            case "PUT":
                return self._put(request, name, rest)
            case "DELETE":
                return self._delete(request, name, rest)
        return self._get(request, rest)

    def _impossible(self, request: Request) -> Response | None:
        """Return what breaks on some registry, so that a client may not do it on any."""
        if self.quirks.cookie and "Cookie" in request.headers:
            return refusal(403, "DENIED", "CSRF token not found in request")
        if next(self._throttled) < self.quirks.throttled:
            answer = Response("Too Many Requests (HAP429).", 429, content_type="text/plain")
            answer.headers["Retry-After"] = self.quirks.retry_after
            return answer
        if request.method == "PATCH":
            return refusal(416, "BLOB_UPLOAD_INVALID", "chunks are not taken")
        if request.method in {"POST", "PUT", "DELETE"} and "Content-Length" not in request.headers:
            return Response("<html>Length Required</html>", 411, content_type="text/html")
        if request.method == "POST" and request.query_string:
            return refusal(405, "UNSUPPORTED", "neither mounts nor single requests")
        return None

    def _pass(self, request: Request) -> Response:
        return Response.from_app(self.inner, request.environ, buffered=True)

    def _known_tags(self, name: str) -> list[str]:
        """Return the existing ones, in the order in which they were pushed."""
        stored = json.loads(self.ask("GET", f"/v2/{name}/tags/list").get_data()).get("tags") or []
        seen = self._tags.get(name, [])
        return sorted(stored, key=lambda tag: seen.index(tag) if tag in seen else -1)

    def _blob(self, request: Request, name: str, rest: str, *, unknown: bool) -> Response:
        blobs = self.quirks.blobs
        if request.method == "POST":
            if blobs.premade and unknown and name not in self.made:
                return refusal(404, "NAME_UNKNOWN", "the repository does not exist")
            answer = self._pass(request)
            location = f"{_path(answer.headers['Location'])}{'?' if blobs.state else ''}"
            base = {"absolute": self.url, "elsewhere": self.store_url}.get(blobs.location, "")
            answer.headers["Location"] = f"{base}{location}{blobs.state}"
            answer.autocorrect_location_header = False
            if next(self._expired) < blobs.tokens_expire:
                self.tokens.grants.clear()
            return answer
        if request.method == "PUT":
            return self._uploaded(request)
        if request.method == "HEAD" and blobs.head != "yes":
            return refusal(int(blobs.head), "UNSUPPORTED", "not this way")
        answer = self._pass(request)
        if request.method == "GET" and answer.status_code in {200, 206} and blobs.redirect:
            target = f"{self.store_url}/v2/{name}/blobs/{rest}?X-Amz-Signature=a%2Bb"
            return Response("", blobs.redirect, {"Location": target})
        return answer

    def _uploaded(self, request: Request) -> Response:
        query = request.query_string.decode()
        if request.method == "PUT" and not query.startswith(self.quirks.blobs.state):
            return refusal(400, "BLOB_UPLOAD_INVALID", "the state was not sent back as it was")
        failing = self.quirks.blobs.failing
        if request.method == "PUT" and failing and next(self._failed) < failing:
            return refusal(503, "UNAVAILABLE", "come again")
        answer = self._pass(request)
        if request.method == "PUT" and answer.status_code == 201:
            answer.status_code = self.quirks.blobs.finished
            assert "digest" in parse_qs(query)
        return answer

    def _get(self, request: Request, reference: str) -> Response:
        late = self._late.get(request.path)
        if late:
            return late.pop()
        answer = self._pass(request)
        manifests = self.quirks.manifests
        if answer.status_code == 404 and ":" not in reference:
            answer = refusal(manifests.missing_tag, "MANIFEST_UNKNOWN", "no such manifest")
        accepted = request.headers.get("Accept", "")
        if manifests.accept_required and str(answer.headers.get("Content-Type")) not in accepted:
            return refusal(404, "MANIFEST_UNKNOWN", "OCI index found, but accept header lacks it")
        if manifests.type_parameter:
            answer.headers["Content-Type"] += "; charset=utf-8"
        return answer

    def _put(self, request: Request, name: str, reference: str) -> Response:
        manifests = self.quirks.manifests
        body, media_type = request.get_data(), request.headers["Content-Type"]
        document = json.loads(body)
        before = self.ask("GET", request.path)
        is_tag = ":" not in reference
        if manifests.refuses_artifacts and "artifactType" in document:
            return refusal(400, "MANIFEST_INVALID", "unknown media type in manifest")
        if is_tag and before.status_code == 200 and manifests.immutable:
            code = "TAG_INVALID" if manifests.immutable == 400 else "DENIED"
            return refusal(manifests.immutable, code, "The tag is immutable")
        if not is_tag and next(self._lost) < manifests.loses_children:
            return Response("", 201)
        fails = is_tag and manifests.failing != "no" and not next(self._failed)
        if fails and manifests.failing == "not written":
            return refusal(503, "UNAVAILABLE", "come again")
        answer = self.ask("PUT", request.path, body, media_type)
        if answer.status_code == 400 and b"MANIFEST_BLOB_UNKNOWN" in answer.get_data():
            return refusal(400, manifests.missing_child, "something that it names is not here")
        if answer.status_code == 201:
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            children = {entry["digest"] for entry in document.get("manifests", ())}
            if media_type == _INDEX:
                self._children[name, digest] = children
            if is_tag:
                seen = self._tags.setdefault(name, [])
                seen += [] if reference in seen else [reference]
                self._late[request.path] = [before] * manifests.lag
        return refusal(503, "UNAVAILABLE", "come again") if fails else answer

    def _delete(self, request: Request, name: str, reference: str) -> Response:
        deleting = self.quirks.deleting
        if ":" not in reference:
            if deleting.tag != 202:
                return refusal(deleting.tag, _UNSUPPORTED[deleting.tag], "no tag is deleted here")
            return self._pass(request)
        if deleting.digest != 202:
            return refusal(deleting.digest, _UNSUPPORTED[deleting.digest], "nothing is deleted")
        named_by = {
            parent
            for parent, children in self._children.items()
            if parent[0] == name and reference in children
        }
        if deleting.referenced is not None and named_by:
            return refusal(deleting.referenced, "DENIED", "it is referenced by an index")
        if deleting.dangling_tag and self._tagged(name, reference):
            return refusal(400, "GOOGLE_MANIFEST_DANGLING_TAG", "a tag still names it")
        answer = self._pass(request)
        if answer.status_code == 202:
            children = self._children.pop((name, reference), set())
            for child in children if deleting.cascades else ():
                self.ask("DELETE", f"/v2/{name}/manifests/{child}")
        return answer

    def _tagged(self, name: str, digest: str) -> bool:
        paths = (f"/v2/{name}/manifests/{tag}" for tag in self._known_tags(name))
        return any(
            self.ask("HEAD", path).headers["Docker-Content-Digest"] == digest for path in paths
        )


def _path(location: str) -> str:
    return "/" + location.split("/", 3)[3] if "://" in location else location


@contextlib.contextmanager
def quirky_registry(storage: Path, quirks: Quirks) -> Iterator[QuirkyRegistry]:
    """Serve a registry that keeps its content in `storage`, until the block ends."""
    tokens = Tokens(quirks.auth)
    registry = QuirkyRegistry(create_registry(storage), quirks, tokens)

    def at_home(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/token":
            return tokens.answer(Request(environ))(environ, start)
        return registry(environ, start)

    def elsewhere(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        return tokens.answer(Request(environ))(environ, start)

    with (
        wsgi_server(at_home) as registry.url,
        wsgi_server(elsewhere) as service,
        wsgi_server(registry.storage) as registry.store_url,
    ):
        tokens.url = service if quirks.auth.realm == "elsewhere" else registry.url
        yield registry
