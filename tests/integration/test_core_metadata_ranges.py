"""Core metadata read from the wheel in the registry: how much, how often, and what is not read."""

import functools
import io
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import requests

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.integration.index_client import IndexClient
from tests.integration.metadata_lab import (
    FEW_BYTES,
    FEW_CALLS,
    MEBIBYTE,
    MEMBER,
    METADATA,
    WHEEL,
    Lab,
    files_of,
    metadata_of,
    wheel_bytes,
)
from tests.integration.oci_client import (
    ARTIFACT,
    MANIFEST,
    OCIClient,
    image_index,
    sha256,
)
from tests.integration.registry_doubles import (
    BlobMeter,
    serving,
)
from tests.packages import make_wheel, with_stated_size


@pytest.fixture
def lab(app_server: AppServer, http: requests.Session, tmp_path: Path) -> Iterator[Lab]:
    meter = BlobMeter(create_registry(tmp_path / "registry"))
    with serving(meter) as registry:
        index = IndexClient(
            f"{app_server({'PYOCI_CACHE_TTL': '0'})}/{registry.address}/team", None, http
        )
        yield Lab(index, meter, OCIClient(registry, "team/my_pkg", http))


@pytest.mark.parametrize(
    ("before", "after"),
    [(0, 8 * MEBIBYTE), (4 * MEBIBYTE, 4 * MEBIBYTE), (8 * MEBIBYTE, 0), (0, 0)],
    ids=["beginning", "middle", "end", "small"],
)
def test_metadata_is_read_with_few_and_small_ranges_wherever_it_stands(
    lab: Lab, tmp_path: Path, before: int, after: int
) -> None:
    lab.push(wheel_bytes(tmp_path, before, after))

    response = lab.metadata()

    assert response.content == METADATA
    parts = [fetch for fetch in lab.meter.fetches if fetch.method == "GET"]
    assert 1 <= len(parts) <= FEW_CALLS
    assert all(fetch.range is not None and fetch.status == 206 for fetch in parts)
    assert lab.meter.size <= FEW_BYTES


def test_a_wheel_of_very_many_files_is_read_through_its_directory(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, METADATA)
        for number in range(3000):
            archive.writestr(f"my_pkg/a_rather_long_name_of_a_module_{number}.py", b"")
    lab.push(path.read_bytes())

    assert lab.metadata().content == METADATA
    assert len(lab.meter.fetches) <= FEW_CALLS + 1


def test_metadata_is_read_once_and_then_answered_from_memory(lab: Lab, tmp_path: Path) -> None:
    lab.push(wheel_bytes(tmp_path, 100, 100))
    first = lab.metadata()
    lab.meter.fetches.clear()

    assert lab.metadata().content == first.content
    assert lab.meter.fetches == []


def test_a_wheel_that_was_replaced_under_its_name_has_its_own_metadata(
    lab: Lab, tmp_path: Path
) -> None:
    lab.push(wheel_bytes(tmp_path, 100, 100))
    old = lab.metadata()
    changed = METADATA + b"Requires-Dist: third\n"
    lab.push(wheel_bytes(tmp_path, 100, 100, changed))

    new = lab.metadata()

    assert new.content == changed
    assert new.headers["ETag"] != old.headers["ETag"]


def test_one_probe_shows_whether_a_registry_answers_ranges(lab: Lab, tmp_path: Path) -> None:
    for version in ("1.0", "1.1", "1.2"):
        lab.push(wheel_bytes(tmp_path, 5000, 5000), version)

    first = files_of(lab.index)
    probes = list(lab.meter.fetches)
    files_of(lab.index)

    assert [file["core-metadata"] for file in first.values()] == [True] * 3
    (probe,) = probes
    assert probe.range is not None
    assert probe.size < 100
    assert lab.meter.fetches == probes


def test_head_and_if_none_match_of_metadata(lab: Lab, tmp_path: Path) -> None:
    lab.push(wheel_bytes(tmp_path, 10, 10))
    whole = lab.metadata()
    path = f"/my-pkg/{WHEEL}.metadata"

    head = lab.index.request("HEAD", path)
    known = lab.index.get(path, headers={"If-None-Match": whole.headers["ETag"]})

    assert whole.headers["ETag"] == f'"sha256:{sha256(METADATA)}"'
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(METADATA)))
    assert head.headers["ETag"] == whole.headers["ETag"]
    assert (known.status_code, known.content) == (304, b"")


