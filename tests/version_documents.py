"""A registry of image indexes whose only peculiarity is the size of its responses."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from werkzeug.wrappers import Request, Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass(slots=True)
class Documents:
    """A registry at which every repository has these tags."""

    tags: Mapping[str, bytes]
    asked: list[str] = field(default_factory=list)
    """Tags whose manifests were read."""

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        """Answer a call."""
        return self._answer(Request(environ))(environ, start)

    def _answer(self, request: Request) -> "WSGIApplication":
        if request.path.endswith("/tags/list"):
            body = json.dumps({"tags": list(self.tags)})
            return Response(body, content_type="application/json")
        tag = request.path.rpartition("/")[2]
        if "/manifests/" not in request.path or tag not in self.tags:
            return Response("", 404)
        self.asked.append(tag)
        return Response(self.tags[tag], content_type=_INDEX)


def file_entry(number: int, text: str = "") -> str:
    """Return an index entry of a wheel, with a long text if one is given."""
    members = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": f"sha256:{hashlib.sha256(str(number).encode()).hexdigest()}",
        "size": 1,
        "platform": {"architecture": f"py3-none-a{number}.whl", "os": "any"},
    }
    notes = {"annotations": {"com.pyoci.requires_python": text}} if text else {}
    return json.dumps({**members, **notes})


def other_entry(number: int) -> str:
    """Return an index entry that is not a file of a package."""
    return json.dumps({"mediaType": "a/b", "digest": f"sha256:{number:064x}", "size": 1})


def image_index(entries: Iterable[str], more: str = "", kind: str = "pyoci.package.v1") -> bytes:
    """Return an image index of entries as JSON, with further members `more`."""
    return (
        f'{{"schemaVersion":2,"mediaType":"{_INDEX}","artifactType":"application/{kind}",'
        f'"manifests":[{",".join(entries)}]{more}}}'
    ).encode()
