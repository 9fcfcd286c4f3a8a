"""The digests that an upload form states of its file, held against it."""

import hashlib
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.index.beside import beside
from pyoci_flask.web.body import CHUNK
from pyoci_flask.web.form import UploadForm

_LARGE = 1024 * 1024
"""Bytes of a file that are worth a thread."""


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


_BLAKE2, _MD5 = "blake2_256_digest", "md5_digest"
_HASHES: Mapping[tuple[str, int], Callable[[], _Hash]] = {
    (_BLAKE2, 64): lambda: hashlib.blake2b(digest_size=32),
    # Not what its name says, but what distutils sends (Python 3.9 to 3.11).
    (_BLAKE2, 128): lambda: hashlib.blake2b(digest_size=64),
    (_MD5, 32): lambda: hashlib.md5(usedforsecurity=False),
}
"""How a field is computed, by its name and the number of its characters."""
_SHA256_CHARACTERS = 64
_HEX = frozenset("0123456789abcdef")


def check_digests(form: UploadForm) -> None:
    """Compare each digest that the client sent with the file's.

    Of a large file whose sha256 is as stated, the slower digests are left to `checked_meanwhile`.

    Raises:
        InvalidRequestError: one does not match, or is no digest.
    """
    _stated(form, "sha256_digest", {_SHA256_CHARACTERS})
    for field in (_BLAKE2, _MD5):
        _stated(form, field, {size for name, size in _HASHES if name == field})
    _compare(form, "sha256_digest", form.file.digest.hex)
    if not _is_left(form):
        _compare_others(form, threading.Event())


@contextmanager
def checked_meanwhile(form: UploadForm) -> Iterator[Callable[[], None]]:
    """Compare what `check_digests` left, in a thread of its own while the block runs.

    What is yielded waits for that and raises as `check_digests` does: to be called before
    anything names the file.
    """
    if not _is_left(form):
        yield lambda: None
        return
    over = threading.Event()
    with beside(lambda: _compare_others(form, over)) as done:
        try:
            yield done
        finally:
            over.set()


def _is_left(form: UploadForm) -> bool:
    return form.file.size > _LARGE and form.one("sha256_digest") is not None


def _compare_others(form: UploadForm, over: threading.Event) -> None:
    hashes = {
        field: make()
        for (field, size), make in _HASHES.items()
        if len((form.one(field) or "").strip()) == size
    }
    file, position = form.file.content.fileno(), 0
    # Not by the file's own position: it is being read for the registry meanwhile.
    while hashes and not over.is_set() and (piece := os.pread(file, CHUNK, position)):
        position += len(piece)
        for one in hashes.values():
            one.update(piece)
    for field, one in hashes.items():
        _compare(form, field, one.hexdigest())


def _stated(form: UploadForm, field: str, sizes: Collection[int]) -> None:
    """Check that a field is a digest in hex, if it is there."""
    text = (form.one(field) or "").strip().lower()
    if text and (len(text) not in sizes or not _HEX.issuperset(text)):
        wanted = " or ".join(str(size) for size in sorted(sizes))
        raise InvalidRequestError(
            f"the field {field} is not a digest in hex: it has {len(text)} characters where "
            f"{wanted} of 0-9 and a-f belong"
        )


def _compare(form: UploadForm, field: str, actual: str) -> None:
    stated = form.one(field)
    if stated is not None and stated.strip().lower() != actual:
        raise InvalidRequestError(
            f"the field {field} does not match the file: it was changed on the way, or is not the "
            "file that was meant"
        )
