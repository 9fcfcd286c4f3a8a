import hashlib
import tempfile
from collections.abc import Iterator

import pytest

from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.oci.reference import Digest
from pyoci_flask.web.api.digests import check_digests, checked_meanwhile
from pyoci_flask.web.api.form import SpooledFile, UploadForm

SMALL, LARGE = b"x" * 1000, b"y" * (3 * 1024 * 1024)


def form(content: bytes, **fields: str) -> Iterator[UploadForm]:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        spooled = SpooledFile("hello-1.0.tar.gz", file, len(content), Digest.of(content))
        yield UploadForm({name: (value,) for name, value in fields.items()}, spooled)


def check(upload: UploadForm) -> None:
    check_digests(upload)
    with checked_meanwhile(upload) as confirm:
        confirm()


def right(content: bytes) -> dict[str, str]:
    return {
        "sha256_digest": hashlib.sha256(content).hexdigest().upper(),
        "blake2_256_digest": hashlib.blake2b(content, digest_size=32).hexdigest(),
        "md5_digest": f" {hashlib.md5(content, usedforsecurity=False).hexdigest()}",
    }


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_digests_that_match_are_accepted(content: bytes) -> None:
    for stated in ({}, right(content), right(content) | {"sha256_digest": ""}):
        for upload in form(content, **stated):
            check(upload)


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("field", ["sha256_digest", "blake2_256_digest", "md5_digest"])
def test_digest_that_does_not_match_is_named(content: bytes, field: str) -> None:
    for upload in form(content, **right(content) | {field: "0" * 32}):
        with pytest.raises(InvalidRequestError, match=field):
            check(upload)


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_digest_of_512_bits_that_distutils_sends_is_compared(content: bytes) -> None:
    stated = right(content) | {"blake2_256_digest": hashlib.blake2b(content).hexdigest()}
    for upload in form(content, **stated):
        check(upload)
    for upload in form(content, **stated | {"blake2_256_digest": "0" * 128}):
        with pytest.raises(InvalidRequestError, match="does not match the file"):
            check(upload)


@pytest.mark.parametrize("field", ["sha256_digest", "blake2_256_digest", "md5_digest"])
@pytest.mark.parametrize("text", ["0" * 40, "x" * 64, "deadbeef", "sha256=" + "0" * 64])
def test_malformed_digest_is_refused_with_its_name(field: str, text: str) -> None:
    for upload in form(SMALL, **right(SMALL) | {field: text}):
        said = f"'{field}' is not a hex digest: it must have"
        with pytest.raises(InvalidRequestError, match=said):
            check(upload)


@pytest.mark.parametrize("field", ["blake2_256_digest", "md5_digest"])
def test_without_sha256_all_are_compared_before_anything_is_sent(field: str) -> None:
    for upload in form(LARGE, **{field: "0" * 32}):
        with pytest.raises(InvalidRequestError, match=field):
            check_digests(upload)


def test_position_in_the_file_is_left_alone() -> None:
    for upload in form(LARGE, **right(LARGE)):
        upload.file.content.seek(17)
        with checked_meanwhile(upload) as confirm:
            confirm()
            assert upload.file.content.tell() == 17


def test_a_comparison_that_is_not_needed_any_more_stops() -> None:
    for upload in form(LARGE, **right(LARGE) | {"md5_digest": "0" * 32}):
        with pytest.raises(KeyError), checked_meanwhile(upload):
            raise KeyError
