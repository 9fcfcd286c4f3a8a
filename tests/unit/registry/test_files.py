import os
import time
from pathlib import Path

import pytest

from pyoci_flask.registry.files import FileCache, open_file, write_file


def test_a_file_that_has_not_changed_is_parsed_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    os.utime(path, (1, 1))
    parsed: list[bytes] = []

    def parse(content: bytes) -> bytes:
        parsed.append(content)
        return content

    cache = FileCache(path, parse)

    assert [cache.get() for _ in range(3)] == [b"one"] * 3
    path.write_bytes(b"two")
    assert cache.get() == b"two"
    assert parsed == [b"one", b"two"]


def test_a_file_that_changes_within_one_tick_of_the_clock_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    this_tick = time.time_ns() + 10**12
    path.write_bytes(b"one")
    os.utime(path, ns=(this_tick, this_tick))
    cache = FileCache(path, bytes)
    assert cache.get() == b"one"

    path.write_bytes(b"two")
    os.utime(path, ns=(this_tick, this_tick))

    assert cache.get() == b"two"


def test_a_file_that_cannot_be_put_in_place_leaves_nothing(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tmp_path / "taken" / "by a folder").mkdir(parents=True)

    with pytest.raises(OSError, match="taken"):
        write_file(tmp_path / "taken", b"content", scratch)

    assert list(scratch.iterdir()) == []


def test_only_a_regular_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")

    with open_file(tmp_path / "file") as file:
        assert file.read() == b"content"
    for name in ("link", "folder", "pipe", "missing", "file/below"):
        with pytest.raises(FileNotFoundError):
            open_file(tmp_path / name)
