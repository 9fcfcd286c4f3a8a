"""What a call to a registry is for, told from its method and path (OCI distribution spec 1.1)."""

import re
from dataclasses import dataclass

_NAME = "/v2/{name}/"


@dataclass(frozen=True, slots=True)
class RegistryOperation:
    """`read manifest`, and the pattern of its address."""

    name: str
    template: str


_READ = {"GET": "read", "HEAD": "look up", "PUT": "write", "DELETE": "delete"}
_UPLOAD = {"GET": "ask about upload", "PATCH": "upload blob", "PUT": "finish upload"}
_ADDRESSES = (
    (re.compile(r"/v2/"), "/v2/", {"GET": "check registry", "HEAD": "check registry"}),
    (re.compile(r"/v2/_catalog"), "/v2/_catalog", {"GET": "list repositories"}),
    (re.compile(r"/v2/.+/tags/list"), f"{_NAME}tags/list", {"GET": "list tags"}),
    (
        re.compile(r"/v2/.+/manifests/[^/]+"),
        f"{_NAME}manifests/{{reference}}",
        {method: f"{verb} manifest" for method, verb in _READ.items()},
    ),
    (
        re.compile(r"/v2/.+/blobs/uploads/?"),
        f"{_NAME}blobs/uploads/",
        {"POST": "start upload"},
    ),
    (
        re.compile(r"/v2/.+/blobs/uploads/[^/]+"),
        f"{_NAME}blobs/uploads/{{session}}",
        {**_UPLOAD, "DELETE": "cancel upload"},
    ),
    (
        re.compile(r"/v2/.+/blobs/[^/]+"),
        f"{_NAME}blobs/{{digest}}",
        {method: f"{verb} blob" for method, verb in _READ.items()},
    ),
    (
        re.compile(r"/v2/.+/referrers/[^/]+"),
        f"{_NAME}referrers/{{digest}}",
        {"GET": "list referrers"},
    ),
)


def registry_operation(method: str, path: str) -> RegistryOperation | None:
    """Return what a call is for; None for a token service, a storage or an unknown address."""
    for pattern, template, names in _ADDRESSES:
        if method in names and pattern.fullmatch(path):
            return RegistryOperation(names[method], template)
    return None
