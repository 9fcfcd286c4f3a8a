"""The registry: its rules for every call, and the same as a WSGI application.

Distribution specification, section Endpoints.
"""

import errno
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from werkzeug.wrappers import Request, Response

from pyoci_flask.common.cross_site import is_cross_site
from pyoci_flask.common.outlet import OUTLET
from pyoci_flask.registry import blobs, manifests
from pyoci_flask.registry.call import Answer, Call
from pyoci_flask.registry.errors import (
    DistributionError,
    denied,
    unforeseen,
)
from pyoci_flask.registry.layout_index import DamagedIndexError
from pyoci_flask.registry.names import parse_name
from pyoci_flask.registry.storage import Storage
from pyoci_flask.registry.users import Access

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

logger = logging.getLogger(__name__)

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SAFE = frozenset({"GET", "HEAD"})
_WITHOUT_BODY = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class _Route:
    """An address and the handler of each method. The handler of GET serves HEAD as well."""

    path: re.Pattern[str]
    handlers: Mapping[str, Callable[..., Answer]]


class EmbeddedRegistry:
    """An OCI registry that stores everything in a folder and is served below `/v2/`."""

    def __init__(
        self,
        storage: Path,
        users: Path | None,
        *,
        prepare: bool = True,
        public_url: str | None = None,
    ) -> None:
        self._access = Access(users)
        self._public_url = public_url
        self._storage = Storage(storage)
        if prepare:
            self._access.check_file()
            self._storage.make()
        self._routes = _routes(self._storage)

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Respond to a request (PEP 3333)."""
        answer = self.answer(_call(environ))
        response = Response(status=answer.status, headers=answer.headers)
        if isinstance(answer.body, bytes):
            response.response = [answer.body]
        else:
            file, start, length = answer.body
            response.response = blobs.BlobBody(file, start, start + length, environ.get(OUTLET))
        return response(environ, start_response)

    def answer(self, call: Call) -> Answer:
        """Respond to a call. Errors are responses as well."""
        answer = self._answer(call)
        answer.headers |= {
            "Docker-Distribution-Api-Version": "registry/2.0",
            "X-Content-Type-Options": "nosniff",
            # A shared cache must not give one user's content to another.
            "Cache-Control": "private, no-cache" if answer.status < 400 else "no-store",
            "Vary": "Authorization",
        }
        if isinstance(answer.body, bytes) and answer.status not in _WITHOUT_BODY:
            answer.headers.setdefault("Content-Length", str(len(answer.body)))
        if call.method == "HEAD":
            answer.body = b""
        return answer

    def _answer(self, call: Call) -> Answer:
        try:
            return self._dispatch(call)
        except DistributionError as error:
            return error.answer()
        except (OSError, DamagedIndexError) as error:
            return _storage_fault(call, error).answer()
        except Exception:
            logger.exception("%s %s failed", call.method, call.path)
            return unforeseen("the registry failed").answer()

    def _dispatch(self, call: Call) -> Answer:
        self._access.check(call)
        if call.method not in _SAFE and is_cross_site(call, self._public_url):
            raise denied("the request was sent by another site's page")
        handler, found = _find(self._routes, call)
        arguments: dict[str, object] = dict(found)
        if "name" in arguments:
            name = parse_name(found["name"])
            del arguments["name"]
            arguments["layout"] = self._storage.layout(name)
        answer: Answer = handler(call, **arguments)
        return answer


def _routes(storage: Storage) -> tuple[_Route, ...]:
    """Return what is served. The addresses that are called most often come first."""
    uploads = blobs.UploadEndpoints(storage)
    name = "/v2/(?P<name>[^/].*?)"
    return (
        _Route(
            re.compile(f"{name}/manifests/(?P<reference>[^/]+)"),
            {
                "GET": manifests.get_manifest,
                "PUT": manifests.put_manifest,
                "DELETE": manifests.delete_manifest,
            },
        ),
        _Route(re.compile(f"{name}/blobs/uploads/?"), {"POST": uploads.begin}),
        _Route(
            re.compile(f"{name}/blobs/(?P<digest>[^/]+)"),
            {"GET": blobs.get_blob, "DELETE": blobs.delete_blob},
        ),
        _Route(
            re.compile(f"{name}/blobs/uploads/(?P<upload>[^/]+)"),
            {
                "GET": uploads.status,
                "PATCH": uploads.append,
                "PUT": uploads.finish,
                "DELETE": uploads.cancel,
            },
        ),
        _Route(re.compile(f"{name}/tags/list"), {"GET": manifests.list_tags}),
        _Route(re.compile(f"{name}/referrers/(?P<digest>[^/]+)"), {"GET": manifests.get_referrers}),
        _Route(
            re.compile("/v2/_catalog"),
            {"GET": partial(manifests.list_repositories, storage=storage)},
        ),
        _Route(re.compile("/v2/?"), {"GET": _version}),
    )


def _find(routes: Iterable[_Route], call: Call) -> tuple[Callable[..., Answer], dict[str, str]]:
    """Return the handler of a call and its arguments.

    Raises `DistributionError`: NAME_UNKNOWN if nothing is at this address, UNSUPPORTED if the
    method is not supported there.
    """
    method = "GET" if call.method == "HEAD" else call.method
    allowed: set[str] = set()
    for route in routes:
        match = route.path.fullmatch(call.path)
        if match is None:
            continue
        if method in route.handlers:
            if call.is_websocket:
                raise DistributionError(400, "UNSUPPORTED", "this server has no websockets")
            return route.handlers[method], match.groupdict()
        allowed.update(route.handlers)
    if allowed:
        methods = sorted(allowed | ({"HEAD"} if "GET" in allowed else set()))
        raise DistributionError(
            405,
            "UNSUPPORTED",
            "this method is not supported here",
            headers={"Allow": ", ".join(methods)},
        )
    raise DistributionError(404, "NAME_UNKNOWN", "this server has nothing at this address")


def _call(environ: "WSGIEnvironment") -> Call:
    request = Request(environ)
    return Call(
        request.method,
        request.path,
        request.headers,
        request.stream,
        request.content_length,
        request.query_string.decode(errors="replace"),
        request.root_path,
        request.scheme,
    )


def _version(_call: Call) -> Answer:
    return Answer(200, {"Content-Type": "application/json"}, b"{}")


def _storage_fault(call: Call, error: OSError | DamagedIndexError) -> DistributionError:
    """Log a fault in one line; return an error for the client without paths of this machine."""
    if isinstance(error, DamagedIndexError):
        logger.error("%s %s failed: %s", call.method, call.path, error)
        return unforeseen(f"this repository is damaged: its {error}")
    if error.errno in _NO_ROOM:
        logger.warning("no room in the storage: %s", error.strerror)
        return unforeseen("the registry's storage is full", status=507)
    # An error without `strerror` is not from the operating system, so log its traceback.
    trace = None if error.strerror else error
    logger.error("%s %s failed: %s", call.method, call.path, error, exc_info=trace)
    return unforeseen(f"the registry's storage failed: {error.strerror or 'unknown reason'}")
