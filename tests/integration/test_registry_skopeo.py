"""What the embedded registry stores is an image layout that Debian's skopeo can copy."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.patience import PATIENCE
from tests.registries import RunningRegistry, docker_registry, embedded_registry

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
PACKAGE = "application/pyoci.package.v1"
EMPTY = "application/vnd.oci.empty.v1+json"
TAG = "1_2.0-cpu.1"
FILES = {"x-2.0.tar.gz": b"source" * 1000, "x-2.0-py3-none-any.whl": b"wheel" * 1000}


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Accept"] = f"{INDEX}, {MANIFEST}"
        yield session


@pytest.fixture
def source(tmp_path: Path) -> Iterator[RunningRegistry]:
    with embedded_registry(tmp_path) as registry:
        yield registry


@pytest.fixture(params=["embedded", "docker-registry"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningRegistry]:
    folder = tmp_path / "target"
    folder.mkdir()
    if request.param == "docker-registry" and shutil.which("docker-registry") is None:
        pytest.skip("Debian's docker-registry is not installed")
    run = embedded_registry if request.param == "embedded" else docker_registry
    with run(folder) as registry:
        yield registry


def skopeo(*arguments: str) -> None:
    program = shutil.which("skopeo")
    assert program is not None, "skopeo is needed: install the Debian package skopeo"
    done = subprocess.run(
        [program, "--insecure-policy", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr


def descriptor(content: bytes, media_type: str) -> dict[str, object]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def push_blob(http: requests.Session, repository: str, content: bytes, media_type: str) -> object:
    pushed = descriptor(content, media_type)
    begun = http.post(f"{repository}/blobs/uploads/")
    location = requests.compat.urljoin(begun.url, begun.headers["Location"])
    http.put(location, params={"digest": str(pushed["digest"])}, data=content).raise_for_status()
    return pushed


def push_manifest(
    http: requests.Session, repository: str, document: object, media_type: str, tag: str | None
) -> dict[str, object]:
    content = json.dumps(document).encode()
    pushed = descriptor(content, media_type)
    address = f"{repository}/manifests/{tag or pushed['digest']}"
    http.put(address, data=content, headers={"Content-Type": media_type}).raise_for_status()
    return pushed


def publish(http: requests.Session, repository: str) -> None:
    """Push a version of two files, as the index stores it."""
    entries = []
    for name, content in FILES.items():
        layer = push_blob(http, repository, content, PACKAGE)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": PACKAGE,
            "config": push_blob(http, repository, b"{}", EMPTY),
            "layers": [layer],
            "annotations": {"org.opencontainers.image.title": name},
        }
        entry = push_manifest(http, repository, manifest, MANIFEST, None)
        entries.append({**entry, "platform": {"architecture": name[6:], "os": "any"}})
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "artifactType": PACKAGE,
        "manifests": entries,
    }
    push_manifest(http, repository, index, INDEX, TAG)


def everything(http: requests.Session, repository: str) -> dict[str, bytes]:
    """Return all that the tag leads to, by digest; each is checked against its digest."""
    found: dict[str, bytes] = {}

    def fetch(kind: str, reference: str) -> bytes:
        response = http.get(f"{repository}/{kind}/{reference}")
        response.raise_for_status()
        digest = f"sha256:{hashlib.sha256(response.content).hexdigest()}"
        assert reference in {digest, TAG}
        found[digest] = response.content
        return response.content

    for entry in json.loads(fetch("manifests", TAG))["manifests"]:
        manifest = json.loads(fetch("manifests", entry["digest"]))
        for blob in (manifest["config"], *manifest["layers"]):
            fetch("blobs", blob["digest"])
    return found


@pytest.mark.parametrize("name", ["x", "acme/x", "acme/blobs/x"])
def test_a_layout_on_disk_is_copied_whole_to_another_registry(
    http: requests.Session, source: RunningRegistry, target: RunningRegistry, name: str
) -> None:
    publish(http, f"{source.url}/v2/{name}")
    assert source.storage is not None
    folder = source.storage / name.replace("blobs", "_blobs")

    skopeo(
        "copy",
        "--all",
        "--preserve-digests",
        "--dest-tls-verify=false",
        f"oci:{folder}:{TAG}",
        f"docker://{target.netloc}/copied/x:{TAG}",
    )

    copied = f"{target.url}/v2/copied/x"
    assert everything(http, copied) == everything(http, f"{source.url}/v2/{name}")
    assert http.get(f"{copied}/tags/list").json()["tags"] == [TAG]
    assert set(FILES.values()) < set(everything(http, copied).values())


def test_what_skopeo_copies_over_the_api_comes_back_whole(
    http: requests.Session, source: RunningRegistry, tmp_path: Path
) -> None:
    publish(http, f"{source.url}/v2/acme/x")
    backup = tmp_path / "backup"
    plain_http = ("--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests")
    there = f"docker://{source.netloc}/acme/x:{TAG}"
    again = f"docker://{source.netloc}/restored/x:{TAG}"

    skopeo("copy", "--all", *plain_http, there, f"oci:{backup}:{TAG}")
    skopeo("copy", "--all", *plain_http, f"oci:{backup}:{TAG}", again)

    original = everything(http, f"{source.url}/v2/acme/x")
    assert everything(http, f"{source.url}/v2/restored/x") == original


def test_a_layout_that_skopeo_wrote_into_the_storage_is_served(
    http: requests.Session, source: RunningRegistry
) -> None:
    publish(http, f"{source.url}/v2/acme/x")
    assert source.storage is not None
    layout = source.storage / "imported" / "x"
    layout.parent.mkdir()

    skopeo(
        "copy",
        "--all",
        "--preserve-digests",
        "--src-tls-verify=false",
        f"docker://{source.netloc}/acme/x:{TAG}",
        f"oci:{layout}:{TAG}",
    )

    original = everything(http, f"{source.url}/v2/acme/x")
    assert everything(http, f"{source.url}/v2/imported/x") == original
    assert http.get(f"{source.url}/v2/imported/x/tags/list").json()["tags"] == [TAG]
