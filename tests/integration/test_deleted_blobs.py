"""What a deletion says about the blobs of the deleted files, and does with them."""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from werkzeug.wrappers import Response

from pyoci_flask.errors import BusyError
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.integration.oci_client import (
    CREATED,
    DOCKER_MANIFEST,
    INDEX,
    MANIFEST,
    OCIClient,
    descriptor,
    image_index,
    push_original,
)
from tests.packages import make_wheel
from tests.patience import PATIENCE
from tests.registries import IN_PROCESS, RunningRegistry

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

READABLE = "; its bytes can be read by digest until the registry collects garbage"
OCIOf = Callable[[str], OCIClient]


@pytest.mark.parametrize("path", ["1.0", "my_pkg-1.0-py3-none-any.whl"])
def test_a_deletion_says_that_the_bytes_can_be_read_by_digest_where_they_can(
    index: IndexClient, registry: RunningRegistry, repository: OCIOf, tmp_path: Path, path: str
) -> None:
    wheel = index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    text = index.request("DELETE", f"/my-pkg/{path}").text

    assert repository("my_pkg").has_blob(wheel.read_bytes())
    # The embedded registry keeps blobs until its gc command is run, as its documentation says.
    assert text.endswith(f"{READABLE}\n") is (registry.can_delete and registry.kind != IN_PROCESS)
    assert text.startswith("deleted my")


def test_a_deletion_says_nothing_of_bytes_that_are_gone(
    index: IndexClient, registry: RunningRegistry, repository: OCIOf, tmp_path: Path
) -> None:
    if not registry.can_delete:
        pytest.skip("nothing can be deleted there")
    wheel = index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    oci = repository("my_pkg")
    (entry,) = oci.document("1.0")["manifests"]
    (layer,) = oci.document(entry["digest"])["layers"]
    assert oci.request("DELETE", f"blobs/{layer['digest']}").status_code == 202

    text = index.request("DELETE", f"/my-pkg/{wheel.name}").text

    assert text == f"deleted {wheel.name}\n"


def test_a_deletion_says_so_of_a_file_whose_entry_does_not_tell_its_digest(
    index: IndexClient, registry: RunningRegistry, repository: OCIOf
) -> None:
    push_original(repository("my_pkg"), "1.0", {".tar.gz": b"old"}, digest_annotation=False)

    text = index.request("DELETE", "/my-pkg/my_pkg-1.0.tar.gz").text

    assert (READABLE in text) is (registry.can_delete and registry.kind != IN_PROCESS)


@pytest.fixture
def deleting(registry: RunningRegistry) -> RunningRegistry:
    """A registry that deletes."""
    if not registry.can_delete:
        pytest.skip("nothing can be deleted there")
    return registry


@pytest.mark.parametrize("path", ["1.0", "my_pkg-1.0-py3-none-any.whl"])
@pytest.mark.usefixtures("deleting")
def test_the_blobs_of_a_file_or_version_are_deleted_where_asked_for(
    index: IndexClient, repository: OCIOf, tmp_path: Path, path: str
) -> None:
    wheel = index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    metadata = index.get(f"/my-pkg/{wheel.name}.metadata").content
    oci = repository("my_pkg")
    assert oci.has_blob(metadata)

    answer = index.request("DELETE", f"/my-pkg/{path}?blobs=delete")

    assert answer.status_code == 200, answer.text
    assert answer.text.endswith("; 2 of 2 blobs deleted\n")
    assert not oci.has_blob(wheel.read_bytes())
    assert not oci.has_blob(metadata)
    assert index.filenames("my-pkg") == []
    index.published(wheel, "my-pkg", "1.0")
    assert index.get(f"/my-pkg/{wheel.name}").content == wheel.read_bytes()
    assert index.get(f"/my-pkg/{wheel.name}.metadata").content == metadata


