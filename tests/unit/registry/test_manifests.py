import json
from pathlib import Path

import pytest

from tests.unit.registry.client import (
    EMPTY,
    INDEX,
    LAYER,
    MANIFEST,
    RegistryClient,
    Streamed,
    descriptor,
    digest_of,
    error,
    index,
    manifest,
)

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


@pytest.mark.parametrize("accept", ["*/*", INDEX, MANIFEST, "text/html"])
def test_a_manifest_comes_back_byte_for_byte_whatever_is_accepted(
    registry: RegistryClient, accept: str
) -> None:
    pushed = registry.push_image("acme/app", "1.0", b"layer")

    for reference in ("1.0", digest_of(pushed)):
        response = registry.get(f"/v2/acme/app/manifests/{reference}", Accept=accept)

        assert (response.status_code, response.content) == (200, pushed)
        assert response.headers["Content-Type"] == MANIFEST
        assert response.headers["Docker-Content-Digest"] == digest_of(pushed)
        assert response.headers["ETag"] == f'"{digest_of(pushed)}"'


def test_head_tells_the_same_without_the_bytes(registry: RegistryClient) -> None:
    pushed = registry.push_image("acme/app", "1.0", b"layer")

    response = registry.request("HEAD", "/v2/acme/app/manifests/1.0")

    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["Content-Length"] == str(len(pushed))
    assert response.headers["Content-Type"] == MANIFEST
    assert response.headers["Docker-Content-Digest"] == digest_of(pushed)


def test_a_manifest_that_the_client_has_is_not_sent_again(registry: RegistryClient) -> None:
    pushed = registry.push_image("acme/app", "1.0")

    response = registry.get("/v2/acme/app/manifests/1.0", If_None_Match=f'"{digest_of(pushed)}"')

    assert (response.status_code, response.content) == (304, b"")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_unchanged_manifest_is_known_by_tag_and_digest(
    registry: RegistryClient, method: str
) -> None:
    pushed = registry.push_image("acme/app", "1.0")
    digest = digest_of(pushed)
    registry.push_manifest("acme/app", index(), "2.0")

    for reference, known, status in [
        ("1.0", f'"{digest}"', 304),
        (digest, f'W/"{digest}"', 304),
        ("1.0", "*", 304),
        ("1.0", f'"{digest_of(b"else")}", "{digest}"', 304),
        ("1.0", f'"{digest_of(index())}"', 200),
        ("2.0", f'"{digest}"', 200),
    ]:
        response = registry.request(
            method, f"/v2/acme/app/manifests/{reference}", headers={"If-None-Match": known}
        )

        own = digest_of(index()) if reference == "2.0" else digest
        assert (response.status_code, response.headers["ETag"]) == (status, f'"{own}"')
        assert response.headers["Docker-Content-Digest"] == own
        assert bool(response.content) == (method == "GET" and status == 200)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_manifest_whose_content_is_missing_is_unknown_even_if_the_client_has_it(
    registry: RegistryClient, storage: Path, method: str
) -> None:
    digest = digest_of(registry.push_image("acme/app", "1.0"))
    (storage / "acme" / "app" / "blobs" / "sha256" / digest.partition(":")[2]).unlink()

    response = registry.request(
        method, "/v2/acme/app/manifests/1.0", headers={"If-None-Match": f'"{digest}"'}
    )

    assert response.status_code == 404


def test_a_tagged_manifest_is_known_by_its_digest_also_after_the_tag_has_moved(
    registry: RegistryClient,
) -> None:
    first = registry.push_manifest("acme/app", index(), "1.0")
    registry.push_manifest("acme/app", index(annotations={"a": "b"}), "1.0")

    response = registry.get(f"/v2/acme/app/manifests/{first}")

    assert (response.status_code, response.headers["Content-Type"]) == (200, INDEX)


