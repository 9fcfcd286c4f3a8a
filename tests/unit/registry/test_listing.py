from urllib.parse import parse_qs, urlsplit

import pytest

from tests.unit.registry.client import RegistryClient, error, index


def push_tags(registry: RegistryClient, *tags: str) -> None:
    for tag in tags:
        registry.push_manifest("acme/app", index(), tag)


def test_tags_are_listed_in_lexical_order(registry: RegistryClient) -> None:
    push_tags(registry, "b", "1.10", "B", "1.9", "_a", "a")

    response = registry.get("/v2/acme/app/tags/list")

    assert response.json() == {
        "name": "acme/app",
        "tags": ["1.10", "1.9", "B", "_a", "a", "b"],
    }
    assert "Link" not in response.headers


def test_links_lead_through_all_pages(registry: RegistryClient) -> None:
    push_tags(registry, *"abcde")
    address, pages = "/v2/acme/app/tags/list?n=2", []

    while address:
        response = registry.get(address)
        pages.append(response.json()["tags"])
        address = response.links.get("next", {}).get("url", "")

    assert pages == [["a", "b"], ["c", "d"], ["e"]]


def test_a_link_keeps_the_page_size(registry: RegistryClient) -> None:
    push_tags(registry, *"abc")

    response = registry.get("/v2/acme/app/tags/list?n=2")

    assert response.headers["Link"] == '</v2/acme/app/tags/list?n=2&last=b>; rel="next"'
    assert parse_qs(urlsplit(response.links["next"]["url"]).query) == {"n": ["2"], "last": ["b"]}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("n=3", ["a", "b", "c"]),
        ("n=1000000", ["a", "b", "c"]),
        ("n=99999999999999999999", ["a", "b", "c"]),
        ("n=0", []),
        ("last=a", ["b", "c"]),
        ("last=aa", ["b", "c"]),
        ("n=5&last=c", []),
    ],
)
def test_the_last_page_has_no_link(
    registry: RegistryClient, query: str, expected: list[str]
) -> None:
    push_tags(registry, *"abc")

    response = registry.get(f"/v2/acme/app/tags/list?{query}")

    assert response.json()["tags"] == expected
    assert "Link" not in response.headers


@pytest.mark.parametrize("listing", ["/v2/acme/app/tags/list", "/v2/_catalog"])
@pytest.mark.parametrize("n", ["-1", "x", "", "1.5", "²"])
def test_a_page_size_that_is_no_number_is_refused(
    registry: RegistryClient, listing: str, n: str
) -> None:
    push_tags(registry, "a")

    assert error(registry.get(f"{listing}?n={n}")) == (400, "UNSUPPORTED")


def test_a_missing_repository_is_unknown(registry: RegistryClient) -> None:
    registry.begin_upload("acme/app")

    assert error(registry.get("/v2/acme/app/tags/list")) == (404, "NAME_UNKNOWN")


def test_a_repository_is_there_with_its_first_blob(registry: RegistryClient) -> None:
    registry.push_blob("acme/app", b"x")

    assert registry.tags("acme/app") == []


def test_a_repository_stays_when_its_last_tag_is_gone(registry: RegistryClient) -> None:
    push_tags(registry, "a")

    registry.request("DELETE", "/v2/acme/app/manifests/a")

    assert registry.tags("acme/app") == []


def test_the_catalog_lists_repositories_in_pages(registry: RegistryClient) -> None:
    names = ["a", "a/b", "a-b/c", "a/blobs", "a/blobs/sha256", "index.json/oci-layout", "z"]
    for name in names:
        registry.push_blob(name, b"x")

    assert registry.get("/v2/_catalog").json() == {"repositories": sorted(names)}
    first = registry.get("/v2/_catalog?n=4")
    second = registry.get(first.links["next"]["url"])
    assert first.json()["repositories"] + second.json()["repositories"] == sorted(names)
    assert "Link" not in second.headers


def test_the_catalog_of_an_empty_registry_is_empty(registry: RegistryClient) -> None:
    assert registry.get("/v2/_catalog").json() == {"repositories": []}