def test_stored_metadata_whose_blob_is_gone_is_missing(lab: Lab, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "my_pkg", "1.0")
    lab.index.published(wheel, "my-pkg", "1.0")
    digest = f"sha256:{sha256(metadata_of(wheel))}"
    assert lab.oci.request("DELETE", f"blobs/{digest}").ok

    assert lab.metadata().status_code == 404


def test_metadata_under_another_digest_than_announced_is_not_given(
    lab: Lab, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "my_pkg", "1.0").read_bytes()
    config = lab.oci.push_blob("application/pyoci.core-metadata.v1", METADATA)
    layer = lab.oci.push_blob(ARTIFACT, wheel)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "config": config,
        "layers": [layer],
    }
    notes = {
        "com.pyoci.sha256_digest": sha256(wheel),
        "com.pyoci.core_metadata_sha256": sha256(b"others"),
    }
    platform = {"architecture": "py3-none-any.whl", "os": "any"}
    lab.oci.push(image_index([lab.oci.push(manifest, platform=platform, annotations=notes)]), "1.0")

    assert lab.metadata().status_code == 404


def test_stored_metadata_over_a_bound_takes_only_the_details_away(lab: Lab, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "my_pkg", "1.0").read_bytes()
    fields = METADATA + b"X: y\n" * 10_001
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "config": lab.oci.push_blob("application/pyoci.core-metadata.v1", fields),
        "layers": [lab.oci.push_blob(ARTIFACT, wheel)],
    }
    notes = {
        "com.pyoci.sha256_digest": sha256(wheel),
        "com.pyoci.core_metadata_sha256": sha256(fields),
    }
    platform = {"architecture": "py3-none-any.whl", "os": "any"}
    lab.oci.push(image_index([lab.oci.push(manifest, platform=platform, annotations=notes)]), "1.0")
    scheme, host, path = lab.index.base.partition("/http")

    page = f"{scheme}/ui{host}{path}/my-pkg/1.0/"
    assert lab.index.session.get(page).status_code == 200
    for url in (f"{lab.index.base}/my-pkg/json", f"{page}files/"):
        response = lab.index.session.get(url)
        assert response.status_code == 200, response.text
        assert WHEEL in response.text


INFO = MEMBER.removesuffix("/METADATA")


