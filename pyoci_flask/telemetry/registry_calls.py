"""What a call to a registry is for, told from its method and path (OCI distribution spec 1.1)."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_NAME = "/v2/{name}/"


@dataclass(frozen=True, slots=True)
class RegistryOperation:
    """`read manifest`, and the pattern of its address."""

    name: str
    template: str


_TOKEN_QUERY = re.compile(r"(?:^|&)(?:service|scope)=")
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
    """Return what a request to a registry is for; None if its address is no registry's."""
    for pattern, template, names in _ADDRESSES:
        if method in names and pattern.fullmatch(path):
            return RegistryOperation(names[method], template)
    return None


def call_purpose(method: str, url: str) -> tuple[str, str | None]:
    """Return what a call is for, and the pattern of its address if it has one.

    A registry also leads to its token service and to its storage, whose addresses are its own
    affair.
    """
    parts = urlsplit(url)
    operation = registry_operation(method, parts.path)
    if operation is not None:
        return operation.name, operation.template
    if _TOKEN_QUERY.search(parts.query) or parts.path.endswith("/token"):
        return "get token", None
    stored = method in {"GET", "HEAD"} and not parts.path.startswith("/v2/")
    return ("read from storage" if stored else "other"), None
