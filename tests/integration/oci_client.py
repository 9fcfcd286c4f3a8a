"""A simple client of a registry, with which tests store and read content past the application."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import requests

from tests.registries import RunningRegistry

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT = "application/pyoci.package.v1"
EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CREATED = "org.opencontainers.image.created"
CHANGED = "com.pyoci.changed"
TITLE = "org.opencontainers.image.title"

Descriptor = dict[str, Any]
Document = dict[str, Any]


def sha256(content: bytes) -> str:
    """Return the bare hex digest."""
    return hashlib.sha256(content).hexdigest()


def descriptor(media_type: str, content: bytes, **more: object) -> Descriptor:
    """Describe `content` as image-spec's descriptors do."""
    described: Descriptor = {
        "mediaType": media_type,
        "digest": f"sha256:{sha256(content)}",
        "size": len(content),
    }
    return described | more


@dataclass(frozen=True, slots=True)
class OCIClient:
    """Speaks to one repository of `registry` with the credentials that it was started with."""

    registry: RunningRegistry
    repository: str
    session: requests.Session

    def request(
        self, method: str, path: str, *, data: bytes | None = None, **headers: str
    ) -> requests.Response:
        """Ask for `path` below `/v2/{repository}/`, or for a complete URL."""
        url = urljoin(f"{self.registry.url}/v2/{self.repository}/", path)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        auth = self.registry.auth
        response = self.session.request(method, url, data=data, headers=sent, auth=auth)
        challenge = response.headers.get("WWW-Authenticate", "")
        if response.status_code == 401 and challenge.startswith("Bearer "):
            sent["Authorization"] = self._token(challenge)
            response = self.session.request(method, url, data=data, headers=sent)
        return response

    def _token(self, challenge: str) -> str:
        realm = re.search(r'realm="([^"]+)"', challenge)
        assert realm
        answer = self.session.get(
            realm[1],
            params={"scope": f"repository:{self.repository}:pull,push"},
            auth=self.registry.auth,
        )
        answer.raise_for_status()
        return f"Bearer {answer.json()['token']}"

    def tags(self) -> list[str]:
        """Return every tag; empty if the registry does not know the repository."""
        response = self.request("GET", "tags/list")
        if response.status_code == 404:
            return []
        response.raise_for_status()
        # zuul-registry names every manifest that was put by its digest among the tags.
        return [tag for tag in response.json()["tags"] or [] if ":" not in tag]

    def manifest(self, reference: str) -> requests.Response:
        """Return the response for a tag or digest."""
        accept = f"{INDEX}, {MANIFEST}, {DOCKER_MANIFEST}"
        return self.request("GET", f"manifests/{reference}", Accept=accept)

    def document(self, reference: str) -> Document:
        """Return the document at a tag or digest, which must exist."""
        response = self.manifest(reference)
        response.raise_for_status()
        document: Document = response.json()
        assert document["mediaType"] == response.headers["Content-Type"]
        return document

    def blob(self, digest: str) -> bytes:
        """Return the bytes of a blob, which must exist."""
        response = self.request("GET", f"blobs/{digest}")
        response.raise_for_status()
        return response.content

    def has_blob(self, content: bytes) -> bool:
        """Return whether the registry has these bytes in the repository."""
        return self.request("HEAD", f"blobs/sha256:{sha256(content)}").status_code == 200

    def push_blob(self, media_type: str, content: bytes, **more: object) -> Descriptor:
        """Push bytes (POST, then PUT); return their descriptor."""
        described = descriptor(media_type, content, **more)
        begun = self.request("POST", "blobs/uploads/", Content_Length="0")
        begun.raise_for_status()
        location = urljoin(begun.url, begun.headers["Location"])
        joint = "&" if "?" in location else "?"
        self.request(
            "PUT",
            f"{location}{joint}digest={described['digest']}",
            data=content,
            Content_Type="application/octet-stream",
        ).raise_for_status()
        return described

    def push(self, document: Document, reference: str | None = None, **more: object) -> Descriptor:
        """Put a manifest or an index under a tag, or by its digest; return its descriptor."""
        content = json.dumps(document).encode()
        described = descriptor(document["mediaType"], content, **more)
        self.request(
            "PUT",
            f"manifests/{reference or described['digest']}",
            data=content,
            Content_Type=document["mediaType"],
        ).raise_for_status()
        return described


def image_index(manifests: list[Descriptor], **more: object) -> Document:
    """Return the index of a version as the Rust original writes it."""
    index: Document = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "artifactType": ARTIFACT,
        "manifests": manifests,
        "annotations": {CREATED: "2024-05-06T07:08:09.123456789Z"},
    }
    return index | more


def push_original(
    oci: OCIClient,
    tag: str,
    files: dict[str, bytes],
    *,
    digest_annotation: bool = True,
) -> dict[str, Descriptor]:
    """Publish files as the Rust original does; `files` maps architecture to bytes.

    Returns the index entry of each. Older releases of the original wrote no digest annotation.
    """
    entries = {}
    for architecture, content in files.items():
        config = oci.push_blob(EMPTY, b"{}")
        layer = oci.push_blob(ARTIFACT, content)
        annotations = {CREATED: "2024-05-06T07:08:09.123456789Z"}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": ARTIFACT,
            "config": config,
            "layers": [layer],
            "annotations": annotations | {"team": "blue"},
        }
        if digest_annotation:
            annotations["com.pyoci.sha256_digest"] = sha256(content)
            annotations["com.pyoci.project_urls"] = '{"Home":"https://example.org/"}'
        platform = {"architecture": architecture, "os": "any"}
        entries[architecture] = oci.push(manifest, platform=platform, annotations=annotations)
    oci.push(image_index(list(entries.values())), tag)
    return entries
