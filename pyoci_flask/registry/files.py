"""Files that survive a kill. They are written whole or not at all, and locked across processes."""

import errno
import fcntl
import os
import stat
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

FILE_MODE = 0o600
"""Packages may be private, so other users of the machine must not be able to read the files."""
FOLDER_MODE = 0o700

# Two changes within one tick of the file system's clock can result in the same signature.
# Therefore a file that changed more recently than this is read again and compared by its content.
SETTLED_NS = 100_000_000


def write_file(path: Path, content: bytes, scratch: Path) -> None:
    """Write `content` to `path`. Readers see the old file or the new one, even after a crash.

    `scratch` is a folder on the same file system that contains the file while it is being written.
    """
    with staged({path: content}, scratch) as put_in_place:
        put_in_place()


@contextmanager
def staged(contents: Mapping[Path, bytes], scratch: Path) -> Iterator[Callable[[], None]]:
    """Write files to `scratch`, and provide the function that moves them to their paths in order.

    A file system writes to its disk less often if several files are written before the first one
    is synchronised. The files that were not moved are removed at the end of the block.
    """
    waiting = {scratch / f"tmp-{uuid.uuid4()}": path for path in contents}
    opened: list[int] = []

    def put_in_place() -> None:
        folders = dict.fromkeys(path.parent for path in waiting.values())
        for temporary, path in list(waiting.items()):
            temporary.rename(path)
            del waiting[temporary]
        for folder in folders:
            sync_folder(folder)

    try:
        try:
            for temporary, content in zip(waiting, contents.values(), strict=True):
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                opened.append(os.open(temporary, flags, FILE_MODE))
                rest = memoryview(content)
                while rest:
                    rest = rest[os.write(opened[-1], rest) :]
            for descriptor in opened:
                os.fsync(descriptor)
        finally:
            for descriptor in opened:
                os.close(descriptor)
        yield put_in_place
    finally:
        for temporary in waiting:
            temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make sure that a loss of power does not undo what was renamed or removed in `folder`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_file(path: Path) -> None:
    """Remove the file at `path` if it exists. A loss of power does not bring it back."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    sync_folder(path.parent)


def make_folders(*folders: Path) -> None:
    """Make folders and their missing parents. A loss of power does not undo it."""
    changed: dict[Path, None] = {}

    def make(folder: Path) -> None:
        if not folder.is_dir():
            make(folder.parent)
            with suppress(FileExistsError):
                folder.mkdir(FOLDER_MODE)
            changed[folder.parent] = None

    for folder in folders:
        make(folder)
    for parent in changed:
        sync_folder(parent)


def open_file(path: Path | str) -> FileIO:
    """Open a regular file for reading.

    Raises `FileNotFoundError` if `path` does not exist or is not a regular file (a symbolic link).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if regular_file(path) is None:
            raise _no_file(path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_file(path)
    return FileIO(descriptor, "rb")


def _no_file(path: Path | str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "not a regular file", str(path))


def read_file(path: Path | str) -> bytes:
    """Return the content of a regular file; raise the same errors as `open_file`."""
    with open_file(path) as file:
        # `read` without a size would ask for the size and the position first.
        size = os.fstat(file.fileno()).st_size
        return file.read(size) if size else b""


def regular_file(path: Path | str) -> os.stat_result | None:
    """Return the status of the regular file at `path`, or None if it does not exist."""
    try:
        result = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return result if stat.S_ISREG(result.st_mode) else None


def has_content(folder: Path) -> bool:
    """Return whether there is anything in a folder, without listing all of it."""
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except (FileNotFoundError, NotADirectoryError):
        return False


def folder_content(folder: Path) -> list[Path]:
    """Return the paths in a folder, or an empty list if the folder does not exist."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock the file at `path` while the block runs, so that other threads and processes wait.

    The kernel releases the lock if the process dies.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class FileCache(Generic[T]):
    """The parsed content of a file, which is parsed again when the file has changed.

    `parse_again` parses a changed file. It also receives the value of the previous content.
    """

    def __init__(
        self,
        path: Path,
        parse: Callable[[bytes], T],
        parse_again: Callable[[bytes, T], T] | None = None,
    ) -> None:
        self._path = path
        self._parse = parse
        self._parse_again = parse_again
        self._known: _Known[T] | None = None

    def get(self) -> T:
        """Return the parsed content; raise `OSError` or the parser's errors."""
        known = self._known
        if known is not None and known.signature == _signature(self._path.stat()):
            return known.value
        with self._path.open("rb") as file:
            found = os.fstat(file.fileno())
            settled = time.time_ns() - found.st_mtime_ns > SETTLED_NS
            content = file.read()
        if known is not None and known.content == content:
            value = known.value
        elif known is not None and self._parse_again is not None:
            value = self._parse_again(content, known.value)
        else:
            value = self._parse(content)
        if settled:
            self._known = _Known(value, signature=_signature(found))
        else:
            self._known = _Known(value, content=content)
        return value

    def put(self, content: bytes, value: T) -> None:
        """Remember `value` as the parsed `content`, which was just written to the file."""
        self._known = _Known(value, content=content)


@dataclass(frozen=True, slots=True)
class _Known(Generic[T]):
    """A parsed value, valid for a file with this signature or with this content."""

    value: T
    signature: tuple[int, int, int] | None = None
    content: bytes | None = None


def _signature(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_mtime_ns, found.st_size
