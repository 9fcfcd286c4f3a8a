"""Core metadata next to a wheel (PEP 658, 714): stored, or read from the wheel by ranges."""

from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import Recorder, wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.integration.metadata_lab import (
    MEBIBYTE,
    METADATA,
    WHEEL,
    files_of,
    metadata_of,
    wheel_bytes,
)
from tests.integration.oci_client import (
    OCIClient,
    push_original,
    sha256,
)
from tests.integration.registry_doubles import (
    ALICE,
    BOB,
    BlobMeter,
    Members,
    Refusing,
    WithoutRanges,
    serving,
)
from tests.packages import make_sdist, make_wheel
from tests.registries import RunningRegistry


def test_the_stored_metadata_is_announced_with_its_sha256_and_answered(
    index: IndexClient, tmp_path: Path
) -> None:
    wheel = index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    file = files_of(index)[WHEEL]
    response = index.get(f"/my-pkg/{file['url']}.metadata")

    assert response.status_code == 200
    assert response.content == metadata_of(wheel)
    assert file["core-metadata"] == {"sha256": sha256(response.content)}
    assert file["dist-info-metadata"] == file["core-metadata"]
    assert response.headers["Content-Length"] == str(len(response.content))
    assert response.headers["Cache-Control"] == "private, no-cache"
    assert response.headers["Vary"] == "Authorization"


def test_metadata_of_an_sdist_is_neither_announced_nor_answered(
    index: IndexClient, tmp_path: Path
) -> None:
    sdist = index.published(make_sdist(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    assert "core-metadata" not in files_of(index)[sdist.name]
    assert index.get(f"/my-pkg/{sdist.name}.metadata").status_code == 404


def test_metadata_of_what_is_not_there_is_missing(index: IndexClient, tmp_path: Path) -> None:
    index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    for filename in (WHEEL.replace("1.0", "2.0"), WHEEL.replace("py3-none", "cp311-cp311")):
        assert index.get(f"/my-pkg/{filename}.metadata").status_code == 404


def test_metadata_is_for_those_whom_the_registry_lets_read_it(
    index: IndexClient, registry: RunningRegistry, tmp_path: Path
) -> None:
    index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    response = index.get(f"/my-pkg/{WHEEL}.metadata", auth=None)

    assert response.status_code == (200 if registry.auth is None else 401)


def test_the_originals_wheel_is_announced_where_the_registry_was_seen_to_answer_ranges(
    index: IndexClient,
    registry: RunningRegistry,
    repository: Callable[[str], OCIClient],
    tmp_path: Path,
) -> None:
    wheel = make_wheel(tmp_path, "my_pkg", "1.0", size=200_000)
    push_original(repository("my_pkg"), "1.0", {"py3-none-any.whl": wheel.read_bytes()})

    file = files_of(index)[WHEEL]
    response = index.get(f"/my-pkg/{WHEEL}.metadata")

    if registry.kind == "zuul-registry":
        assert "core-metadata" not in file
        assert response.status_code == 404
    else:
        assert file["core-metadata"] is True
        assert file["dist-info-metadata"] is True
        assert response.status_code == 200
        assert response.content == metadata_of(wheel)


@pytest.mark.parametrize("digest_annotation", [True, False], ids=["digest", "no-digest"])
def test_a_wheel_without_a_digest_in_the_index_is_found_by_its_manifest(
    shared_app: str,
    docker_open: RunningRegistry,
    namespace: str,
    http: requests.Session,
    tmp_path: Path,
    *,
    digest_annotation: bool,
) -> None:
    oci = OCIClient(docker_open, f"{namespace}/my_pkg", http)
    wheel = make_wheel(tmp_path, "my_pkg", "1.0")
    files = {"py3-none-any.whl": wheel.read_bytes()}
    push_original(oci, "1.0", files, digest_annotation=digest_annotation)
    index = IndexClient(f"{shared_app}/{docker_open.address}/{namespace}", None, http)

    assert files_of(index)[WHEEL]["core-metadata"] is True
    assert index.get(f"/my-pkg/{WHEEL}.metadata").content == metadata_of(wheel)


def test_a_registry_that_sends_the_whole_is_not_read_for_metadata(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    meter = BlobMeter(create_registry(tmp_path / "registry"))
    with serving(WithoutRanges(meter)) as registry:
        index = IndexClient(f"{app_server()}/{registry.address}/team", None, http)
        content = wheel_bytes(tmp_path, MEBIBYTE, MEBIBYTE)
        push_original(
            OCIClient(registry, "team/my_pkg", http), "1.0", {"py3-none-any.whl": content}
        )

        assert "core-metadata" not in files_of(index)[WHEEL]
        assert index.get(f"/my-pkg/{WHEEL}.metadata").status_code == 404
        assert index.get(f"/my-pkg/{WHEEL}").content == content


def test_a_registry_that_turns_out_to_send_the_whole_is_not_announced_for_again(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    """Installers fail if announced metadata is not available."""
    app = create_registry(tmp_path / "registry")
    whole, part = wheel_bytes(tmp_path, MEBIBYTE, 20), wheel_bytes(tmp_path, MEBIBYTE, 10)
    with serving(WithoutRanges(app, f"/blobs/sha256:{sha256(whole)}")) as registry:
        index = IndexClient(f"{app_server()}/{registry.address}/team", None, http)
        oci = OCIClient(registry, "team/my_pkg", http)
        push_original(oci, "1.0", {"py3-none-any.whl": whole})
        push_original(oci, "1.1", {"py3-none-any.whl": part})
        assert [file["core-metadata"] for file in files_of(index).values()] == [True, True]

        assert index.get(f"/my-pkg/{WHEEL}.metadata").status_code == 404
        assert not [file for file in files_of(index).values() if "core-metadata" in file]


@pytest.mark.parametrize("status", [401, 403, 404, 416, 429, 500])
def test_a_page_is_shown_without_an_announcement_where_the_probe_fails(
    app_server: AppServer, http: requests.Session, tmp_path: Path, status: int
) -> None:
    app = create_registry(tmp_path / "registry")
    refusing = Refusing(
        app, lambda asked: asked.method == "GET" and "/blobs/" in asked.path, status
    )
    with serving(refusing) as registry:
        index = IndexClient(f"{app_server()}/{registry.address}/team", None, http)
        content = wheel_bytes(tmp_path, 10, 10)
        push_original(
            OCIClient(registry, "team/my_pkg", http), "1.0", {"py3-none-any.whl": content}
        )

        assert "core-metadata" not in files_of(index)[WHEEL]


def test_metadata_read_for_one_user_is_not_given_to_another_who_may_not_read_the_repository(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    calls = Recorder(Members(create_registry(tmp_path / "registry")))
    with wsgi_server(calls) as url:
        registry = RunningRegistry(url, "", *ALICE, True, "double")
        content = wheel_bytes(tmp_path, 10, 10)
        push_original(
            OCIClient(registry, "team/my_pkg", http), "1.0", {"py3-none-any.whl": content}
        )
        index = IndexClient(f"{app_server()}/{address(url)}/team", ALICE, http)
        path = f"/my-pkg/{WHEEL}.metadata"
        read = index.get(path)
        assert read.content == METADATA

        assert index.get(path, auth=BOB).status_code == 403
        assert index.get(path, auth=None).status_code == 401
        assert index.get(path, auth=("mallory", "guess")).status_code == 401
        known = {"If-None-Match": read.headers["ETag"]}
        assert index.get(path, auth=BOB, headers=known).status_code == 403
        assert index.get(path, headers=known).status_code == 304
