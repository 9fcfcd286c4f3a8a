"""Limits the names and labels of spans and metrics, whatever clients and registries send."""

import re
import threading
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

KNOWN_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"}
)
_STATUSES = frozenset(HTTPStatus)
HOSTS_LIMIT = 100
"""The number of distinct registry hosts in the metrics of one worker."""
UNANSWERED_HOSTS_LIMIT = 10
"""The number of these hosts that may be added although they did not respond to their first call."""
OTHER_HOST = "_other"

# Seconds. The last boundaries are for downloads of large files.
BOUNDARIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


def known_method(method: str) -> str:
    """Return a method of RFC 9110 or 5789 unchanged, or `_OTHER` for any other text."""
    return method if method in KNOWN_METHODS else "_OTHER"


def is_known_status(status: int) -> bool:
    """Return whether HTTP defines a status. A registry can send any of nine hundred."""
    return status in _STATUSES


def status_label(status: int | None) -> str:
    """Return the status of a response as a label, or `error` if there was no response.

    A status that HTTP does not define counts as its class (`5xx`).
    """
    if status is None:
        return "error"
    return str(status) if is_known_status(status) else f"{status // 100}xx"


class Hosts:
    """Limits the hosts in the metrics of one process, first come, first served.

    If a server has no allow-list of registries, anyone can make it call any host. Names of hosts
    that do not respond are easy to invent, so only a few places are available to them. This is not
    a `Memory`, because a series lasts as long as the process, so no host may be replaced.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._unanswered = 0

    def label(self, host: str, *, answered: bool) -> str:
        """Return the host, or `OTHER_HOST` if there are too many."""
        with self._lock:
            if host in self._known:
                return host
            if len(self._known) >= HOSTS_LIMIT:
                return OTHER_HOST
            if not answered:
                if self._unanswered >= UNANSWERED_HOSTS_LIMIT:
                    return OTHER_HOST
                self._unanswered += 1
            self._known.add(host)
            return host


_NAME = "/v2/{name}/"


@dataclass(frozen=True, slots=True)
class RegistryOperation:
    """The purpose of a request to a registry, such as `read manifest`, and its URL template."""

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
    """Return the purpose of a request to a registry, or None for any other kind of address."""
    for pattern, template, names in _ADDRESSES:
        if method in names and pattern.fullmatch(path):
            return RegistryOperation(names[method], template)
    return None


def call_purpose(method: str, url: str) -> tuple[str, str | None]:
    """Return the purpose of a call, and its URL template if it has one.

    Calls also go to the registry's token service and storage, which can have any address.
    """
    parts = urlsplit(url)
    operation = registry_operation(method, parts.path)
    if operation is not None:
        return operation.name, operation.template
    if _TOKEN_QUERY.search(parts.query) or parts.path.endswith("/token"):
        return "get token", None
    stored = method in {"GET", "HEAD"} and not parts.path.startswith("/v2/")
    return ("read from storage" if stored else "other"), None
