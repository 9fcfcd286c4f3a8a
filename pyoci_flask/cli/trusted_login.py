"""The registry that the URL of a trusted server names, and the login for it.

The server forwards a login to the registry that the URL names. A URL that the server reads in
another way than this module would send the login to another registry. So this module accepts only
the usual forms of what `web/paths.py` accepts, and finds no login for any other URL. It does not
import the parser of the server, because the key ring must start quickly.
"""

import re
from collections.abc import Iterable
from urllib.parse import unquote

from pyoci_flask.cli.login import FoundLogin, login_for_registry
from pyoci_flask.cli.trust import Pair, read_pairs, trust_file
from pyoci_flask.common.grammar import is_repository_name
from pyoci_flask.oci.reference import Registry

_OWN_INDEX = frozenset({"simple", "pypi"})
"""The first segments of the server's own index, which is in a registry of its choice."""
_URL = re.compile(r"(https?)://([a-z0-9.:\[\]_-]+)(/[A-Za-z0-9._~+:/%\[\]-]*)")
"""No user name, query, fragment or backslash, and the host in lower case."""
_SEGMENT = r"[A-Za-z0-9_+-][A-Za-z0-9._~+-]*"
_BELOW = re.compile(rf"(?:{_SEGMENT}/)*(?:{_SEGMENT})?")
"""A path without empty segments, `..` and percent-encoding, which proxies and servers change."""
_PEP_503 = "+simple"


def find_trusted_login(url: str) -> FoundLogin | None:
    """Return the login for the registry that `url` names, if its server is trusted with it.

    Raises:
        ConfigurationError: the list of trusted servers cannot be read.
        LoginError: a file of logins cannot be parsed, or a credential helper fails.
    """
    named = trusted_registry(url, read_pairs(trust_file()))
    return None if named is None else login_for_registry(*named)


def trusted_registry(url: str, pairs: Iterable[Pair]) -> tuple[Registry, str] | None:
    """Return the registry that `url` names and the namespace, if a pair has both of its ends.

    The namespace may be longer than that of the index, because clients also ask for a project. It
    is empty for the server's own index (`/simple/`, `/pypi/`). The server chooses the registry of
    that index, so it is found only if the server is trusted with exactly one registry.

    The root of a server names no registry. Clients ask for it after the URL of an index, and would
    use the login for that index, which may be in any registry.
    """
    match = _URL.fullmatch(url)
    if match is None:
        return None
    scheme, authority, path = match.groups()
    origin = Registry.parse(f"{scheme}://{authority}", any_host=True)
    below = [
        one for one in pairs if one.server.origin == origin and path.startswith(one.server.path)
    ]
    if not below:
        return None
    # One server may be below another one. The longest sub-path is the one that answers.
    server = max((one.server for one in below), key=lambda one: len(one.path))
    registries = [one.registry for one in below if one.server == server]
    head, _, tail = path[len(server.path) :].partition("/")
    if head in _OWN_INDEX:
        usual = _BELOW.fullmatch(tail) is not None and len(registries) == 1
        return (registries[0], "") if usual else None
    named = _registry_and_namespace(unquote(head), tail)
    return named if named is not None and named[0] in registries else None


def _registry_and_namespace(text: str, tail: str) -> tuple[Registry, str] | None:
    """Read a path from its first segment, which is decoded, and what follows it."""
    if text.lower() in {"http:", "https:"}:
        # A proxy has decoded the slashes of the registry's URL, and perhaps merged them.
        authority, _, tail = tail.removeprefix("/").partition("/")
        text = f"{text}//{unquote(authority)}"
    registry = Registry.parse(text)
    if registry is None or not _BELOW.fullmatch(tail):
        return None
    segments = tail.rstrip("/").split("/")
    if _PEP_503 in segments:
        segments = segments[: segments.index(_PEP_503)]
    namespace = "/".join(segments).lower()
    return (registry, namespace) if is_repository_name(namespace) else None