def test_a_put_names_the_manifest_that_it_made(registry: RegistryClient) -> None:
    registry.push_blob("acme/app", b"{}")
    content = manifest()

    response = registry.put_manifest("acme/app", "1.0", content)

    assert response.status_code == 201
    assert response.headers["Docker-Content-Digest"] == digest_of(content)
    assert registry.get(response.headers["Location"]).content == content


def test_an_index_of_manifests_pushed_by_digest_is_served(registry: RegistryClient) -> None:
    first = registry.push_image("acme/app", None, b"one")
    second = registry.push_image("acme/app", None, b"two")
    content = index(first, second)

    registry.push_manifest("acme/app", content, "1.0")

    assert registry.get("/v2/acme/app/manifests/1.0").content == content
    for child in (first, second):
        response = registry.get(f"/v2/acme/app/manifests/{digest_of(child)}")
        assert (response.content, response.headers["Content-Type"]) == (child, MANIFEST)
    assert registry.tags("acme/app") == ["1.0"]


def test_an_index_without_entries_is_stored(registry: RegistryClient) -> None:
    registry.push_manifest("acme/app", index(), "1.0")

    assert registry.get("/v2/acme/app/manifests/1.0").json()["manifests"] == []


def test_a_tag_moves_and_the_old_manifest_stays_by_digest(registry: RegistryClient) -> None:
    old = registry.push_image("acme/app", "1.0", b"old")
    new = registry.push_image("acme/app", "1.0", b"new")

    assert registry.get("/v2/acme/app/manifests/1.0").content == new
    assert registry.get(f"/v2/acme/app/manifests/{digest_of(old)}").content == old


@pytest.mark.parametrize("media_type", [DOCKER, None])
def test_a_manifest_without_a_media_type_has_that_of_its_content_type(
    registry: RegistryClient, media_type: str | None
) -> None:
    registry.push_blob("acme/app", b"{}")
    document = json.loads(manifest())
    if media_type is None:
        sent = "application/vnd.oci.image.manifest.v1+json; charset=utf-8"
        del document["mediaType"]
    else:
        sent = document["mediaType"] = media_type

    response = registry.put_manifest("acme/app", "1.0", json.dumps(document).encode(), sent)

    assert response.status_code == 201
    served = registry.get("/v2/acme/app/manifests/1.0").headers["Content-Type"]
    assert served == sent.partition(";")[0]


def test_a_docker_manifest_list_is_stored(registry: RegistryClient) -> None:
    content = index(mediaType=DOCKER_LIST)

    registry.push_manifest("acme/app", content, "1.0")

    assert registry.get("/v2/acme/app/manifests/1.0").headers["Content-Type"] == DOCKER_LIST


@pytest.mark.parametrize("name", ["acme/app", "acme/new"])
def test_a_manifest_of_missing_blobs_is_refused(registry: RegistryClient, name: str) -> None:
    registry.push_blob("acme/app", b"{}")

    response = registry.put_manifest(name, "1.0", manifest(b"missing"))

    assert error(response) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert registry.get(f"/v2/{name}/manifests/1.0").status_code == 404
    assert registry.get("/v2/acme/new/tags/list").status_code == 404


def test_an_index_of_missing_manifests_is_refused(registry: RegistryClient) -> None:
    present = registry.push_image("acme/app", None)

    response = registry.put_manifest("acme/app", "1.0", index(present, manifest(b"x")), INDEX)

    assert error(response) == (400, "MANIFEST_BLOB_UNKNOWN")


def test_a_blob_that_looks_like_a_manifest_is_none(registry: RegistryClient) -> None:
    content = manifest()
    digest = registry.push_blob("acme/app", content)

    assert error(registry.get(f"/v2/acme/app/manifests/{digest}")) == (404, "MANIFEST_UNKNOWN")
    refused = registry.put_manifest("acme/app", "1.0", index(content), INDEX)
    assert error(refused) == (400, "MANIFEST_BLOB_UNKNOWN")


