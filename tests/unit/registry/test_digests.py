"""The cases of the OCI conformance suite, for each algorithm of digests.

Distribution specification 1.1: pull, push, content discovery and content management.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci_flask.registry import create_registry
from pyoci_flask.registry.__main__ import main
from tests.doubles import wsgi_server
from tests.unit.registry.client import EMPTY, INDEX, MANIFEST, RegistryClient, error, over_socket

CONTENT = bytes(range(256)) * 12
CHUNKS = (CONTENT[:1024], CONTENT[1024:2048], CONTENT[2048:])
UPLOADS = "/v2/a/blobs/uploads/"


@pytest.fixture(params=["sha256", "sha512"])
def algorithm(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def served(storage: Path) -> Iterator[RegistryClient]:
    with wsgi_server(create_registry(storage)) as origin:
        client = over_socket(origin)
        with client.session:
            yield client


def digest_by(algorithm: str, content: bytes) -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def described(algorithm: str, content: bytes, media_type: str) -> dict[str, Any]:
    digest = digest_by(algorithm, content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def image(algorithm: str, *layers: bytes, **fields: object) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described(algorithm, b"{}", EMPTY),
        "layers": [described(algorithm, layer, "application/x") for layer in layers],
        **fields,
    }
    return json.dumps(document).encode()


def image_index(algorithm: str, *manifests: bytes, **fields: object) -> bytes:
    entries = [described(algorithm, content, MANIFEST) for content in manifests]
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries, **fields}
    return json.dumps(document).encode()


def push_blob(client: RegistryClient, digest: str, content: bytes, name: str = "a") -> None:
    path = f"/v2/{name}/blobs/uploads/?digest={digest}"
    assert client.request("POST", path, content).status_code == 201


def push_manifest(
    client: RegistryClient, algorithm: str, content: bytes, query: str = ""
) -> dict[str, str]:
    """Push by digest, its config and layers first; returns the headers of the answer."""
    document = json.loads(content)
    for layer in document.get("layers", []):
        assert client.get(f"/v2/a/blobs/{layer['digest']}").status_code == 200
    if "config" in document:
        push_blob(client, digest_by(algorithm, b"{}"), b"{}")
    digest = digest_by(algorithm, content)
    answer = client.put_manifest("a", digest + query, content, document["mediaType"])
    assert (answer.status_code, answer.text) == (201, "")
    assert answer.headers["Docker-Content-Digest"] == digest
    assert client.get(answer.headers["Location"]).content == content
    return dict(answer.headers)


def assert_blob(client: RegistryClient, digest: str, content: bytes, name: str = "a") -> None:
    path = f"/v2/{name}/blobs/{digest}"
    head, get = client.request("HEAD", path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert (get.status_code, get.content) == (200, content)
    for answer in (head, get):
        assert answer.headers["Content-Length"] == str(len(content))
        assert answer.headers["Docker-Content-Digest"] == digest


@pytest.mark.parametrize("content", [CONTENT, b"", b"{}"])
def test_a_blob_is_pushed_by_one_post(
    served: RegistryClient, algorithm: str, content: bytes
) -> None:
    digest = digest_by(algorithm, content)

    answer = served.request("POST", f"{UPLOADS}?digest={digest}", content)

    assert answer.status_code == 201
    assert answer.headers["Docker-Content-Digest"] == digest
    assert served.get(answer.headers["Location"]).content == content
    assert_blob(served, digest, content)


def test_a_blob_is_pushed_by_post_and_put(served: RegistryClient, algorithm: str) -> None:
    digest = digest_by(algorithm, CONTENT)

    answer = served.request("PUT", f"{served.begin_upload('a')}?digest={digest}", CONTENT)

    assert (answer.status_code, answer.headers["Docker-Content-Digest"]) == (201, digest)
    assert served.get(answer.headers["Location"]).content == CONTENT
    assert_blob(served, digest, CONTENT)


@pytest.mark.parametrize("last_by_put", [True, False])
@pytest.mark.parametrize("disordered", [True, False])
def test_a_blob_is_pushed_in_chunks(
    served: RegistryClient, algorithm: str, last_by_put: bool, disordered: bool
) -> None:
    digest = digest_by(algorithm, CONTENT)
    location, start = served.begin_upload("a"), 0
    for number, chunk in enumerate(CHUNKS):
        last = last_by_put and number == len(CHUNKS) - 1
        method, query = ("PUT", f"?digest={digest}") if last else ("PATCH", "")
        if disordered:
            wrong = {"Content-Range": f"{start + 1}-{start + len(chunk)}"}
            assert served.request(method, location + query, chunk, wrong).status_code == 416
            assert served.get(location).headers["Range"] == f"0-{max(0, start - 1)}"
        headers = {"Content-Range": f"{start}-{start + len(chunk) - 1}"}
        answer = served.request(method, location + query, chunk, headers)
        assert answer.status_code == (201 if last else 202)
        location, start = answer.headers["Location"], start + len(chunk)
    if not last_by_put:
        answer = served.request("PUT", f"{location}?digest={digest}")

    assert (answer.status_code, answer.headers["Docker-Content-Digest"]) == (201, digest)
    assert_blob(served, digest, CONTENT)


def test_a_blob_is_pushed_as_a_stream(served: RegistryClient, algorithm: str) -> None:
    digest = digest_by(algorithm, CONTENT)

    answer = served.request("PATCH", served.begin_upload("a"), iter(CHUNKS))
    assert answer.status_code == 202
    answer = served.request("PUT", f"{answer.headers['Location']}?digest={digest}")

    assert answer.status_code == 201
    assert_blob(served, digest, CONTENT)


@pytest.mark.parametrize("way", ["post", "put", "chunks", "last chunk"])
def test_a_blob_with_another_digest_is_refused(
    served: RegistryClient, storage: Path, algorithm: str, way: str
) -> None:
    digest = digest_by(algorithm, CONTENT)
    wrong = CONTENT + b"oh no"
    if way == "post":
        answer = served.request("POST", f"{UPLOADS}?digest={digest}", wrong)
    else:
        location = served.begin_upload("a")
        first = {"put": b"", "chunks": wrong, "last chunk": wrong[:1000]}[way]
        if first:
            assert served.request("PATCH", location, first).status_code == 202
        answer = served.request("PUT", f"{location}?digest={digest}", wrong[len(first) :])

    assert error(answer) == (400, "DIGEST_INVALID")
    assert error(served.get(f"/v2/a/blobs/{digest}")) == (404, "BLOB_UNKNOWN")
    assert list((storage / ".uploads").iterdir()) == []


def test_a_blob_is_mounted_from_another_repository(served: RegistryClient, algorithm: str) -> None:
    digest = digest_by(algorithm, CONTENT)
    push_blob(served, digest, CONTENT, "b")

    missing = served.request("POST", f"{UPLOADS}?mount={digest}&from=c")
    mounted = served.request("POST", f"{UPLOADS}?mount={digest}&from=b")

    assert missing.status_code == 202
    assert (mounted.status_code, mounted.headers["Docker-Content-Digest"]) == (201, digest)
    assert_blob(served, digest, CONTENT)
    assert served.request("DELETE", f"/v2/b/blobs/{digest}").status_code == 202
    assert_blob(served, digest, CONTENT)


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("500-1499", CONTENT[500:1500]),
        ("500-", CONTENT[500:]),
        ("-500", CONTENT[-500:]),
        ("3000-9000", CONTENT[3000:]),
        ("9000-9999", None),
    ],
)
def test_a_range_of_a_blob_is_pulled(
    served: RegistryClient, algorithm: str, wanted: str, part: bytes | None
) -> None:
    digest = digest_by(algorithm, CONTENT)
    push_blob(served, digest, CONTENT)

    answer = served.get(f"/v2/a/blobs/{digest}", Range=f"bytes={wanted}")

    if part is None:
        assert answer.status_code == 416
    else:
        assert (answer.status_code, answer.content) == (206, part)


def test_a_blob_is_deleted(served: RegistryClient, algorithm: str) -> None:
    digest = digest_by(algorithm, CONTENT)
    push_blob(served, digest, CONTENT)
    path = f"/v2/a/blobs/{digest}"

    assert served.request("DELETE", path).status_code == 202

    assert served.request("HEAD", path).status_code == 404
    assert error(served.request("DELETE", path)) == (404, "BLOB_UNKNOWN")


def test_an_index_and_its_images_are_pushed_pulled_and_deleted(
    served: RegistryClient, algorithm: str
) -> None:
    for layer in (b"one", b"two"):
        push_blob(served, digest_by(algorithm, layer), layer)
    images = [image(algorithm, layer) for layer in (b"one", b"two")]
    pushed = [*images, image_index(algorithm, *images)]

    for content in pushed:
        push_manifest(served, algorithm, content)

    for content in pushed:
        path = f"/v2/a/manifests/{digest_by(algorithm, content)}"
        head, get = served.request("HEAD", path), served.get(path)
        assert (head.status_code, get.content) == (200, content)
        for answer in (head, get):
            assert answer.headers["Content-Length"] == str(len(content))
            assert answer.headers["Docker-Content-Digest"] == digest_by(algorithm, content)
            assert answer.headers["Content-Type"] == json.loads(content)["mediaType"]
    for content in reversed(pushed):
        path = f"/v2/a/manifests/{digest_by(algorithm, content)}"
        assert served.request("DELETE", path).status_code == 202
        assert served.request("HEAD", path).status_code == 404
        assert error(served.request("DELETE", path)) == (404, "MANIFEST_UNKNOWN")
    for layer in (b"one", b"two", b"{}"):
        blob = f"/v2/a/blobs/{digest_by(algorithm, layer)}"
        assert served.request("DELETE", blob).status_code == 202


def test_a_push_by_digest_gives_all_tags_that_it_names(
    served: RegistryClient, algorithm: str
) -> None:
    content = image(algorithm)

    headers = push_manifest(served, algorithm, content, "?tag=1.0&tag=latest&tag=1.0")

    assert headers["OCI-Tag"] == "1.0, latest, 1.0"
    assert served.tags("a") == ["1.0", "latest"]
    for tag in ("1.0", "latest"):
        answer = served.get(f"/v2/a/manifests/{tag}")
        assert answer.content == content
        assert answer.headers["Docker-Content-Digest"] == digest_by(algorithm, content)
    assert served.request("DELETE", "/v2/a/manifests/1.0").status_code == 202
    assert served.tags("a") == ["latest"]
    digest = digest_by(algorithm, content)
    assert served.request("DELETE", f"/v2/a/manifests/{digest}").status_code == 202
    assert served.tags("a") == []


def test_a_push_by_digest_with_a_bad_tag_is_refused(served: RegistryClient, algorithm: str) -> None:
    content = image_index(algorithm)
    digest = digest_by(algorithm, content)

    answer = served.put_manifest("a", f"{digest}?tag=1.0&tag=.bad", content, INDEX)

    assert error(answer) == (400, "MANIFEST_INVALID")
    assert served.get(f"/v2/a/manifests/{digest}").status_code == 404


def test_a_manifest_with_another_digest_is_refused(served: RegistryClient, algorithm: str) -> None:
    content = image_index(algorithm)
    digest = digest_by(algorithm, content)

    answer = served.put_manifest("a", digest, content + b"  ", INDEX)

    assert error(answer) == (400, "DIGEST_INVALID")
    assert served.get(f"/v2/a/manifests/{digest}").status_code == 404


def test_a_manifest_whose_parts_are_missing_is_refused(
    served: RegistryClient, algorithm: str
) -> None:
    content = image(algorithm, b"missing")
    digest = digest_by(algorithm, content)

    assert error(served.put_manifest("a", digest, content)) == (400, "MANIFEST_BLOB_UNKNOWN")


@pytest.mark.parametrize("missing", [True, False])
def test_referrers_are_listed_by_the_digest_of_their_subject(
    served: RegistryClient, storage: Path, algorithm: str, missing: bool
) -> None:
    subject = image(algorithm)
    if not missing:
        push_manifest(served, algorithm, subject, "?tag=1.0")
    named = described(algorithm, subject, MANIFEST)
    kinds = ("application/one", "application/two")
    for kind in kinds:
        fields: dict[str, Any] = {"annotations": {"kind": kind}}
        content = image_index(algorithm, artifactType=kind, subject=named, **fields)
        headers = push_manifest(served, algorithm, content)
        assert headers["OCI-Subject"] == named["digest"]

    path = f"/v2/a/referrers/{named['digest']}"
    everything, filtered = served.get(path), served.get(f"{path}?artifactType={kinds[1]}")

    for answer in (everything, filtered):
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, INDEX)
    assert sorted(m["artifactType"] for m in everything.json()["manifests"]) == list(kinds)
    [only] = filtered.json()["manifests"]
    expected = image_index(
        algorithm, artifactType=kinds[1], subject=named, annotations={"kind": kinds[1]}
    )
    assert only == {
        **described(algorithm, expected, INDEX),
        "artifactType": kinds[1],
        "annotations": {"kind": kinds[1]},
    }
    assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
    assert main(["gc", str(storage)]) == 0
    kept = served.get(path).json()["manifests"]
    assert len(kept) == (0 if missing else 2)


def test_referrers_are_kept_under_the_tag_of_older_clients_too(
    served: RegistryClient, algorithm: str
) -> None:
    """The fallback of the specification: the digest's first 64 digits, as a tag."""
    subject = described(algorithm, image(algorithm), MANIFEST)
    tag = subject["digest"].replace(":", "-")[: len(algorithm) + 65]
    content = image_index("sha256", annotations={"of": subject["digest"]})

    assert served.put_manifest("a", tag, content, INDEX).status_code == 201

    assert served.get(f"/v2/a/manifests/{tag}").content == content
    assert served.request("DELETE", f"/v2/a/manifests/{tag}").status_code == 202
    assert served.get(f"/v2/a/manifests/{tag}").status_code == 404