@pytest.mark.usefixtures("deleting")
def test_core_metadata_that_another_wheel_of_the_version_shares_is_kept(
    index: IndexClient, repository: OCIOf, tmp_path: Path
) -> None:
    first, second = (
        index.published(make_wheel(tmp_path, "my_pkg", "1.0", tag=tag), "my-pkg", "1.0")
        for tag in ("py3-none-any", "cp311-none-any")
    )

    text = index.request("DELETE", f"/my-pkg/{first.name}?blobs=delete").text

    assert text.startswith(f"deleted {first.name}; 1 of 2 blobs deleted, 1 kept")
    assert not repository("my_pkg").has_blob(first.read_bytes())
    assert index.get(f"/my-pkg/{second.name}").content == second.read_bytes()
    assert index.get(f"/my-pkg/{second.name}.metadata").status_code == 200
    assert index.request("DELETE", "/my-pkg/1.0?blobs=delete").text == (
        "deleted my-pkg 1.0; 2 of 2 blobs deleted\n"
    )


@pytest.mark.parametrize("digest_annotation", [True, False])
@pytest.mark.usefixtures("deleting")
def test_the_same_bytes_in_another_version_and_the_empty_config_are_kept(
    index: IndexClient, repository: OCIOf, digest_annotation: bool
) -> None:
    oci = repository("my_pkg")
    for version, content in (("1.0", b"same"), ("2.0", b"same"), ("3.0", b"other")):
        push_original(oci, version, {".tar.gz": content}, digest_annotation=digest_annotation)
        (entry,) = oci.document(version)["manifests"]
        # In reality, each has its own time of creation.
        manifest = oci.document(entry["digest"]) | {"annotations": {CREATED: version}}
        oci.push(image_index([entry | oci.push(manifest)]), version)

    first = index.request("DELETE", "/my-pkg/my_pkg-1.0.tar.gz?blobs=delete").text

    assert first.startswith("deleted my_pkg-1.0.tar.gz; 0 of 1 blobs deleted, 1 kept")
    assert index.get("/my-pkg/my_pkg-2.0.tar.gz").content == b"same"
    assert oci.has_blob(b"{}")
    second = index.request("DELETE", "/my-pkg/2.0?blobs=delete").text
    assert second == "deleted my-pkg 2.0; 1 of 1 blobs deleted\n"
    assert not oci.has_blob(b"same")
    assert index.get("/my-pkg/my_pkg-3.0.tar.gz").content == b"other"
    assert oci.has_blob(b"{}")


@pytest.mark.parametrize("kind", ["image", "docker image", "image of several platforms", "nested"])
@pytest.mark.usefixtures("deleting")
def test_a_layer_of_a_container_image_in_the_repository_is_kept(
    index: IndexClient, repository: OCIOf, tmp_path: Path, kind: str
) -> None:
    wheel = index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    oci = repository("my_pkg")
    is_docker = kind == "docker image"
    prefix = "application/vnd.docker" if is_docker else "application/vnd.oci"
    image = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST if is_docker else MANIFEST,
        "config": oci.push_blob(
            f"{prefix}.container.image.v1+json" if is_docker else f"{prefix}.image.config.v1+json",
            b'{"architecture":"amd64","os":"linux"}',
        ),
        "layers": [
            descriptor(
                f"{prefix}.image.rootfs.diff.tar.gzip" if is_docker else f"{prefix}.layer.v1.tar",
                wheel.read_bytes(),
            )
        ],
    }
    if kind in {"image", "docker image"}:
        oci.push(image, "latest")
    else:
        platform = {"architecture": "amd64", "os": "linux"}
        several = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [oci.push(image, platform=platform)],
        }
        if kind == "nested":
            several = several | {"manifests": [oci.push(several, platform=platform)]}
        oci.push(several, "latest")

    text = index.request("DELETE", "/my-pkg/1.0?blobs=delete").text

    assert text.startswith("deleted my-pkg 1.0; 1 of 2 blobs deleted, 1 kept")
    assert oci.has_blob(wheel.read_bytes())


def test_no_blob_is_deleted_where_the_manifests_stay(
    index: IndexClient, registry: RunningRegistry, repository: OCIOf, tmp_path: Path
) -> None:
    if registry.can_delete:
        pytest.skip("this registry deletes manifests")
    wheel = index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    text = index.request("DELETE", "/my-pkg/1.0?blobs=delete").text

    assert text.endswith("; no blob was deleted\n")
    assert repository("my_pkg").has_blob(wheel.read_bytes())


