"""Wheels and sdists that are broken, incomplete or malicious are refused."""

import bz2
import gzip
import io
import lzma
import random
import re
import struct
import tarfile
import zipfile

import pytest

from tests.integration.upload_lab import Lab
from tests.packages import with_stated_size

WHEEL = "my_pkg-1.0-py3-none-any.whl"
SDIST = "my_pkg-1.0.tar.gz"


def _zip(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", compression) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return archive.getvalue()


def _tar(members: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as opened:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            opened.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


METADATA = b"Metadata-Version: 2.1\nName: my-pkg\nVersion: 1.0\n"
MEMBER = "my_pkg-1.0.dist-info/METADATA"
LIMIT = 8 << 20
SOUND = _zip({MEMBER: METADATA, "my_pkg/__init__.py": b"x = 1\n" * 1000})


def _broken_lzma() -> bytes:
    changed = bytearray(_zip({MEMBER: METADATA * 50}, zipfile.ZIP_LZMA))
    at = changed.find(MEMBER.encode()) + len(MEMBER)
    changed[at + 4] = 0xFF
    return bytes(changed)


BROKEN_WHEELS = {
    "no-zip": b"this is no archive",
    "tar": _tar({MEMBER: METADATA}),
    "without-metadata": _zip({"my_pkg/__init__.py": b""}),
    "metadata-too-deep": _zip({f"src/{MEMBER}": METADATA}),
    "two-metadata": _zip({MEMBER: METADATA, "other-1.0.dist-info/METADATA": METADATA}),
    "empty-metadata": _zip({MEMBER: b""}),
    "metadata-without-name": _zip({MEMBER: b"Metadata-Version: 2.1\nVersion: 1.0\n"}),
    "metadata-without-version": _zip({MEMBER: b"Metadata-Version: 2.1\nName: my-pkg\n"}),
    "two-names": _zip({MEMBER: METADATA + b"Name: other\n"}),
    "binary-metadata": _zip({MEMBER: bytes(range(256)) * 10}),
    "cut": SOUND[: len(SOUND) // 2],
    "without-its-end": SOUND[:-22],
    "without-its-start": SOUND[60:],
    "wrong-crc": SOUND.replace(SOUND[14:18], b"\0\0\0\0"),
    "said-to-be-small": with_stated_size(_zip({MEMBER: METADATA * 1000}), 10),
    "said-to-be-huge": with_stated_size(_zip({MEMBER: METADATA}), 1 << 31),
    "bomb": _zip({MEMBER: METADATA + b"\n" * (64 << 20)}),
    "bomb-that-lies": with_stated_size(_zip({MEMBER: METADATA + b"\n" * (64 << 20)}), LIMIT - 1),
    "bzip2-bomb-that-lies": with_stated_size(
        _zip({MEMBER: METADATA + b"\n" * (16 << 20)}, zipfile.ZIP_BZIP2), 100
    ),
    "broken-lzma": _broken_lzma(),
}


@pytest.mark.parametrize("content", BROKEN_WHEELS.values(), ids=BROKEN_WHEELS)
def test_a_wheel_that_is_broken_or_lacks_its_metadata_is_refused(lab: Lab, content: bytes) -> None:
    assert re.search(
        "wheel|[Mm]etadata|METADATA|zip archive", lab.refused(lab.upload(WHEEL, content))
    )


INFO = "my_pkg-1.0.dist-info"
WHOLE = {
    "my_pkg/__init__.py": b"x = 1\n" * 1000,
    f"{INFO}/METADATA": METADATA,
    f"{INFO}/WHEEL": b"Wheel-Version: 1.0\n",
    f"{INFO}/RECORD": b"",
}


def _renamed(info: str) -> dict[str, bytes]:
    return {name.replace(INFO, info): content for name, content in WHOLE.items()}


def _changed_crc(member: str) -> bytes:
    """Return the archive with another checksum of a member in its directory."""
    changed = bytearray(_zip(WHOLE))
    at = changed.rfind(member.encode()) - 46
    changed[at + 16] ^= 1
    return bytes(changed)


def _cut_member() -> bytes:
    """Return the archive with bytes of its first member changed."""
    changed = bytearray(_zip(WHOLE, zipfile.ZIP_STORED))
    changed[100:2000] = bytes(1900)
    return bytes(changed)


def _overlapping() -> bytes:
    """Return a zip whose members are all the same one: a bomb that states its true sizes."""
    archive = _zip({"x" * 8: bytes(20 << 20)} | WHOLE)
    start = archive.find(b"PK\1\2")
    length = 46 + 8
    entry = archive[start : start + length]
    end = bytearray(archive[-22:])
    directory = entry * 100 + archive[start + length : -22]
    end[12:16] = struct.pack("<I", len(directory))
    return archive[:start] + directory + bytes(end)


WHEELS_THAT_INSTALLERS_REFUSE = {
    "a bad checksum": (_changed_crc("my_pkg/__init__.py"), "'my_pkg/__init__.py' does not match"),
    "a bad checksum of RECORD": (_changed_crc(f"{INFO}/RECORD"), "RECORD' does not match"),
    "a damaged member": (_cut_member(), "'my_pkg/__init__.py' does not match its size or checksum"),
    "another project's folder": (
        _zip(_renamed("other-1.0.dist-info")),
        "not belong to my-pkg",
    ),
    "another version's folder": (
        _zip(_renamed("my_pkg-2.0.dist-info")),
        "not belong to version 1.0",
    ),
    "a folder without a version": (_zip(_renamed("my_pkg.dist-info")), "not belong to my-pkg"),
    "two folders": (
        _zip(WHOLE | {"other-1.0.dist-info/RECORD": b""}),
        "more than one .dist-info folder",
    ),
    "no WHEEL": (
        _zip({name: text for name, text in WHOLE.items() if not name.endswith("/WHEEL")}),
        "no .dist-info/WHEEL",
    ),
    "members that overlap": (_overlapping(), "overlap|unpacks to more than"),
}


@pytest.mark.parametrize(
    ("content", "told"),
    WHEELS_THAT_INSTALLERS_REFUSE.values(),
    ids=WHEELS_THAT_INSTALLERS_REFUSE,
)
def test_a_wheel_that_cannot_be_installed_is_refused(lab: Lab, content: bytes, told: str) -> None:
    assert re.search(told, lab.refused(lab.upload(WHEEL, content)))


def _with_bzip2() -> bytes:
    archive = io.BytesIO(_zip(WHOLE))
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("my_pkg/data.txt", b"x" * 1000, zipfile.ZIP_BZIP2)
    return archive.getvalue()


WHEELS_THAT_INSTALLERS_TAKE = {
    "plain": _zip(WHOLE),
    "stored": _zip(WHOLE, zipfile.ZIP_STORED),
    "another spelling of the name": _zip(_renamed("My.Pkg-1.0.dist-info")),
    "dashes in the name": _zip(_renamed("my-pkg-1.0.dist-info")),
    "another spelling of the version": _zip(_renamed("my_pkg-1.0.0.dist-info")),
    "folders as members": _zip({"my_pkg/": b"", f"{INFO}/": b""} | WHOLE),
    "bytes in front": b"#!/usr/bin/env python\n" + _zip(WHOLE),
    "a member packed with bzip2": _with_bzip2(),
    "a nested folder": _zip(WHOLE | {"my_pkg/_vendor/other-1.0.dist-info/WHEEL": b""}),
}


@pytest.mark.parametrize(
    "content", WHEELS_THAT_INSTALLERS_TAKE.values(), ids=WHEELS_THAT_INSTALLERS_TAKE
)
def test_a_wheel_that_can_be_installed_is_published(lab: Lab, content: bytes) -> None:
    response = lab.upload(WHEEL, content)

    assert response.status_code == 200, response.text


def test_a_wheel_is_refused_wherever_it_is_cut(lab: Lab) -> None:
    whole = _zip(WHOLE)
    for size in range(1, len(whole), 97):
        assert lab.upload(WHEEL, whole[:size]).status_code == 400
    assert lab.index.get("/my-pkg/").status_code == 404


def _gzip_of_zeros(mebibytes: int) -> bytes:
    """Return a tar with one member of zeros, unpacking to about this many MiB, in gzip members."""
    entry = tarfile.TarInfo("my_pkg-1.0/zeros")
    entry.size = mebibytes << 20
    zeros = gzip.compress(bytes(16 << 20), 9)
    return gzip.compress(entry.tobuf()) + zeros * (mebibytes // 16)


PKG_INFO = "my_pkg-1.0/PKG-INFO"
TAR = _tar({PKG_INFO: METADATA, "my_pkg-1.0/setup.py": b"x = 1\n" * 1000})
BROKEN_SDISTS = {
    "no-gzip": b"this is no archive",
    "zip": SOUND,
    "bare-tar": gzip.decompress(TAR),
    "gzip-of-text": gzip.compress(b"just text, " * 100),
    "cut": TAR[: len(TAR) // 2],
    "bzip2": bz2.compress(gzip.decompress(TAR)),
    "xz": lzma.compress(gzip.decompress(TAR)),
    "broken-header": gzip.compress(b"\xff" * 10_240),
    "huge-pkg-info": _tar({PKG_INFO: METADATA + b"\n" * (9 << 20)}),
    "empty-pkg-info": _tar({PKG_INFO: b""}),
    "binary-pkg-info": _tar({PKG_INFO: bytes(range(256)) * 10}),
    "bomb": _gzip_of_zeros(1088),
}


@pytest.mark.parametrize("content", BROKEN_SDISTS.values(), ids=BROKEN_SDISTS)
def test_an_sdist_that_is_broken_is_refused(lab: Lab, content: bytes) -> None:
    text = lab.refused(lab.upload(SDIST, content))

    assert re.search("sdist|PKG-INFO|metadata|gzipped tar archive", text)


LARGE = {PKG_INFO: METADATA} | {f"my_pkg-1.0/{n}": random.Random(n).randbytes(900) for n in "abc"}


def test_an_sdist_is_refused_wherever_its_gzip_is_cut(lab: Lab) -> None:
    whole = _tar(LARGE)
    for size in [*range(1, len(whole), 97), len(whole) - 1]:
        response = lab.upload(SDIST, whole[:size])
        assert (response.status_code, "gzip" in response.text) == (400, True), response.text
    assert lab.index.get("/my-pkg/").status_code == 404


def test_an_sdist_is_refused_where_its_tar_is_cut_within_a_member(lab: Lab) -> None:
    whole = gzip.decompress(_tar(LARGE))
    for size in (600, 1200, 1700, 2000, 2600, 3100):
        response = lab.upload(SDIST, gzip.compress(whole[:size]))
        assert (response.status_code, "it ends within" in response.text) == (400, True)
    assert lab.index.get("/my-pkg/").status_code == 404


def test_an_sdist_with_a_wrong_checksum_is_refused(lab: Lab) -> None:
    changed = bytearray(_tar(LARGE))
    changed[-8] ^= 1

    assert "gzip" in lab.refused(lab.upload(SDIST, bytes(changed)))


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(gzip.decompress(TAR).rstrip(b"\0") + bytes(1024)),
        TAR + bytes(100),
        TAR + b"something else",
        TAR + gzip.compress(bytes(512)),
        gzip.compress(gzip.decompress(TAR)[: 512 * 2 + 512 + 6144]),
    ],
    ids=["short-end", "zeros", "garbage", "more-gzip", "no-end"],
)
def test_an_sdist_that_installers_unpack_is_published(lab: Lab, content: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        assert len(archive.getmembers()) == 2

    response = lab.upload(SDIST, content)

    assert response.status_code == 200, response.text


def test_an_sdist_without_pkg_info_is_as_old_ones_are(lab: Lab) -> None:
    response = lab.upload(SDIST, _tar({"my_pkg-1.0/setup.py": b"x = 1\n"}))

    assert response.status_code == 200, response.text
    assert lab.filenames == [SDIST]


@pytest.mark.parametrize("prefix", ["", "./"])
def test_pkg_info_is_found_wherever_it_stands_in_the_archive(lab: Lab, prefix: str) -> None:
    members = {f"{prefix}my_pkg-1.0/file_{number}.py": b"x" * 3000 for number in range(300)}
    wrong = METADATA.replace(b"my-pkg", b"other")
    members[f"{prefix}my_pkg-1.0/my_pkg.egg-info/PKG-INFO"] = wrong
    members[f"{prefix}{PKG_INFO}"] = METADATA

    assert lab.upload(SDIST, _tar(members)).status_code == 200


def test_an_empty_file_is_refused(lab: Lab) -> None:
    assert WHEEL in lab.refused(lab.upload(WHEEL, b""))
