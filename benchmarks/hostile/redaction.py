"""Paths and documents that are searched for secrets, and what PYOCI_INDEX keeps out."""

import http.client
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from werkzeug.wrappers import Request, Response

from benchmarks.hostile.attack import Attack, Target
from tests.doubles import wsgi_server
from tests.servers import LOOPBACK

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_INDEX = "application/vnd.oci.image.index.v1+json"
_VERSIONS = 3
_TYPE_SIZE = 48_000


def _get(target: Target, path: str) -> str:
    connection = http.client.HTTPConnection(LOOPBACK, target.port, timeout=120)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
    except TimeoutError:
        return "no answer in 120 s"
    finally:
        connection.close()
    return str(answer.status)


def _long_paths(target: Target) -> str:
    path = "/" + "=a:" * 2600 + "@"
    return ", ".join(sorted({_get(target, path) for _ in range(20)}))


def _registry(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    """Every repository holds a few versions, each of them an index of a very long type."""
    request = Request(environ)
    if request.path.endswith("/tags/list"):
        tags = {"name": "team/x", "tags": [f"1.{number}" for number in range(_VERSIONS)]}
        return Response(json.dumps(tags), content_type="application/json")(environ, start)
    document = {
        "schemaVersion": 2,
        "mediaType": _INDEX,
        "artifactType": "=a:" * (_TYPE_SIZE // 3) + " @",
        "manifests": [],
    }
    return Response(json.dumps(document), content_type=_INDEX)(environ, start)


def _long_types(target: Target) -> str:
    with wsgi_server(_registry) as url:
        port = url.rpartition(":")[2]
        return _get(target, f"/http%3A%2F%2F127.0.0.1%3A{port}/team/x/")


ATTACKS = [
    Attack("11", "20 paths of 8 KB that look like userinfo", _long_paths),
    Attack("11", f"{_VERSIONS} versions with an `artifactType` of 48 KB", _long_types),
]
