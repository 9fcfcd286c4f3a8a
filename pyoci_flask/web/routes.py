"""Routes requests below the server's root, and names their operations for traces and metrics."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from flask import request
from werkzeug.routing import Rule

from pyoci_flask.errors import PyOCIError
from pyoci_flask.web.address import Base
from pyoci_flask.web.incoming import sent_path
from pyoci_flask.web.services import services

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

OPERATION = "pyoci.operation"
"""Key of the WSGI environ. The value is the `Operation` of the request, if it has one."""

_INDEX = "index."
_CHANGES = {"DELETE": "delete", "PATCH": "yank"}


class Mount:
    """WSGI middleware for the sub-path of `PYOCI_PATH` and for the paths that stay at the root."""

    def __init__(
        self,
        app: "WSGIApplication",
        prefix: str,
        registry: "WSGIApplication | None",
        *,
        metrics: bool = False,
    ) -> None:
        """Serve `app` below `prefix` ("" or "/acme") and `registry` at `/v2/`.

        `/health` stays at the root, and so does `/metrics` if `metrics` is true.
        """
        self._app = app
        self._prefix = prefix
        self._registry = registry
        self._at_root = ("/health", "/metrics") if metrics else ("/health",)

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Pass the request on (PEP 3333)."""
        path = environ.get("PATH_INFO", "")
        if self._registry is not None and _is_below_v2(environ):
            return self._registry(environ, start_response)
        if self._prefix and path not in self._at_root:
            if path == self._prefix or path.startswith(f"{self._prefix}/"):
                environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + self._prefix
                environ["PATH_INFO"] = path[len(self._prefix) :] or "/"
            else:
                # Nothing is served outside of the sub-path, whatever the path looks like.
                environ["PATH_INFO"] = "/.outside"
        return self._app(environ, start_response)


def _is_below_v2(environ: "WSGIEnvironment") -> bool:
    """Return whether both the sent and the decoded path belong to the embedded registry.

    For a browser, `/v2` and `/v2%2F` are in the folder `/`, so it would send a password for them to
    every path of the server.
    """
    path = environ.get("PATH_INFO", "")
    sent = sent_path(environ)
    return all(one.startswith("/v2/") for one in (path, path if sent is None else sent))


@dataclass(frozen=True, slots=True)
class Operation:
    """The operation that a request asks for, such as `download`, and the pattern of its path.

    There are only a few names and patterns, whatever the paths of requests are.
    """

    name: str
    route: str


def name_operation() -> None:
    """Store the operation in the environ, and its route in the request.

    This is a function for `before_request`. A request has no operation if nothing is served at its
    path. Flask itself has only one route for all addresses of an index.
    """
    rule = request.url_rule
    if rule is None or "." not in rule.endpoint or OPERATION in request.environ:
        return  # traces and Prometheus both call this
    if rule.endpoint.startswith(_INDEX):
        with suppress(PyOCIError):
            found = _of_index(request.path)
            if found is not None:
                request.environ[OPERATION] = found
                request.url_rule = _rule(found.route, rule.endpoint)
        return
    blueprint, _, view = str(rule.endpoint).partition(".")
    name = view if view == "health" else blueprint
    request.environ[OPERATION] = Operation(name, rule.rule)


@lru_cache(maxsize=64)
def _rule(route: str, endpoint: str) -> Rule:
    return Rule(route, endpoint=endpoint)


def _of_index(path: str) -> Operation | None:
    method, addresses, sent = request.method, services().addresses, sent_path(request.environ)
    if method == "POST":
        place = addresses.publish(path, sent)
        return None if place is None else Operation("publish", f"{_base(place)}/")
    if method in _CHANGES:
        changed = addresses.change(path, sent)
        if changed is not None:
            return Operation(_CHANGES[method], _base(changed.base) + changed.route)
        return None
    address = addresses.read(path, sent)
    if address is None:
        return None
    name = "options" if method == "OPTIONS" else address.operation
    return Operation(name, _base(address.base) + address.route)


def _base(base: Base) -> str:
    return base.path if base.pinned else "/{registry}/{namespace}"