def test_an_index_may_refer_to_plain_blobs(registry: RegistryClient) -> None:
    registry.push_blob("acme/app", b"cache")
    content = index()
    document = json.loads(content)
    document["manifests"] = [descriptor(b"cache", "application/octet-stream")]

    response = registry.put_manifest("acme/app", "1.0", json.dumps(document).encode(), INDEX)

    assert response.status_code == 201


def test_a_layer_from_elsewhere_need_not_be_there(registry: RegistryClient) -> None:
    registry.push_blob("acme/app", b"{}")
    foreign = descriptor(b"x", "application/vnd.oci.image.layer.nondistributable.v1.tar")
    content = manifest(layers=[foreign])

    assert registry.put_manifest("acme/app", "1.0", content).status_code == 201


def test_a_digest_that_is_not_the_contents_is_refused(registry: RegistryClient) -> None:
    registry.push_blob("acme/app", b"{}")

    response = registry.put_manifest("acme/app", digest_of(b"other"), manifest())

    assert error(response) == (400, "DIGEST_INVALID")


BAD_DOCUMENTS = {
    "no JSON": b"{",
    "no object": b"[]",
    "deeply nested": b"[" * 100_000,
    "not UTF-8": b'{"a": "\xff"}',
    "another schema version": manifest(schemaVersion=1),
    "another media type than the Content-Type": manifest(mediaType=INDEX),
    "an unknown media type": manifest(mediaType="application/json"),
    "no config": manifest(config=None),
    "layers that are no list": manifest(layers={}),
    "a layer that is no descriptor": manifest(layers=["sha256:x"]),
    "a layer without a size": manifest(layers=[{"mediaType": LAYER, "digest": digest_of(b"")}]),
    "a negative size": manifest(layers=[descriptor(b"") | {"size": -1}]),
    "a digest of another algorithm": manifest(
        layers=[descriptor(b"") | {"digest": "sha384:" + "a" * 96}]
    ),
    "a digest that leads elsewhere": manifest(
        layers=[descriptor(b"") | {"digest": "sha256:../../../etc/passwd"}]
    ),
    "manifests and layers": manifest(manifests=[]),
    "a subject that is no descriptor": manifest(subject="sha256:x"),
    "annotations that are no texts": manifest(annotations={"a": 1}),
    "an artifact type that is no text": manifest(artifactType=1),
}


@pytest.mark.parametrize("document", BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS.keys())
def test_what_is_no_manifest_is_refused(registry: RegistryClient, document: bytes) -> None:
    registry.push_blob("acme/app", b"{}")

    response = registry.put_manifest("acme/app", "1.0", document)

    assert error(response) == (400, "MANIFEST_INVALID")
    assert registry.tags("acme/app") == []


def test_an_index_with_layers_is_refused(registry: RegistryClient) -> None:
    response = registry.put_manifest("acme/app", "1.0", index(layers=[]), INDEX)

    assert error(response) == (400, "MANIFEST_INVALID")


def test_an_index_whose_entries_are_null_has_none(registry: RegistryClient) -> None:
    content = index(manifests=None)

    assert registry.put_manifest("acme/app", "1.0", content, INDEX).status_code == 201


def test_a_manifest_of_four_mebibytes_is_stored_and_a_larger_one_refused(
    registry: RegistryClient,
) -> None:
    registry.push_blob("acme/app", b"{}")
    largest = manifest().ljust(4 * 1024 * 1024)

    assert registry.put_manifest("acme/app", "1.0", largest).status_code == 201
    assert registry.get("/v2/acme/app/manifests/1.0").content == largest
    for body in (largest + b" ", Streamed([largest, b" "])):
        path = "/v2/acme/app/manifests/2.0"
        response = registry.request("PUT", path, body, {"Content-Type": MANIFEST})
        assert error(response) == (413, "MANIFEST_INVALID")


