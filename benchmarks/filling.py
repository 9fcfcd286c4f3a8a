"""Projects with many versions, written directly to a registry or folder in the storage format.

The files of all versions have the same few bytes, so that a registry is filled within seconds.
Their manifests and entries are the same as after an upload.
"""

import base64
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import urllib3

from pyoci_flask.index.names import Filename
from pyoci_flask.index.project import (
    ARTIFACT_TYPE,
    CORE_METADATA,
    CORE_METADATA_TYPE,
    CREATED,
    PROJECT_URLS,
    REQUIRES_PYTHON,
    SHA256,
    SIZE,
    TITLE,
    format_time,
)
from pyoci_flask.oci.model import (
    INDEX_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    ImageIndex,
    ImageManifest,
    Platform,
)
from pyoci_flask.oci.reference import Digest

ARCHITECTURES = ("py3-none-any.whl", "cp311-cp311-manylinux_2_28_x86_64.whl", ".tar.gz")
"""Of the three files of each version."""

_WRITERS = 8
_CONTENT = b"a small file"
_METADATA = b"Metadata-Version: 2.1\nName: benchmark\nVersion: 1.0\nRequires-Python: >=3.11\n"


class RegistryWriter:
    """Writes to one repository of the registry at `url`."""

    def __init__(self, url: str, repository: str, authorization: str | None = None) -> None:
        self.base = f"{url}/v2/{repository}"
        self._headers = {"Authorization": authorization} if authorization else {}
        self._pool = urllib3.PoolManager(maxsize=_WRITERS, retries=False)

    def call(
        self, method: str, url: str, body: bytes | None = None, media_type: str | None = None
    ) -> urllib3.BaseHTTPResponse:
        """Make one call that must succeed; `url` may be a path below the repository.

        Raises:
            RuntimeError: the registry refuses.
        """
        headers = {**self._headers, **({"Content-Type": media_type} if media_type else {})}
        target = url if urlsplit(url).scheme else f"{self.base}/{url}"
        answer = self._pool.request(method, target, body=body, headers=headers)
        if answer.status >= 400:
            raise RuntimeError(f"{method} {target}: {answer.status} {answer.data[:200]!r}")
        return answer

    def find(self, path: str) -> bool:
        """Read the content of a path below the repository; return whether it exists."""
        accept = f"{INDEX_TYPE}, {MANIFEST_TYPE}"
        headers = {**self._headers, "Accept": accept}
        return self._pool.request("GET", f"{self.base}/{path}", headers=headers).status == 200

    def push_blob(self, content: bytes) -> Descriptor:
        """Upload a blob: POST and PUT."""
        digest = Digest.of(content)
        begun = self.call("POST", "blobs/uploads/", b"")
        location = urljoin(self.base, begun.headers["Location"])
        mark = "&" if "?" in location else "?"
        self.call("PUT", f"{location}{mark}digest={digest}", content, "application/octet-stream")
        return Descriptor(ARTIFACT_TYPE, digest, len(content))

    def put_manifest(self, reference: str, content: bytes, media_type: str) -> None:
        """Write a manifest or an index by its tag or digest."""
        self.call("PUT", f"manifests/{reference}", content, media_type)

    def fill(
        self,
        project: str,
        versions: Iterable[str],
        created: datetime | None = None,
        architectures: Sequence[str] = ARCHITECTURES,
    ) -> None:
        """Write versions with a file for each architecture; `created` is now if it is left out."""
        layer = self.push_blob(_CONTENT)
        config = self.push_blob(_METADATA)

        def write(version: str) -> None:
            time = format_time(created or datetime.now(UTC))
            entries = [
                self._entry(project, version, architecture, layer, config, time)
                for architecture in architectures
            ]
            index = ImageIndex(ARTIFACT_TYPE, tuple(entries), {CREATED: time})
            self.put_manifest(version, index.serialize(), INDEX_TYPE)

        with ThreadPoolExecutor(_WRITERS) as pool:
            for _ in pool.map(write, versions):
                pass

    def _entry(
        self,
        project: str,
        version: str,
        architecture: str,
        layer: Descriptor,
        config: Descriptor,
        created: str,
    ) -> Descriptor:
        filename = Filename.build(project.replace("-", "_"), version, architecture)
        described = Descriptor(ARTIFACT_TYPE, layer.digest, layer.size, {TITLE: filename})
        manifest = ImageManifest(
            artifact_type=ARTIFACT_TYPE,
            config=Descriptor(CORE_METADATA_TYPE, config.digest, config.size),
            layers=(described,),
            annotations={CREATED: created},
        ).serialize()
        digest = Digest.of(manifest)
        self.put_manifest(str(digest), manifest, MANIFEST_TYPE)
        urls = {"Source": f"https://git.example.com/{project}", "Home": "https://example.com/"}
        annotations = {
            CREATED: created,
            SHA256: layer.digest.hex,
            PROJECT_URLS: json.dumps(urls),
            TITLE: filename,
            SIZE: str(layer.size),
            REQUIRES_PYTHON: ">=3.11",
            CORE_METADATA: config.digest.hex,
        }
        platform = Platform(architecture=architecture, os="any")
        return Descriptor(MANIFEST_TYPE, digest, len(manifest), annotations, platform)


class LayoutWriter(RegistryWriter):
    """Writes an image layout to a new folder, in place of a registry."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._blobs = folder / "blobs" / "sha256"
        self._entries: list[dict[str, object]] = []
        self._blobs.mkdir(parents=True)

    def push_blob(self, content: bytes) -> Descriptor:
        """Write a blob."""
        digest = Digest.of(content)
        (self._blobs / digest.hex).write_bytes(content)
        return Descriptor(ARTIFACT_TYPE, digest, len(content))

    def put_manifest(self, reference: str, content: bytes, media_type: str) -> None:
        """Write a manifest; if it has a tag, it is listed."""
        digest = self.push_blob(content).digest
        if reference != str(digest):
            self._entries.append(
                {
                    "mediaType": media_type,
                    "digest": str(digest),
                    "size": len(content),
                    "annotations": {"org.opencontainers.image.ref.name": reference},
                }
            )

    def fill(
        self,
        project: str,
        versions: Iterable[str],
        created: datetime | None = None,
        architectures: Sequence[str] = ARCHITECTURES,
    ) -> None:
        """Write the same, and then the files of the layout itself."""
        super().fill(project, versions, created, architectures)
        (self._folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        document = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": self._entries}
        (self._folder / "index.json").write_text(json.dumps(document))


def basic(username: str, password: str) -> str:
    """Return the Authorization header of a user (RFC 7617)."""
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"