def _archive(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # with names that occur twice
        for name, content in members:
            archive.writestr(name, content)
    return packed.getvalue()


def _packed(method: int, metadata: bytes = METADATA) -> bytes:
    return _archive((MEMBER, metadata), method=method)


@functools.cache
def _large(method: int) -> bytes:
    lines = b"".join(b"A line %d.\n" % number for number in range(350_000))
    return _packed(method, METADATA + b"\n" + lines)


TWICE = ((MEMBER, b"Name: first\n"), (MEMBER, METADATA), (f"{INFO}/WHEEL", b""))
READABLE: dict[str, Callable[[], bytes]] = {
    "bzip2": partial(_packed, zipfile.ZIP_BZIP2),
    "lzma": partial(_packed, zipfile.ZIP_LZMA),
    "large bzip2": partial(_large, zipfile.ZIP_BZIP2),
    "large lzma": partial(_large, zipfile.ZIP_LZMA),
    "large": partial(_large, zipfile.ZIP_DEFLATED),
    "large and stored": partial(_large, zipfile.ZIP_STORED),
    "twice": partial(_archive, *TWICE),
}


@pytest.mark.parametrize("make", READABLE.values(), ids=READABLE)
def test_metadata_of_every_wheel_that_pip_installs_is_answered(
    lab: Lab, make: Callable[[], bytes]
) -> None:
    """pip fails if announced metadata is not available."""
    content = make()
    lab.push(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        expected = archive.read(MEMBER)

    assert files_of(lab.index)[WHEEL]["core-metadata"] is True
    response = lab.metadata()

    assert response.status_code == 200, response.text
    assert response.content == expected


def test_metadata_of_a_wheel_of_52_000_members_is_answered(lab: Lab) -> None:
    name = "my_pkg/" + "a_long_name_of_a_module_" * 3
    members = [(f"{name}{number}.py", b"") for number in range(52_000)]
    lab.push(_archive((MEMBER, METADATA), *members, method=zipfile.ZIP_STORED))

    assert files_of(lab.index)[WHEEL]["core-metadata"] is True
    assert lab.metadata().content == METADATA
    assert len(lab.meter.fetches) <= 20


def _lzma_of(properties: bytes) -> bytes:
    """Return METADATA compressed with LZMA, with other properties of the stream."""
    changed = bytearray(_packed(zipfile.ZIP_LZMA))
    at = changed.find(MEMBER.encode()) + len(MEMBER)
    changed[at + 2 : at + 9] = properties
    return bytes(changed)


def _bomb(method: int) -> bytes:
    return with_stated_size(_packed(method, METADATA + bytes(16 * MEBIBYTE)), 100)


UNREADABLE: dict[str, Callable[[], bytes]] = {
    "lzma with impossible properties": lambda: _lzma_of(b"\5\0\xff\0\0\x80\0"),
    "lzma with lc and lp over four": lambda: _lzma_of(b"\5\0\x2c\0\0\x80\0"),
    "lzma with properties of another length": lambda: _lzma_of(b"\6\0\x5d\0\0\x80\0"),
    "a bzip2 bomb": lambda: _bomb(zipfile.ZIP_BZIP2),
    "an lzma bomb": lambda: _bomb(zipfile.ZIP_LZMA),
    "a bzip2 stream that is none": lambda: _packed(zipfile.ZIP_BZIP2).replace(b"BZh9", b"XXXX"),
}


@pytest.mark.parametrize("make", UNREADABLE.values(), ids=UNREADABLE)
def test_metadata_that_cannot_be_unpacked_is_missing(lab: Lab, make: Callable[[], bytes]) -> None:
    lab.push(make())

    response = lab.metadata()

    assert response.status_code == 404
    assert "cannot be read" in response.text
    assert "core-metadata" not in files_of(lab.index)[WHEEL]


def test_lzma_that_asks_for_a_dictionary_of_4_gib_is_read_without_it(lab: Lab) -> None:
    lab.push(_lzma_of(b"\5\0\x5d\xff\xff\xff\xff"))

    assert lab.metadata().content == METADATA


def _end_of_directory(size: int, offset: int, entries: int = 1) -> bytes:
    return struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, entries, entries, size, offset, 0)


HOSTILE = {
    "no archive": b"just bytes " * 1000,
    "a single byte": b"P",
    "an end without a directory": _end_of_directory(46, 0),
    "a directory said to be of 2 GiB": bytes(1000) + _end_of_directory((1 << 31) - 1, 0),
    "a directory that starts before the file": bytes(10) + _end_of_directory(5, 1 << 30),
    "a directory of nonsense": b"\xff" * 4000 + _end_of_directory(4000, 0, 80),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_an_archive_that_cannot_be_read_has_no_metadata(lab: Lab, content: bytes) -> None:
    lab.push(content)

    response = lab.metadata()

    assert response.status_code == 404
    assert "cannot be read" in response.text
    assert lab.meter.size <= FEW_BYTES


def test_a_wheel_that_could_not_be_read_is_not_announced_from_then_on(
    lab: Lab,
) -> None:
    """pip and uv fail if announced metadata is not available."""
    lab.push(HOSTILE["no archive"])
    assert lab.metadata().status_code == 404

    assert "core-metadata" not in files_of(lab.index)[WHEEL]


@pytest.mark.parametrize("spare", [b"", b"\0" * 100_000], ids=["small", "big"])
def test_a_wheel_without_metadata_has_none(lab: Lab, tmp_path: Path, spare: bytes) -> None:
    path = tmp_path / WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("my_pkg/__init__.py", spare)
    lab.push(path.read_bytes())

    assert lab.metadata().status_code == 404


def test_metadata_of_over_8_mib_is_not_read(lab: Lab, tmp_path: Path) -> None:
    lab.push(wheel_bytes(tmp_path, 0, 0, METADATA + b"\n" * (9 * MEBIBYTE)))

    assert lab.metadata().status_code == 404
    assert lab.meter.size <= FEW_BYTES