@pytest.mark.parametrize("tag", ["-1", ".hidden", "a" * 129, "a b", "1+2", "ü"])
def test_what_is_no_tag_is_refused(registry: RegistryClient, tag: str) -> None:
    registry.push_blob("acme/app", b"{}")

    assert error(registry.put_manifest("acme/app", tag, manifest()))[0] == 400
    assert error(registry.get(f"/v2/acme/app/manifests/{tag}")) == (404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize("tag", ["1.0", "_", "1_2.0-cpu", "A" * 128, "blobs"])
def test_every_tag_that_the_specification_allows_is_stored(
    registry: RegistryClient, tag: str
) -> None:
    pushed = registry.push_image("acme/app", tag)

    assert registry.get(f"/v2/acme/app/manifests/{tag}").content == pushed


@pytest.mark.parametrize("name", ["acme/app", "acme/missing"])
@pytest.mark.parametrize("reference", ["2.0", digest_of(b"missing")])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_missing_manifest_is_unknown(
    registry: RegistryClient, name: str, reference: str, method: str
) -> None:
    registry.push_image("acme/app", "1.0")

    response = registry.request(method, f"/v2/{name}/manifests/{reference}")

    assert error(response) == (404, "MANIFEST_UNKNOWN")


def test_a_malformed_digest_is_invalid(registry: RegistryClient) -> None:
    assert error(registry.get("/v2/acme/app/manifests/sha256:12")) == (400, "DIGEST_INVALID")


def test_a_deleted_tag_leaves_its_manifest_and_other_tags(registry: RegistryClient) -> None:
    pushed = registry.push_image("acme/app", "1.0")
    registry.push_manifest("acme/app", pushed, "latest")

    assert registry.request("DELETE", "/v2/acme/app/manifests/1.0").status_code == 202

    assert registry.tags("acme/app") == ["latest"]
    assert registry.get(f"/v2/acme/app/manifests/{digest_of(pushed)}").status_code == 200


def test_a_manifest_deleted_by_digest_takes_its_tags_along(registry: RegistryClient) -> None:
    pushed = registry.push_image("acme/app", "1.0", b"layer")
    registry.push_manifest("acme/app", pushed, "latest")
    kept = registry.push_image("acme/app", "2.0", b"layer", annotations={"a": "b"})

    deleted = registry.request("DELETE", f"/v2/acme/app/manifests/{digest_of(pushed)}")

    assert deleted.status_code == 202
    assert registry.tags("acme/app") == ["2.0"]
    assert registry.get("/v2/acme/app/manifests/latest").status_code == 404
    assert registry.get(f"/v2/acme/app/manifests/{digest_of(pushed)}").status_code == 404
    assert registry.get("/v2/acme/app/manifests/2.0").content == kept


def test_a_deleted_manifest_can_be_pushed_again(registry: RegistryClient) -> None:
    pushed = registry.push_image("acme/app", "1.0", b"layer")
    registry.request("DELETE", f"/v2/acme/app/manifests/{digest_of(pushed)}")

    registry.push_manifest("acme/app", pushed, "1.0")

    assert registry.get("/v2/acme/app/manifests/1.0").content == pushed


def test_an_index_outlives_the_delete_of_its_child(registry: RegistryClient) -> None:
    child = registry.push_image("acme/app", None, b"one")
    registry.push_manifest("acme/app", index(child), "1.0")

    registry.request("DELETE", f"/v2/acme/app/manifests/{digest_of(child)}")

    assert registry.get("/v2/acme/app/manifests/1.0").content == index(child)
    assert registry.get(f"/v2/acme/app/manifests/{digest_of(child)}").status_code == 404


def test_an_empty_config_is_stored_under_its_own_type(registry: RegistryClient) -> None:
    pushed = registry.push_image("acme/app", "1.0", b"layer")

    assert json.loads(pushed)["config"] == descriptor(b"{}", EMPTY)
    assert registry.get(f"/v2/acme/app/blobs/{digest_of(b'{}')}").content == b"{}"
