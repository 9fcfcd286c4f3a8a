"""Parses the paths of an index into addresses.

Flask's own routing cannot do this. The registry may be a URL whose slashes were decoded or merged
on the way, the namespace has any number of segments, and the response to a path without a registry
must not need any lookup.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from pyoci_flask.common.redaction import holds_userinfo, shown
from pyoci_flask.errors import EgressError, InvalidRequestError, NotFoundError
from pyoci_flask.index.names import (
    OTHER_SUFFIXES,
    Filename,
    ProjectName,
    after_name,
    is_filename,
    without_dash,
)
from pyoci_flask.oci.reference import EMBEDDED, Registry, Repository
from pyoci_flask.settings import Settings
from pyoci_flask.web.address import (
    PINNED,
    Base,
    ChangeAddress,
    FileAddress,
    JsonAddress,
    ListAddress,
    MetadataAddress,
    ProjectAddress,
    ReadAddress,
    VersionAddress,
)

_SIMPLE = "+simple"
_JSON = "pypi"
"""The first segment of the JSON API. Dependabot replaces a final `simple` with it."""
_METADATA = ".metadata"
_NOT_STORED = (
    *(".asc", ".sig", ".sigstore", ".provenance", ".publish.attestation"),
    *OTHER_SUFFIXES,
)
"""Suffixes of files that other indexes store and this one does not."""
_SHORT = 1000
"""Maximum length of the paths whose addresses are cached. Clients repeat the same few paths."""
_SCHEME = re.compile(r"(https?):/{1,2}([^/]+)(?:/(.*))?", re.IGNORECASE | re.DOTALL)
_SCHEME_START = re.compile(r"https?:/", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Path:
    registry: Registry
    segments: tuple[str, ...]
    slash: bool
    pinned: str | None = None
    """The namespace of the server's own index, if the path is below `/simple/` or `/pypi/`."""
    json: bool = False
    """Whether the path belongs to the JSON API of the server's own index (`/pypi/`)."""


class AddressParser:
    """Parses paths. The settings decide which registries are allowed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._read_once = lru_cache(maxsize=256)(self._read)

    def read(self, path: str, raw_path: str | None = None) -> ReadAddress | None:
        """Return the address that a GET or HEAD requests, or None if nothing is served there.

        `path` is the decoded path below the mount point. `raw_path` is the path as the client sent
        it, if the WSGI server provides it.
        """
        short = len(path) + len(raw_path or "") <= _SHORT
        return (self._read_once if short else self._read)(path, raw_path)

    def _read(self, path: str, raw_path: str | None) -> ReadAddress | None:
        found = self._split(path, raw_path)
        if found is None:
            return None
        if _SIMPLE in found.segments:
            position = found.segments.index(_SIMPLE)
            namespace, rest = found.segments[:position], found.segments[position + 1 :]
        elif found.pinned is not None:
            namespace, rest = (), found.segments
        else:
            namespace, rest = _usual_split(found.segments, slash=found.slash)
        base = self._base(found, namespace)
        if base is None:
            return None
        return _read_below(base, rest, found)

    def change(self, path: str, raw_path: str | None = None) -> ChangeAddress | None:
        """Return the file or version that a DELETE or PATCH changes, or None if there is none."""
        found = self._split(path, raw_path)
        if found is None or found.json or len(found.segments) < 2:
            return None
        *namespace, name, last = found.segments
        base = self._base(found, tuple(namespace))
        if base is None:
            return None
        project = ProjectName(name)
        if is_filename(last):
            return FileAddress(base, project, Filename.parse(last, project))
        if _is_metadata(last):
            raise InvalidRequestError(
                f"{shown(last)} is neither a file nor a version; it is deleted along "
                "with its wheel",
                advice="Delete the wheel itself, or its version",
            )
        _refuse_dots(last)
        return VersionAddress(base, project, without_dash(last))

    def publish(self, path: str, raw_path: str | None = None) -> Base | None:
        """Return the index to which a POST publishes, or None if there is none."""
        found = self._split(path, raw_path)
        return None if found is None or found.json else self._base(found, found.segments)

    def _split(self, path: str, raw_path: str | None) -> _Path | None:
        if holds_userinfo(path):
            raise InvalidRequestError(
                "the address of an index must not contain an '@': write the user name and the "
                "password before the host of this server, so that clients send them in the "
                "Authorization header",
                advice="Write the user name and the token before the host of this server",
            )
        slash = path.endswith("/")
        path = path.lstrip("/")
        explicit = _SCHEME.fullmatch(path)
        if explicit is not None:
            head, tail = f"{explicit[1]}://{explicit[2]}", explicit[3] or ""
        else:
            head, _, tail = path.partition("/")
        # Proxies merge slashes, so empty segments have no meaning.
        segments = tuple(segment for segment in tail.split("/") if segment)
        if head in {PINNED, _JSON}:
            pinned = self._settings.index
            if pinned is None:
                raise NotFoundError(
                    f"this server has no index of its own at /{head}/: set PYOCI_INDEX (a registry "
                    "and a namespace) or PYOCI_STORAGE (a folder for the embedded registry), or "
                    "use an address such as /REGISTRY/NAMESPACE/",
                    advice="Write the registry and the namespace in the address: "
                    "/REGISTRY/NAMESPACE/",
                )
            _refuse_encoded_slashes(raw_path)
            return _Path(pinned.registry, segments, slash, pinned.namespace, json=head == _JSON)
        registry = self._registry(head)
        if registry is None:
            if explicit is not None:
                raise InvalidRequestError(
                    f"{shown(head)} is not a registry: write an http or https URL with a host and "
                    "a port",
                    advice="Write the registry as HOST, HOST:PORT or an encoded URL",
                )
            return None
        _refuse_encoded_slashes(raw_path)
        return _Path(registry, segments, slash)

    def _registry(self, text: str) -> Registry | None:
        registry = Registry.parse(text)
        if registry is None and ":" not in text:
            named = Registry.parse(text, any_host=True)
            registry = named if named is not None and self._settings.names(named) else None
        return registry

    def _base(self, found: _Path, namespace: tuple[str, ...]) -> Base | None:
        if found.pinned is not None:
            return None if namespace else Base(found.registry, found.pinned, pinned=True)
        if not namespace:
            return None
        for segment in namespace:
            _refuse_dots(segment)
        name = "/".join(namespace).lower()
        Repository(found.registry, name)
        registry, settings = found.registry, self._settings
        if registry == EMBEDDED and settings.storage is None:
            raise NotFoundError(
                "this server has no embedded registry, because PYOCI_STORAGE is not set",
                advice="Ask the administrator of this server to set PYOCI_STORAGE",
            )
        if settings.allows(registry, name):
            return Base(registry, name)
        if settings.only_index:
            raise EgressError(
                f"this server does not call {registry.address}/{name}: it serves only the index "
                "of PYOCI_INDEX, because PYOCI_REGISTRIES is not set",
                advice="Use the address /simple/, or ask the administrator of this "
                "server to allow more",
            )
        raise EgressError(
            f"this server does not call {registry.address}: PYOCI_REGISTRIES does not allow it",
            advice="Check the spelling of the registry, or ask the administrator of "
            "this server to add it",
        )


def _usual_split(
    segments: tuple[str, ...], *, slash: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split `{namespace}/{project}[/more]` into the namespace and the rest."""
    last = segments[-1] if segments else ""
    more = last == "json" or is_filename(last.removesuffix(_METADATA))
    more = more or (len(segments) > 2 and not slash and _is_other_file(segments[-2], last))
    if len(segments) < 2:
        return segments, ()
    position = -2 if more and len(segments) > 2 else -1
    return segments[:position], segments[position:]