def test_an_unknown_subject_has_no_referrers(served: RegistryClient, algorithm: str) -> None:
    answer = served.get(f"/v2/a/referrers/{digest_by(algorithm, b'unknown')}")

    assert (answer.status_code, answer.json()["manifests"]) == (200, [])


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:baddigeststring",
        "sha512:baddigeststring",
        "sha512:" + "a" * 64,
        "sha256:" + "a" * 128,
        "sha512:" + "A" * 128,
        "sha384:" + "a" * 96,
        "md5:" + "a" * 32,
        "sha512:" + "a" * 127 + "g",
        "sha512+b64u:" + "a" * 128,
    ],
)
def test_an_invalid_digest_is_refused(served: RegistryClient, digest: str) -> None:
    content = image_index("sha256")
    location = served.begin_upload("a")
    for answer in (
        served.put_manifest("a", digest, content, INDEX),
        served.get(f"/v2/a/manifests/{digest}"),
        served.request("DELETE", f"/v2/a/manifests/{digest}"),
        served.get(f"/v2/a/blobs/{digest}"),
        served.request("DELETE", f"/v2/a/blobs/{digest}"),
        served.get(f"/v2/a/referrers/{digest}"),
        served.request("POST", f"{UPLOADS}?digest={digest.replace('+', '%2B')}", b"x"),
        served.request("POST", f"{UPLOADS}?mount={digest.replace('+', '%2B')}&from=b"),
        served.request("PUT", f"{location}?digest={digest.replace('+', '%2B')}", b"x"),
    ):
        assert error(answer) == (400, "DIGEST_INVALID")