@pytest.mark.parametrize("query", ["blobs=keep", "blobs=", "blobs=delete&blobs=delete", "blobs=1"])
def test_another_value_of_blobs_is_refused_and_nothing_is_deleted(
    index: IndexClient, tmp_path: Path, query: str
) -> None:
    wheel = index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    for path in ("1.0", wheel.name):
        answer = index.request("DELETE", f"/my-pkg/{path}?{query}")
        assert answer.status_code == 400
        assert "blobs=delete" in answer.text

    assert index.get(f"/my-pkg/{wheel.name}").content == wheel.read_bytes()


@dataclass(slots=True)
class PausingRegistry:
    """A registry that waits before it answers the call that `paused` names, and denies deletion."""

    app: "WSGIApplication"
    paused: tuple[str, str]
    asked: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        method, part = self.paused
        if environ["REQUEST_METHOD"] == method and part in environ["PATH_INFO"]:
            self.asked.set()
            assert self.go_on.wait(PATIENCE)
        if environ["REQUEST_METHOD"] == "DELETE":
            body = '{"errors": [{"code": "DENIED", "message": "no"}]}'
            return Response(body, 403, content_type="application/json")(environ, start)
        return self.app(environ, start)


@pytest.mark.parametrize("paused", [("HEAD", "/blobs/"), ("PUT", "/manifests/1.0")])
def test_an_upload_holds_the_blobs_from_its_first_look_until_its_tag_is_written(
    app_server: AppServer, http: requests.Session, tmp_path: Path, paused: tuple[str, str]
) -> None:
    registry = PausingRegistry(create_registry(tmp_path / "storage"), paused)
    spool = tmp_path / "spool"
    spool.mkdir()
    locks = VersionLocks(spool / f"pyoci-flask-locks-{os.geteuid()}", deadline=0.2)
    wheel = make_wheel(tmp_path, "my_pkg", "1.0")
    with wsgi_server(registry) as url, ThreadPoolExecutor(1) as pool:
        base = f"{app_server({'PYOCI_SPOOL': str(spool)})}/{address(url)}/acme"
        index = IndexClient(base, None, http)
        location = f"{url}/acme/my_pkg"
        future = pool.submit(index.publish, wheel, "my-pkg", "1.0")
        try:
            assert registry.asked.wait(PATIENCE)
            with pytest.raises(BusyError), locks.hold_blobs(location, shared=False):
                pytest.fail("the upload did not hold the blobs")
        finally:
            registry.go_on.set()
        assert future.result(PATIENCE).ok
        with locks.hold_blobs(location, shared=False):
            pass
        # A caller who may not delete waits for no upload, and no upload waits for the caller.
        with locks.hold_blobs(location, shared=True):
            denied = index.request("DELETE", "/my-pkg/1.0?blobs=delete")
    assert denied.status_code in {401, 403}


@dataclass(frozen=True, slots=True)
class Refusing:
    """A registry that answers some calls with an error status and code."""

    app: "WSGIApplication"
    method: str
    part: str
    status: int

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == self.method and self.part in environ["PATH_INFO"]:
            body = '{"errors": [{"code": "UNSUPPORTED", "message": "no"}]}'
            answer = Response(body, self.status, content_type="application/json")
            return answer(environ, start)
        return self.app(environ, start)


@pytest.mark.parametrize(
    ("method", "part", "status", "told"),
    [
        ("DELETE", "/blobs/", 405, "0 of 2 blobs deleted: this registry does not delete blobs"),
        ("GET", "/manifests/2.0", 500, "0 of 2 blobs deleted: "),
    ],
)
def test_the_answer_says_why_blobs_were_not_deleted_and_that_they_can_be_read(
    shared_app: str,
    http: requests.Session,
    tmp_path: Path,
    method: str,
    part: str,
    status: int,
    told: str,
) -> None:
    inner = create_registry(tmp_path / "storage")
    with wsgi_server(inner) as url:
        index = IndexClient(f"{shared_app}/{address(url)}/acme", None, http)
        for version in ("1.0", "2.0"):
            index.published(make_wheel(tmp_path, "my_pkg", version), "my-pkg", version)
    with wsgi_server(Refusing(inner, method, part, status)) as url:
        index = IndexClient(f"{shared_app}/{address(url)}/acme", None, http)
        answer = index.request("DELETE", "/my-pkg/1.0?blobs=delete")
    assert answer.status_code == 200
    assert answer.text.startswith(f"deleted my-pkg 1.0; {told}")
    assert answer.text.endswith(f"{READABLE}\n")
