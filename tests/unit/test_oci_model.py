import json
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from pyoci_flask.errors import RegistryError
from pyoci_flask.oci.model import (
    EMPTY_CONFIG,
    EMPTY_CONFIG_TYPE,
    INDEX_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    ImageIndex,
    ImageManifest,
    MalformedDocumentError,
    Platform,
    parse_object,
)
from pyoci_flask.oci.reference import Digest

ENTRY: dict[str, Any] = {
    "mediaType": MANIFEST_TYPE,
    "digest": str(Digest.of(b"manifest")),
    "size": 8,
    "annotations": {"a": "ä"},
    "platform": {"architecture": ".tar.gz", "os": "any"},
}
INDEX: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": INDEX_TYPE,
    "artifactType": "application/x",
    "manifests": [ENTRY],
    "annotations": {"b": "2"},
}
MANIFEST: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": MANIFEST_TYPE,
    "artifactType": "application/x",
    "config": {
        "mediaType": EMPTY_CONFIG_TYPE,
        "digest": str(Digest.of(EMPTY_CONFIG)),
        "size": 2,
    },
    "layers": [{"mediaType": "application/x", "digest": str(Digest.of(b"file")), "size": 4}],
    "annotations": {"c": "3"},
}
WITHOUT = object()


def _changed(document: dict[str, Any], path: str, value: object) -> bytes:
    """The document with the member at the dotted path set, or taken away."""
    copy: Any = json.loads(json.dumps(document))
    target, keys = copy, path.split(".")
    for key in keys[:-1]:
        target = target[int(key) if key.isdigit() else key]
    last: Any = int(keys[-1]) if keys[-1].isdigit() else keys[-1]
    if value is WITHOUT:
        del target[last]
    else:
        target[last] = value
    return json.dumps(copy).encode()


def test_index_comes_back_as_it_was_written() -> None:
    index = ImageIndex.parse(json.dumps(INDEX).encode())
    assert index.artifact_type == "application/x"
    assert index.annotations == {"b": "2"}
    (entry,) = index.manifests
    assert entry.platform == Platform(".tar.gz", "any")
    assert (entry.media_type, entry.size, entry.annotations) == (MANIFEST_TYPE, 8, {"a": "ä"})
    assert json.loads(index.serialize()) == INDEX
    assert ImageIndex.parse(index.serialize()) == index


def test_manifest_comes_back_as_it_was_written() -> None:
    manifest = ImageManifest.parse(json.dumps(MANIFEST).encode())
    assert manifest.layers == (Descriptor("application/x", Digest.of(b"file"), 4),)
    assert manifest.config == Descriptor(EMPTY_CONFIG_TYPE, Digest.of(EMPTY_CONFIG), 2)
    assert json.loads(manifest.serialize()) == MANIFEST
    assert ImageManifest.parse(manifest.serialize()) == manifest


def test_members_that_are_not_known_survive_a_rewrite_of_the_index() -> None:
    subject = {"mediaType": MANIFEST_TYPE, "digest": str(Digest.of(b"x")), "size": 1}
    entry = {**ENTRY, "urls": ["http://x"], "data": "e30=", "artifactType": "y", "x.new": [1, None]}
    document = {**INDEX, "manifests": [entry], "subject": subject, "new": {"deep": [True]}}
    assert json.loads(ImageIndex.parse(json.dumps(document).encode()).serialize()) == document


def test_members_of_a_platform_that_are_not_known_survive_a_rewrite_of_the_index() -> None:
    platform = {"architecture": "arm", "os": "linux", "variant": "v7", "os.version": "1"}
    document = {**INDEX, "manifests": [{**ENTRY, "platform": platform}]}
    assert json.loads(ImageIndex.parse(json.dumps(document).encode()).serialize()) == document


@pytest.mark.parametrize(
    "path",
    ["mediaType", "artifactType", "annotations", "manifests.0.annotations", "manifests.0.platform"],
)
def test_what_an_index_may_lack_it_may_lack(path: str) -> None:
    index = ImageIndex.parse(_changed(INDEX, path, WITHOUT))
    assert ImageIndex.parse(index.serialize()) == index


def test_null_counts_as_missing() -> None:
    for path in ("artifactType", "annotations", "manifests.0.annotations", "manifests.0.platform"):
        ImageIndex.parse(_changed(INDEX, path, None))


