"""The digests that an upload form states of its file, held against it."""

import hashlib
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from pyoci_flask.common.threads import in_background
from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.web.api.form import UploadForm
from pyoci_flask.web.body import CHUNK

_LARGE = 1024 * 1024
"""Bytes of a file that are worth a thread."""


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


_OTHERS: Mapping[str, Mapping[int, Callable[[], _Hash]]] = {
    "blake2_256_digest": {
        64: lambda: hashlib.blake2b(digest_size=32),
        # Not what its name says, but what distutils sends (Python 3.9 to 3.11).
        128: lambda: hashlib.blake2b(digest_size=64),
    },
    "md5_digest": {32: lambda: hashlib.md5(usedforsecurity=False)},
}
"""How the slower fields are computed, by the number of their characters."""
_HEX = frozenset("0123456789abcdef")


def check_digests(form: UploadForm) -> None:
    """Compare each digest that the client sent with the file's.

    Of a large file whose sha256 is as stated, the slower digests are left to `checked_meanwhile`.

    Raises:
        InvalidRequestError: one does not match, or is no digest.
    """
    _check_form(form, "sha256_digest", [len(form.file.digest.hex)])
    for field, ways in _OTHERS.items():
        _check_form(form, field, ways)
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
    with in_background(lambda: _compare_others(form, over)) as done:
        try:
            yield done
        finally:
            over.set()


def _is_left(form: UploadForm) -> bool:
    return form.file.size > _LARGE and form.one("sha256_digest") is not None


def _compare_others(form: UploadForm, over: threading.Event) -> None:
    hashes = {
        field: ways[len(text)]()
        for field, ways in _OTHERS.items()
        if (text := _stated(form, field))
    }
    file, position = form.file.content.fileno(), 0
    # Not by the file's own position: it is being read for the registry meanwhile.
    while hashes and not over.is_set() and (piece := os.pread(file, CHUNK, position)):
        position += len(piece)
        for one in hashes.values():
            one.update(piece)
    for field, one in hashes.items():
        _compare(form, field, one.hexdigest())


def _stated(form: UploadForm, field: str) -> str:
    return (form.one(field) or "").strip().lower()


def _check_form(form: UploadForm, field: str, sizes: Collection[int]) -> None:
    """Check that a field is a digest in hex, if it is there."""
    text = _stated(form, field)
    if text and (len(text) not in sizes or not _HEX.issuperset(text)):
        wanted = " or ".join(str(size) for size in sizes)
        raise InvalidRequestError(
            f"the field {field} is not a digest: it has to be {wanted} characters of 0-9 and a-f"
        )


def _compare(form: UploadForm, field: str, actual: str) -> None:
    stated = _stated(form, field)
    if stated and stated != actual:
        raise InvalidRequestError(
            f"the field {field} does not match the file: it was changed on the way, or is not the "
            "file that was meant"
        )