def test_content_lies_in_the_folder_of_its_algorithm(
    served: RegistryClient, storage: Path, algorithm: str
) -> None:
    push_blob(served, digest_by(algorithm, CONTENT), CONTENT)
    push_manifest(served, algorithm, image_index(algorithm), "?tag=1.0")

    blobs = storage / "a" / "blobs" / algorithm
    for content in (CONTENT, image_index(algorithm)):
        name = digest_by(algorithm, content).partition(":")[2]
        assert (blobs / name).read_bytes() == content
    [entry] = json.loads((storage / "a" / "index.json").read_text())["manifests"]
    assert entry["digest"] == digest_by(algorithm, image_index(algorithm))


def test_one_content_is_two_blobs_by_two_digests(served: RegistryClient) -> None:
    content = image_index("sha256")
    for algorithm in ("sha256", "sha512"):
        push_manifest(served, algorithm, content)

    short, long = (digest_by(algorithm, content) for algorithm in ("sha256", "sha512"))
    assert served.request("DELETE", f"/v2/a/manifests/{short}").status_code == 202

    assert served.get(f"/v2/a/manifests/{short}").status_code == 404
    assert served.get(f"/v2/a/manifests/{long}").content == content


def test_garbage_goes_and_what_a_tag_leads_to_stays(
    served: RegistryClient, storage: Path, algorithm: str
) -> None:
    for content in (b"layer", b"unused"):
        push_blob(served, digest_by(algorithm, content), content)
    push_manifest(served, algorithm, image(algorithm, b"layer"), "?tag=1.0")

    assert main(["gc", str(storage)]) == 0

    assert_blob(served, digest_by(algorithm, b"layer"), b"layer")
    unused = f"/v2/a/blobs/{digest_by(algorithm, b'unused')}"
    assert error(served.get(unused)) == (404, "BLOB_UNKNOWN")