@pytest.mark.parametrize("document", [INDEX, MANIFEST])
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schemaVersion", WITHOUT),
        ("schemaVersion", 1),
        ("schemaVersion", "2"),
        ("mediaType", "application/vnd.docker.distribution.manifest.v2+json"),
        ("mediaType", 2),
        ("artifactType", 7),
        ("annotations", []),
        ("annotations", {"a": 1}),
        ("annotations", {"a": None}),
        ("annotations", {"a": "\ud800"}),
        ("annotations", {"\udfff": "a"}),
    ],
)
def test_document_of_another_shape_is_malformed(
    document: dict[str, Any], path: str, value: object
) -> None:
    kind = ImageIndex if document is INDEX else ImageManifest
    with pytest.raises(MalformedDocumentError):
        kind.parse(_changed(document, path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("manifests", WITHOUT),
        ("manifests", None),
        ("manifests", {}),
        ("manifests", [None]),
        ("manifests", ["x"]),
        ("manifests.0.digest", WITHOUT),
        ("manifests.0.digest", 1),
        ("manifests.0.digest", "sha256:abc"),
        ("manifests.0.digest", "sha512:" + "a" * 128),
        ("manifests.0.size", WITHOUT),
        ("manifests.0.size", -1),
        ("manifests.0.size", "8"),
        ("manifests.0.size", 8.0),
        ("manifests.0.size", True),
        ("manifests.0.mediaType", WITHOUT),
        ("manifests.0.mediaType", 1),
        ("manifests.0.annotations", ["a"]),
        ("manifests.0.platform", "linux"),
        ("manifests.0.platform", {"os": "any"}),
        ("manifests.0.platform", {"architecture": "x"}),
        ("manifests.0.platform.architecture", 1),
    ],
)
def test_index_of_another_shape_is_malformed(path: str, value: object) -> None:
    with pytest.raises(MalformedDocumentError):
        ImageIndex.parse(_changed(INDEX, path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("config", WITHOUT),
        ("config", None),
        ("config", []),
        ("config.digest", "x"),
        ("layers", WITHOUT),
        ("layers", {}),
        ("layers", [1]),
        ("layers.0.size", None),
    ],
)
def test_manifest_of_another_shape_is_malformed(path: str, value: object) -> None:
    with pytest.raises(MalformedDocumentError):
        ImageManifest.parse(_changed(MANIFEST, path, value))


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"x",
        b"[]",
        b'"x"',
        b"null",
        b"1",
        b"\xff\xfe",
        b"{",
        b"[" * 200_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda document: repr(document[:10]),
)
def test_what_is_no_json_object_is_malformed(document: bytes) -> None:
    with pytest.raises(MalformedDocumentError):
        parse_object(document)


def test_malformed_document_is_the_registrys_fault() -> None:
    assert issubclass(MalformedDocumentError, RegistryError)


_KEYS = st.sampled_from([*INDEX, *ENTRY, "config", "layers", "other"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


@hypothesis.given(st.dictionaries(_KEYS, _JSON))
def test_any_json_gives_a_document_or_malformed(members: dict[str, Any]) -> None:
    for base, kind in ((INDEX, ImageIndex), (MANIFEST, ImageManifest)):
        document = json.dumps({**base, **members}).encode()
        try:
            parsed = kind.parse(document)
        except MalformedDocumentError:
            continue
        assert kind.parse(parsed.serialize()).serialize() == parsed.serialize()


@pytest.mark.parametrize("where", ["index", "descriptor", "platform"])
@pytest.mark.parametrize(("depth", "kept"), [(31, True), (33, False), (900, False)])
def test_unknown_member_is_kept_unless_it_is_nested_deeply(
    where: str, depth: int, kept: bool
) -> None:
    deep: object = 1
    for number in range(depth):
        deep = [deep] if number % 2 else {"x": deep}
    platform = {"architecture": "any", "os": "any"}
    entry = {"mediaType": "a/b", "digest": f"sha256:{'0' * 64}", "size": 1, "platform": platform}
    index = {"schemaVersion": 2, "manifests": [entry]}
    {"index": index, "descriptor": entry, "platform": platform}[where]["unknown"] = deep
    document = json.dumps(index).encode()
    if kept:
        assert b'"unknown"' in ImageIndex.parse(document).serialize()
    else:
        with pytest.raises(MalformedDocumentError, match="nested"):
            ImageIndex.parse(document)


def test_unknown_member_that_is_no_unicode_is_kept_as_it_was() -> None:
    document = b'{"schemaVersion":2,"manifests":[],"x":"\\ud800"}'

    assert json.loads(ImageIndex.parse(document).serialize())["x"] == "\ud800"
