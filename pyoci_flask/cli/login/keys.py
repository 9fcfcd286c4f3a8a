"""The keys under which files keep logins: a registry, or a namespace in it."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

from pyoci_flask.common.url import DEFAULT_PORTS, usable_url
from pyoci_flask.oci.peculiarities import SAME_REGISTRY

DOCKER_HUB = "docker.io"
DOCKER_HUB_KEY = "https://index.docker.io/v1/"
"""The key with which Docker stores the login for Docker Hub, in files and in helpers."""
_API_PATHS = frozenset({"v1", "v2"})
"""Paths that `docker login` kept as a part of the key in the past."""
_LONGEST = 1000
"""Characters of a key. A host and the name of a repository have at most 255 each."""

_Value = TypeVar("_Value")


class Place(NamedTuple):
    """A registry, and the namespace in it, which is empty for the whole registry."""

    host: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.host}/{self.namespace}" if self.namespace else self.host

    def around(self) -> Iterator["Place"]:
        """Yield this place and the places that contain it, the smallest first."""
        namespace = self.namespace
        while namespace:
            yield Place(self.host, namespace)
            namespace = namespace.rpartition("/")[0]
        yield Place(self.host)


def host_of(url: str) -> str:
    """Return host and port of an http(s) URL, as `find_login` expects them.

    The port is omitted if it is that of https. So a login for `ghcr.io` is never sent over http,
    because `http://ghcr.io` is the host `ghcr.io:80`, and `http://ghcr.io:443` keeps its scheme.
    """
    parts = urlsplit(url)
    authority = parts.netloc.rpartition("@")[2].lower()
    has_port = not authority.endswith("]") and ":" in authority
    if not has_port and parts.scheme == "http":
        authority = f"{authority}:{DEFAULT_PORTS['http']}"
    if authority.endswith(f":{DEFAULT_PORTS['https']}"):
        if parts.scheme == "http":
            return f"http://{authority}"
        authority = authority.removesuffix(f":{DEFAULT_PORTS['https']}")
    return SAME_REGISTRY.get(authority, authority)


def place_of(key: str) -> Place | None:
    """Read a key, which may have a scheme, the path of an API or a slash at its end.

    Return None if the key contains a user name or is not an address.
    """
    text = key if key.lower().startswith(("http://", "https://")) else f"https://{key}"
    parts = usable_url(text) if len(text) <= _LONGEST else None
    if parts is None or parts.username is not None or parts.query or parts.fragment:
        return None
    path = parts.path.strip("/")
    return Place(host_of(text), "" if path in _API_PATHS else path)


def matching(entries: Mapping[str, _Value], place: Place) -> Iterator[tuple[Place, str, _Value]]:
    """Yield the entries for `place`: what each is for, its key and its value, best first.

    The entry for the smallest namespace is best (containers-auth.json(5)). Among several keys for
    the same place, one without a scheme and a path is best.
    """
    found: dict[Place, list[tuple[str, _Value]]] = {}
    for key, value in entries.items():
        meant = place_of(key)
        if meant is not None and meant.host == place.host:
            found.setdefault(meant, []).append((key, value))
    for wanted in place.around():
        for key, value in sorted(found.get(wanted, ()), key=lambda entry: entry[0] != str(wanted)):
            yield wanted, key, value
