import pytest

from tests.unit.registry.client import (
    EMPTY,
    INDEX,
    MANIFEST,
    RegistryClient,
    descriptor,
    digest_of,
    error,
    index,
    manifest,
)

SUBJECT = manifest(annotations={"what": "the subject"})
ADDRESS = f"/v2/acme/app/referrers/{digest_of(SUBJECT)}"


def test_a_manifest_with_a_subject_is_listed_as_its_referrer(registry: RegistryClient) -> None:
    registry.push_image("acme/app", "1.0", annotations={"what": "the subject"})
    registry.push_blob("acme/app", b"signature")
    signature = manifest(
        b"signature",
        subject=descriptor(SUBJECT, MANIFEST),
        artifactType="application/vnd.example.signature",
        annotations={"by": "alice"},
    )

    put = registry.put_manifest("acme/app", digest_of(signature), signature)
    listed = registry.get(ADDRESS)

    assert (put.status_code, put.headers["OCI-Subject"]) == (201, digest_of(SUBJECT))
    assert listed.headers["Content-Type"] == INDEX
    assert listed.json() == {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            {
                **descriptor(signature, MANIFEST),
                "artifactType": "application/vnd.example.signature",
                "annotations": {"by": "alice"},
            }
        ],
    }


def test_a_referrer_may_come_before_its_subject(registry: RegistryClient) -> None:
    pushed = registry.push_image("acme/app", None, subject=descriptor(SUBJECT, MANIFEST))

    assert [m["digest"] for m in registry.get(ADDRESS).json()["manifests"]] == [digest_of(pushed)]


def test_without_an_artifact_type_a_manifest_has_its_configs_and_an_index_none(
    registry: RegistryClient,
) -> None:
    image = registry.push_image("acme/app", None, subject=descriptor(SUBJECT, MANIFEST))
    listing = index(subject=descriptor(SUBJECT, MANIFEST))
    registry.push_manifest("acme/app", listing)

    entries = {m["digest"]: m for m in registry.get(ADDRESS).json()["manifests"]}

    assert entries[digest_of(image)]["artifactType"] == EMPTY
    assert "artifactType" not in entries[digest_of(listing)]


def test_referrers_are_filtered_by_artifact_type(registry: RegistryClient) -> None:
    for kind in ("application/a", "application/b+c"):
        registry.push_image(
            "acme/app", None, subject=descriptor(SUBJECT, MANIFEST), artifactType=kind
        )

    response = registry.get(f"{ADDRESS}?artifactType=application%2Fb%2Bc")

    assert [m["artifactType"] for m in response.json()["manifests"]] == ["application/b+c"]
    assert response.headers["OCI-Filters-Applied"] == "artifactType"
    assert "OCI-Filters-Applied" not in registry.get(ADDRESS).headers


def test_a_deleted_referrer_is_no_longer_listed(registry: RegistryClient) -> None:
    pushed = registry.push_image("acme/app", None, subject=descriptor(SUBJECT, MANIFEST))

    registry.request("DELETE", f"/v2/acme/app/manifests/{digest_of(pushed)}")

    assert registry.get(ADDRESS).json()["manifests"] == []


@pytest.mark.parametrize("name", ["acme/app", "acme/missing"])
def test_what_nobody_refers_to_has_an_empty_list(registry: RegistryClient, name: str) -> None:
    registry.push_image("acme/app", "1.0")

    response = registry.get(f"/v2/{name}/referrers/{digest_of(b'x')}")

    assert (response.status_code, response.json()["manifests"]) == (200, [])


def test_a_malformed_digest_is_invalid(registry: RegistryClient) -> None:
    assert error(registry.get("/v2/acme/app/referrers/latest")) == (400, "DIGEST_INVALID")
