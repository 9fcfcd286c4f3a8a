"""A plain client of a registry: what a push or a pull sends, and nothing clever."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests

from pyoci_flask.registry.wsgi import EmbeddedRegistry
from tests.local_adapter import LocalAdapter
from tests.wsgi_adapter import WSGIAdapter

if TYPE_CHECKING:
    from _typeshed import SupportsRead
    from _typeshed.wsgi import WSGIApplication

ORIGIN = "http://registry"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
LAYER = "application/pyoci.package.v1"


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def descriptor(content: bytes, media_type: str = LAYER) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def manifest(*layers: bytes, **fields: object) -> bytes:
    """An image manifest of these layers with the empty config."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(b"{}", EMPTY),
        "layers": [descriptor(layer) for layer in layers],
        **fields,
    }
    return json.dumps(document).encode()


def index(*manifests: bytes, **fields: object) -> bytes:
    """An image index of these image manifests."""
    entries = [descriptor(content, MANIFEST) for content in manifests]
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries, **fields}
    return json.dumps(document).encode()


class Streamed:
    """A file of unknown length, whose pieces are made as they are read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(65536), b"")

    def read(self, size: int, /) -> bytes:
        self._rest = self._rest or next(self._pieces, b"")
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


@dataclass(frozen=True, slots=True)
class RegistryClient:
    """Talks to the registry at `origin`; `session` carries the credentials, if any."""

    session: requests.Session
    origin: str = ORIGIN

    def request(
        self,
        method: str,
        path: str,
        data: "bytes | SupportsRead[bytes] | None" = None,
        headers: Mapping[str, str] | None = None,
        *,
        stream: bool = False,
    ) -> requests.Response:
        url = path if path.startswith("http") else self.origin + path
        return self.session.request(
            method, url, data=data, headers=headers, allow_redirects=False, stream=stream
        )

    def get(self, path: str, **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("GET", path, headers=named)

    def begin_upload(self, name: str) -> str:
        response = self.request("POST", f"/v2/{name}/blobs/uploads/")
        assert response.status_code == 202
        return response.headers["Location"]

    def push_blob(self, name: str, content: bytes) -> str:
        """POST, then one PUT; returns the digest."""
        digest = digest_of(content)
        location = self.begin_upload(name)
        response = self.request("PUT", f"{location}?digest={digest}", content)
        assert (response.status_code, response.text) == (201, "")
        return digest

    def put_manifest(
        self, name: str, reference: str, content: bytes, media_type: str = MANIFEST
    ) -> requests.Response:
        path = f"/v2/{name}/manifests/{reference}"
        return self.request("PUT", path, content, {"Content-Type": media_type})

    def push_manifest(self, name: str, content: bytes, tag: str | None = None) -> str:
        """PUT by tag, or by digest without one; returns the digest."""
        digest = digest_of(content)
        media_type = json.loads(content)["mediaType"]
        response = self.put_manifest(name, tag or digest, content, media_type)
        assert (response.status_code, response.text) == (201, "")
        return digest

    def push_image(self, name: str, tag: str | None, *layers: bytes, **fields: object) -> bytes:
        """Push the layers and a manifest of them; returns the manifest."""
        for blob in (b"{}", *layers):
            self.push_blob(name, blob)
        content = manifest(*layers, **fields)
        self.push_manifest(name, content, tag)
        return content

    def tags(self, name: str) -> list[str]:
        response = self.get(f"/v2/{name}/tags/list")
        assert response.status_code == 200
        tags: list[str] = response.json()["tags"]
        return tags


def in_process(registry: EmbeddedRegistry) -> RegistryClient:
    """A client that calls the registry as the index does, without HTTP."""
    session = requests.Session()
    session.trust_env = False
    session.mount(ORIGIN, LocalAdapter(registry))
    return RegistryClient(session)


def over_wsgi(app: "WSGIApplication") -> RegistryClient:
    """A client that calls the WSGI application without a socket between."""
    session = requests.Session()
    session.trust_env = False
    session.mount(ORIGIN, WSGIAdapter(app))
    return RegistryClient(session)


def over_socket(origin: str) -> RegistryClient:
    session = requests.Session()
    session.trust_env = False
    return RegistryClient(session, origin)


def error(response: requests.Response) -> tuple[int, str]:
    """The status and the one error code of an answer that the specification describes."""
    assert response.headers["Content-Type"] == "application/json"
    (only,) = response.json()["errors"]
    assert only["message"]
    return response.status_code, only["code"]
