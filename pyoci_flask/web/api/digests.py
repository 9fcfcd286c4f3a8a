"""The digests in an upload form, which are compared with those of the file."""

import hashlib
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from pyoci_flask.common.threads import in_background
from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.web.api.body import CHUNK
from pyoci_flask.web.api.form import UploadForm

_LARGE = 1024 * 1024
"""File size in bytes above which the slower digests are computed in a thread."""


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


_OTHERS: Mapping[str, Mapping[int, Callable[[], _Hash]]] = {
    "blake2_256_digest": {
        64: lambda: hashlib.blake2b(digest_size=32),
        # Not 256 bits, but distutils sends it (Python 3.9 to 3.11).
        128: lambda: hashlib.blake2b(digest_size=64),
    },
    "md5_digest": {32: lambda: hashlib.md5(usedforsecurity=False)},
}
"""The functions that compute the slower digests, by the number of hex characters."""
_HEX = frozenset("0123456789abcdef")


def check_digests(form: UploadForm) -> None:
    """Compare each digest in the form with the digest of the file.

    If the form has the sha256 of a large file, this leaves the slower digests to
    `checked_meanwhile`.

    Raises:
        InvalidRequestError: a digest does not match or is malformed.
    """
    _check_form(form, "sha256_digest", [len(form.file.digest.hex)])
    for field, ways in _OTHERS.items():
        _check_form(form, field, ways)
    _compare(form, "sha256_digest", form.file.digest.hex)
    if not _is_left(form):
        _compare_others(form, threading.Event())


@contextmanager
def checked_meanwhile(form: UploadForm) -> Iterator[Callable[[], None]]:
    """Compare the digests that `check_digests` left, in another thread while the block runs.

    The yielded function waits for the result, and raises the same exceptions as `check_digests`.
    Call it before anything in the registry refers to the file.
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
    # `pread` uses its own position, because the file is being sent to the registry meanwhile.
    while hashes and not over.is_set() and (piece := os.pread(file, CHUNK, position)):
        position += len(piece)
        for one in hashes.values():
            one.update(piece)
    for field, one in hashes.items():
        _compare(form, field, one.hexdigest())


def _stated(form: UploadForm, field: str) -> str:
    return (form.one(field) or "").strip().lower()


def _check_form(form: UploadForm, field: str, sizes: Collection[int]) -> None:
    """Check that a field is a hex digest, if the form has this field."""
    text = _stated(form, field)
    if text and (len(text) not in sizes or not _HEX.issuperset(text)):
        wanted = " or ".join(str(size) for size in sizes)
        raise InvalidRequestError(
            f"the form field '{field}' is not a hex digest: it must have {wanted} characters from "
            "0-9 and a-f",
            advice="Upload with a current version of twine or uv",
        )


def _compare(form: UploadForm, field: str, actual: str) -> None:
    stated = _stated(form, field)
    if stated and stated != actual:
        raise InvalidRequestError(
            f"the form field {field} does not match the file: the file was changed in transit, or "
            "the digest is that of another file",
            advice="Upload the file again",
        )
