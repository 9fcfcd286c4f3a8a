"""An index for a registry that counts the reads of blobs, and wheels to read."""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.integration.index_client import IndexClient
from tests.integration.oci_client import (
    OCIClient,
    push_original,
)
from tests.integration.registry_doubles import (
    BlobMeter,
)

JSON = "application/vnd.pypi.simple.v1+json"
WHEEL = "my_pkg-1.0-py3-none-any.whl"
MEMBER = "my_pkg-1.0.dist-info/METADATA"
METADATA = b"Metadata-Version: 2.1\nName: my-pkg\nVersion: 1.0\nRequires-Dist: other>=2\n"
MEBIBYTE = 1 << 20
FEW_CALLS = 4
FEW_BYTES = 300_000


def files_of(index: IndexClient) -> dict[str, dict[str, Any]]:
    """Return the files of my-pkg in its JSON page, by their names."""
    response = index.get("/my-pkg/", headers={"Accept": JSON})
    assert response.status_code == 200, response.text
    return {file["filename"]: file for file in response.json()["files"]}


def metadata_of(wheel: Path) -> bytes:
    """Return the METADATA of a wheel on disk."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return archive.read(name)


@dataclass(frozen=True, slots=True)
class Lab:
    """Serve a new application for a registry that counts the reads of blobs."""

    index: IndexClient
    meter: BlobMeter
    oci: OCIClient

    def push(self, content: bytes, tag: str = "1.0") -> None:
        """Store a wheel as the original does."""
        push_original(self.oci, tag, {"py3-none-any.whl": content})
        self.meter.fetches.clear()

    def metadata(self) -> requests.Response:
        """GET the core metadata of WHEEL."""
        return self.index.get(f"/my-pkg/{WHEEL}.metadata")


def wheel_bytes(folder: Path, before: int, after: int, metadata: bytes = METADATA) -> bytes:
    """Make a wheel whose METADATA is between `before` and `after` incompressible bytes."""
    path = folder / WHEEL
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("my_pkg/before.bin", os.urandom(before))
        archive.writestr(MEMBER, metadata)
        archive.writestr("my_pkg/after.bin", os.urandom(after))
    return path.read_bytes()
