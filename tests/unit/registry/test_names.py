import http.client
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyoci_flask.registry import create_registry
from pyoci_flask.registry.errors import DistributionError
from pyoci_flask.registry.names import Digest, parse_name, parse_tag
from pyoci_flask.registry.storage import Storage
from tests.doubles import wsgi_server
from tests.patience import PATIENCE
from tests.unit.registry.client import digest_of, in_process, index

SECRET = b"not for everybody"

LAYOUT_NAMES = ["blobs", "index.json", "oci-layout"]
components = st.sampled_from([*LAYOUT_NAMES, "sha256", "a", "0", "a.b", "a_b", "a__b", "a---b"])
names = st.lists(components, min_size=1, max_size=5).map("/".join)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage that everything which these tests try is refused by, so that one will do."""
    return tmp_path_factory.mktemp("names") / "storage"


@pytest.fixture(scope="module")
def served(storage: Path) -> Iterator[http.client.HTTPConnection]:
    """A connection that sends paths as they are; `storage`'s neighbour holds a layout."""
    outside = storage.parent / "outside"
    Storage(outside).make()
    hex_digest = digest_of(SECRET).removeprefix("sha256:")
    blobs = outside / "secret" / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (blobs / hex_digest).write_bytes(SECRET)
    (outside / "secret" / "index.json").write_bytes(index())
    with wsgi_server(create_registry(storage)) as origin:
        connection = http.client.HTTPConnection(urlsplit(origin).netloc, timeout=PATIENCE)
        yield connection
        connection.close()


@pytest.mark.parametrize(
    "name",
    [
        "../outside/secret",
        "a/../../outside/secret",
        "%2e%2e/outside/secret",
        "..%2foutside%2fsecret",
        "a//b",
        "a/./b",
        ".uploads",
        "_blobs",
        "a\\..\\b",
        "a%00b",
        "Upper",
        "a..b",
        "a___b",
        "-a",
        "a-",
        "%C3%BC",
        "a" * 256,
        "a/" * 127 + "aa",
    ],
)
def test_a_name_that_the_specification_does_not_allow_is_refused(
    served: http.client.HTTPConnection, storage: Path, name: str
) -> None:
    for method, path in [
        ("GET", f"/v2/{name}/blobs/{digest_of(SECRET)}"),
        ("GET", f"/v2/{name}/tags/list"),
        ("POST", f"/v2/{name}/blobs/uploads/?digest={digest_of(b'')}"),
        ("PUT", f"/v2/{name}/manifests/1.0"),
    ]:
        served.request(method, path)
        response = served.getresponse()

        assert (response.status, b"NAME_INVALID" in response.read()) == (400, True)
    assert [path.name for path in storage.iterdir()] == [".uploads"]


@pytest.mark.parametrize("name", ["/outside/secret", "%2Foutside/secret", "a%0a", ""])
def test_what_cannot_be_a_name_at_all_is_not_found(
    served: http.client.HTTPConnection, storage: Path, name: str
) -> None:
    for method in ("GET", "DELETE"):
        served.request(method, f"/v2/{name}/blobs/{digest_of(SECRET)}")
        response = served.getresponse()

        assert (response.status, b"NAME_UNKNOWN" in response.read()) == (404, True)
    assert [path.name for path in storage.iterdir()] == [".uploads"]


@pytest.mark.parametrize("name", ["a" * 255, "a/" * 127 + "a", "a.b_c__d---e/0", "v2/blobs"])
def test_a_name_that_the_specification_allows_is_stored(tmp_path: Path, name: str) -> None:
    registry = in_process(create_registry(tmp_path))
    digest = registry.push_blob(name, b"x")

    assert registry.get(f"/v2/{name}/blobs/{digest}").content == b"x"


@pytest.mark.parametrize(
    "name", ["blobs", "uploads", "a/blobs/uploads", "a/tags/list", "a/manifests", "v2/referrers"]
)
def test_a_name_that_looks_like_a_part_of_the_api_is_a_name_nevertheless(
    tmp_path: Path, name: str
) -> None:
    registry = in_process(create_registry(tmp_path))
    pushed = registry.push_image(name, "1.0", b"layer")

    assert registry.get(f"/v2/{name}/manifests/1.0").content == pushed
    assert registry.tags(name) == ["1.0"]


@given(name=names)
@settings(deadline=None)
def test_every_valid_name_has_a_folder_of_its_own_inside_the_storage(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    storage = Storage(tmp_path_factory.getbasetemp() / "names")
    storage.make()
    repository = storage.layout(parse_name(name))

    relative = repository.folder.relative_to(storage.folder)
    assert not set(LAYOUT_NAMES) & set(relative.parts)
    assert "/".join(part.removeprefix("_") for part in relative.parts) == name


@pytest.mark.parametrize("text", ["a\n", "a/../b", "a/", "", "\u0660", "a\0"])
def test_what_is_no_name_is_not_parsed(text: str) -> None:
    with pytest.raises(DistributionError, match="invalid repository name"):
        parse_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "sha256:" + "a" * 64 + "\n",
        "sha256:" + "a" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "\u0660" * 64,
        "sha256:../" + "a" * 61,
        "sha256" + "a" * 64,
        "SHA256:" + "a" * 64,
    ],
)
def test_what_is_no_digest_is_not_parsed(text: str) -> None:
    with pytest.raises(DistributionError, match="a digest is sha256:"):
        Digest.parse(text)


@given(text=st.text(max_size=140))
@example(text="a\n")
@example(text="..")
def test_a_tag_is_safe_to_write_anywhere(text: str) -> None:
    tag = parse_tag(text)

    assert tag is None or (tag == quote(text, safe="") and tag[0] not in ".-")
