"""The cost of the same work without the application: only the calls to the registry."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import urllib3

from benchmarks.clients import send_file
from benchmarks.filling import RegistryWriter
from pyoci_flask.index.project import ARTIFACT_TYPE
from pyoci_flask.oci.model import (
    EMPTY_CONFIG,
    EMPTY_CONFIG_TYPE,
    INDEX_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    ImageIndex,
    ImageManifest,
)
from pyoci_flask.oci.reference import Digest

_ACCEPT = f"{INDEX_TYPE}, {MANIFEST_TYPE}"


class PageFloor:
    """Make the calls of a cold page with a bare urllib3 pool and one thread for each connection."""

    def __init__(self, registry: str, repository: str, width: int) -> None:
        self._registry = registry
        self._base = f"/v2/{repository}"
        self._threads = ThreadPoolExecutor(width)
        self._width = width
        self._pool = self._connections()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()
        self._pool.close()

    def seconds(self, tags: Sequence[str], *, new_connections: bool = False) -> float:
        """Read the tags, then the indexes of these versions, each to its end."""
        if new_connections:
            self._pool.close()
            self._pool = self._connections()
        begun = time.perf_counter()
        self._get("tags/list")
        for _ in self._threads.map(lambda tag: self._get(f"manifests/{tag}"), tags):
            pass
        return time.perf_counter() - begun

    def _get(self, path: str) -> None:
        headers = {} if path == "tags/list" else {"Accept": _ACCEPT}
        answer = self._pool.urlopen("GET", f"{self._base}/{path}", headers=headers)
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}")

    def _connections(self) -> urllib3.HTTPConnectionPool:
        pool = urllib3.connection_from_url(
            self._registry, maxsize=self._width, block=True, retries=False
        )
        if not isinstance(pool, urllib3.HTTPConnectionPool):
            raise TypeError(self._registry)
        return pool


def put_blob(registry: str, repository: str, path: Path, digest: str) -> float:
    """Upload a file directly to the registry, POST and PUT; return the seconds of both."""
    writer = RegistryWriter(registry, repository)
    begun = time.perf_counter()
    location = writer.call("POST", "blobs/uploads/", b"").headers["Location"]
    posted = time.perf_counter() - begun
    mark = "&" if "?" in location else "?"
    url = f"{location}{mark}digest=sha256:{digest}"
    return posted + send_file("PUT", url, path, "application/octet-stream")


def publish_in_six(writer: RegistryWriter, content: bytes, version: str) -> float:
    """Publish a small file with the fewest possible calls, one after the other; return the seconds.

    The calls are: the index, the blob (POST and PUT), the manifest, the index with it, and the
    index again. The config blob already exists.
    """
    digest = Digest.of(content)
    config = Descriptor(EMPTY_CONFIG_TYPE, Digest.of(EMPTY_CONFIG), len(EMPTY_CONFIG))
    layer = Descriptor(ARTIFACT_TYPE, digest, len(content))
    manifest = ImageManifest(ARTIFACT_TYPE, config, (layer,)).serialize()
    described = Descriptor(MANIFEST_TYPE, Digest.of(manifest), len(manifest))
    index = ImageIndex(ARTIFACT_TYPE, (described,)).serialize()
    begun = time.perf_counter()
    writer.find(f"manifests/{version}")
    writer.push_blob(content)
    writer.call("PUT", f"manifests/{described.digest}", manifest, MANIFEST_TYPE)
    writer.call("PUT", f"manifests/{version}", index, INDEX_TYPE)
    writer.find(f"manifests/{version}")
    return time.perf_counter() - begun
