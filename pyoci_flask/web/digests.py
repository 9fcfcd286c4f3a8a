"""The digests that an upload form states of its file, held against it."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
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


_OTHERS: Mapping[str, Callable[[], _Hash]] = {
    "blake2_256_digest": lambda: hashlib.blake2b(digest_size=32),
    "md5_digest": lambda: hashlib.md5(usedforsecurity=False),
}


def check_digests(form: UploadForm) -> None:
    """Compare each digest that the client sent with the file's.

    Of a large file whose sha256 is as stated, the slower digests are left to `checked_meanwhile`.

    Raises:
        InvalidRequestError: one does not match.
    """
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
    hashes = {field: make() for field, make in _OTHERS.items() if form.one(field) is not None}
    file, position = form.file.content.fileno(), 0
    # Not by the file's own position: it is being read for the registry meanwhile.
    while hashes and not over.is_set() and (piece := os.pread(file, CHUNK, position)):
        position += len(piece)
        for one in hashes.values():
            one.update(piece)
    for field, one in hashes.items():
        _compare(form, field, one.hexdigest())


def _compare(form: UploadForm, field: str, actual: str) -> None:
    stated = form.one(field)
    if stated is not None and stated.strip().lower() != actual:
        raise InvalidRequestError(
            f"the field {field} does not match the file: it was changed on the way, or is not the "
            "file that was meant"
        )