def test_a_layout_of_another_program_with_one_algorithm_is_served_and_pushed_to(
    served: RegistryClient, storage: Path, algorithm: str
) -> None:
    child = image(algorithm)
    outer = image_index(algorithm, child)
    folder = storage / "a"
    blobs = folder / "blobs" / algorithm
    blobs.mkdir(parents=True)
    for content in (b"{}", child, outer):
        (blobs / digest_by(algorithm, content).partition(":")[2]).write_bytes(content)
    entry = {
        **described(algorithm, outer, INDEX),
        "annotations": {"org.opencontainers.image.ref.name": "1.0"},
    }
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))

    assert served.get("/v2/a/manifests/1.0").content == outer
    assert served.get(f"/v2/a/manifests/{digest_by(algorithm, child)}").content == child
    assert served.request("DELETE", f"/v2/a/blobs/{digest_by(algorithm, b'{}')}").ok
    for other in ("sha256", "sha512"):
        push_manifest(served, other, image(other), f"?tag={other}")
    assert served.tags("a") == ["1.0", "sha256", "sha512"]
    digest = digest_by(algorithm, outer)
    assert served.request("DELETE", f"/v2/a/manifests/{digest}").status_code == 202
    assert served.tags("a") == ["sha256", "sha512"]


def test_a_repository_that_lost_its_index_is_an_error(
    served: RegistryClient, storage: Path, algorithm: str
) -> None:
    push_blob(served, digest_by(algorithm, CONTENT), CONTENT)
    (storage / "a" / "index.json").unlink()

    assert error(served.get("/v2/a/tags/list")) == (500, "UNKNOWN")


def test_a_folder_of_blobs_that_is_a_link_is_not_followed(
    served: RegistryClient, storage: Path, algorithm: str
) -> None:
    digest = digest_by(algorithm, CONTENT)
    push_blob(served, digest, CONTENT)
    blobs = storage / "a" / "blobs" / algorithm
    blobs.rename(storage.parent / "elsewhere")
    blobs.symlink_to(storage.parent / "elsewhere")

    assert served.get(f"/v2/a/blobs/{digest}").status_code == 404
