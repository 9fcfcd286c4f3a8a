"""Copy one file from the source to the target through an unnamed temporary file."""

import hashlib
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import IO, Protocol, TypeVar

from pyoci_flask.cli.copy.errors import CopyError, ExistsError, PassingError, StoppedError
from pyoci_flask.cli.copy.form import UploadBody, form_fields
from pyoci_flask.cli.copy.index import Index
from pyoci_flask.cli.copy.pages import ListedFile
from pyoci_flask.cli.copy.plan import Item, other_bytes, same_bytes, target_page
from pyoci_flask.index.archive import BrokenArchiveError, NoMetadataError, read_metadata
from pyoci_flask.index.fields import TooManyFieldsError

_PAUSES = (1.0, 4.0, 15.0)
"""Seconds before each retry of a file."""

_T = TypeVar("_T")


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


Advance = Callable[[int], object]
"""Called with a number of received bytes; a negative one subtracts those of a failed file."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Copies files; all threads use the same object."""

    source: Index
    target: Index
    stop: threading.Event
    """Set when the user stops the program."""

    def copy(self, item: Item, advance: Advance) -> bool:
        """Copy a file, with retries; return False if the target already had it.

        Raises:
            CopyError: the file cannot be copied.
            StoppedError: the user stopped the program.
        """
        return self.patiently(lambda: self._copy_once(item, advance))

    def yank(self, file: ListedFile) -> bool:
        """Yank a file at the target; return whether the target supports it.

        Raises:
            CopyError: the target supports yanking, but the request failed.
            StoppedError: the user stopped the program.
        """
        return self.patiently(lambda: self.target.yank(file))

    def patiently(self, action: Callable[[], _T]) -> _T:
        """Call `action`; retry it after a pause if it raises `PassingError`.

        Raises:
            StoppedError: the user stopped the program.
        """
        for pause in _PAUSES:
            self._go_on()
            try:
                return action()
            except PassingError as error:
                if self.stop.wait(max(pause, error.retry_after or 0.0)):
                    raise StoppedError("stopped") from error
        return action()

    def _copy_once(self, item: Item, advance: Advance) -> bool:
        came = 0

        def count(size: int) -> None:
            nonlocal came
            came += size
            advance(size)

        copied = False
        try:
            # The file has no name, so nothing of it remains after a crash.
            with tempfile.TemporaryFile(prefix="pyoci-copy-") as content:
                copied = self._through(item, content, count)
        except OSError as error:
            raise CopyError(f"cannot use the temporary folder: {error.strerror}") from error
        finally:
            if not copied:
                advance(-came)
        return copied

    def _through(self, item: Item, content: IO[bytes], count: Advance) -> bool:
        file = item.file
        wanted = {*file.hashes, *(item.there.hashes if item.there else ())}
        hashes, size = self._read(self.source, file.url, wanted, content, count, file.size)
        _check(file, hashes, size)
        known = replace(file, hashes=hashes)
        if item.there is not None:
            self._check_same(known, item.there)
            return False
        content.flush()
        body = _form(known, content, size)
        try:
            self.target.upload(body, self._go_on)
        except ExistsError as error:
            # A response was lost, or an earlier run was killed during the upload.
            self._check_same(known, self._at_target(file, error))
            return False
        return True

    def _read(
        self,
        index: Index,
        url: str,
        algorithms: Iterable[str],
        content: IO[bytes] | None = None,
        count: Advance | None = None,
        limit: int | None = None,
    ) -> tuple[Mapping[str, str], int]:
        """Read a file, but not far beyond `limit` bytes; return its digests and its size."""
        sums: dict[str, _Hash] = {
            name: hashlib.new(name, usedforsecurity=False) for name in algorithms
        }
        sums |= {"sha256": hashlib.sha256(), "blake2_256": hashlib.blake2b(digest_size=32)}
        size = 0
        with index.open(url) as reply:
            for chunk in reply.chunks():
                self._go_on()
                size += len(chunk)
                if limit is not None and size > limit:
                    break
                for one in sums.values():
                    one.update(chunk)
                if content is not None:
                    content.write(chunk)
                if count is not None:
                    count(len(chunk))
        return {name: one.hexdigest() for name, one in sums.items()}, size

    def _at_target(self, file: ListedFile, refused: ExistsError) -> ListedFile:
        """Return the target's file of the same name as `file`, which it refused."""
        listed = target_page(self.target, file.project).find(file.filename)
        if listed is not None:
            return listed
        digest = self.target.tagged_digest(file.project, file.filename)
        if digest is None:
            raise refused
        return replace(file, hashes={"sha256": digest})

    def _check_same(self, here: ListedFile, there: ListedFile) -> None:
        same = same_bytes(here, there)
        if same is None:
            digests, _ = self._read(self.target, there.url, ())
            same = digests["sha256"] == here.hashes["sha256"]
        if not same:
            raise CopyError(other_bytes(self.target))

    def _go_on(self) -> None:
        if self.stop.is_set():
            raise StoppedError("stopped")


def _check(file: ListedFile, hashes: Mapping[str, str], size: int) -> None:
    """Compare the received file with what the source's page says."""
    if file.size is not None and size != file.size:
        raise CopyError(f"received {size} bytes, but the page specifies {file.size}")
    for name, value in file.hashes.items():
        if hashes[name] != value:
            raise CopyError(f"the received file does not match the hash on the page ({name})")


def _form(file: ListedFile, content: IO[bytes], size: int) -> UploadBody:
    try:
        metadata = read_metadata(content, file.filename)
    except NoMetadataError as error:
        if file.filename.is_wheel:
            raise CopyError(str(error)) from error
        metadata = None
    except BrokenArchiveError as error:
        raise CopyError(str(error)) from error
    try:
        described = form_fields(file.filename, metadata, file.requires_python, file.project.text)
    except TooManyFieldsError as error:
        raise CopyError(f"{file.filename.text}: {error}") from error
    fields = [
        *described,
        ("sha256_digest", file.hashes["sha256"]),
        ("blake2_256_digest", file.hashes["blake2_256"]),
    ]
    return UploadBody.make(fields, file.filename, content, size)