def _read_below(base: Base, rest: tuple[str, ...], found: _Path) -> ReadAddress | None:
    match rest:
        case (name, "json"):
            return JsonAddress(base, ProjectName(name))
        case (name, version, "json") if found.json:
            return JsonAddress(base, ProjectName(name), version)
        case _ if found.json:
            return None
        case ():
            return ListAddress(base, found.slash)
        case (name,):
            return ProjectAddress(base, ProjectName(name), found.slash)
        case (name, last):
            project = ProjectName(name)
            if _is_metadata(last):
                filename = Filename.parse(last.removesuffix(_METADATA), project)
                return MetadataAddress(base, project, filename)
            if last.endswith(_NOT_STORED):
                raise NotFoundError(
                    f"{shown(last)} does not exist, because this index stores only wheels and "
                    ".tar.gz sdists",
                    advice="Request a wheel or a .tar.gz sdist; other files are not stored",
                )
            return FileAddress(base, project, Filename.parse(last, project))
    for segment in rest:
        _refuse_dots(segment)
    return None


def _is_other_file(name: str, segment: str) -> bool:
    """Return whether a segment is a file of the project that this index does not store."""
    if not segment.endswith(_NOT_STORED):
        return False
    try:
        return after_name(segment, ProjectName(name)) is not None
    except InvalidRequestError:
        return False


def _is_metadata(segment: str) -> bool:
    return segment.endswith(_METADATA) and is_filename(segment.removesuffix(_METADATA))


def _refuse_dots(segment: str) -> None:
    if ".." in segment:
        raise InvalidRequestError(f"a name must not contain '..': {shown(segment)}")


def _refuse_encoded_slashes(raw_path: str | None) -> None:
    """Refuse percent-encoded slashes, except those in the URL of the registry.

    After a page has asked for a password, browsers send it to every path in the same folder. The
    folder of `/ghcr.io%2Facme%2F` is `/`, which contains all other registries. A path in the URL of
    the registry is refused because, once decoded, it would look like a part of the namespace.
    """
    for segment in (raw_path or "").split("?")[0].split("/"):
        decoded = unquote(segment)
        if "/" not in decoded:
            continue
        if not _SCHEME_START.match(decoded):
            raise InvalidRequestError(
                "slashes in an address must not be percent-encoded, except those in a registry's "
                "URL (http%3A%2F%2Flocalhost%3A5000)",
                advice="Write plain slashes in the address",
            )
        authority, slash, rest = _SCHEME_START.sub("", decoded).lstrip("/").partition("/")
        if slash and rest:
            raise InvalidRequestError(
                "the registry's URL must end after its host and port "
                f"({shown(authority)}); write the namespace after it, with unencoded slashes",
                advice="Write the namespace after the registry, with plain slashes",
            )
