"""The log of `run`: private, bounded, whole lines, and no trouble if it cannot be written."""

import os
import stat
import threading
from pathlib import Path

import pytest

from pyoci_flask.cli.run import log
from pyoci_flask.cli.run.log import log_path


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder for the state of a user's programs, which does not exist yet."""
    folder = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_and_its_folder_are_private(state: Path) -> None:
    log._File(log_path()).write("one\n")
    path = state / "pyoci-flask" / "run.log"
    assert path.read_text() == "one\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_that_others_could_read_becomes_private(state: Path) -> None:
    path = state / "pyoci-flask" / "run.log"
    path.parent.mkdir(parents=True)
    path.write_text("before\n")
    path.chmod(0o644)
    log._File(log_path()).write("one\n")
    assert _lines(path) == ["before", "one"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_full_file_is_kept_once_under_another_name(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_LIMIT", 100)
    file = log._File(log_path())
    for number in range(100):
        file.write(f"line {number}\n")
    folder = state / "pyoci-flask"
    assert _names(folder) == ["run.log", "run.old.log"]
    assert all(path.stat().st_size <= 100 + len("line 99\n") for path in folder.iterdir())
    kept = [*_lines(folder / "run.old.log"), *_lines(folder / "run.log")]
    assert kept == [f"line {number}" for number in range(100 - len(kept), 100)]


def test_two_runs_write_whole_lines_and_stay_within_the_bound(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_LIMIT", 20_000)

    def write(name: str) -> None:
        file = log._File(log_path())
        for number in range(1000):
            file.write(f"{name * 50} {number}\n")

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    folder = state / "pyoci-flask"
    assert _names(folder) == ["run.log", "run.old.log"]
    for path in folder.iterdir():
        assert path.stat().st_size < 20_000 + 4 * 60
        for line in _lines(path):
            word, number = line.split()
            assert word == word[0] * 50
            assert 0 <= int(number) < 1000


def test_a_log_that_was_removed_is_made_again_when_it_was_full(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_LIMIT", 10)
    file = log._File(log_path())
    file.write("a long line\n")
    (state / "pyoci-flask" / "run.log").unlink()
    file.write("next\n")
    assert _lines(state / "pyoci-flask" / "run.log") == ["next"]


def test_a_full_log_that_cannot_be_renamed_grows_no_more(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_LIMIT", 10)
    folder = state / "pyoci-flask"
    (folder / "run.old.log" / "in the way").mkdir(parents=True)
    file = log._File(log_path())
    for _ in range(3):
        file.write("a long line\n")
    assert _lines(folder / "run.log") == ["a long line"]


def test_a_link_is_not_followed(state: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    folder = state / "pyoci-flask"
    folder.mkdir(parents=True)
    (folder / "run.log").symlink_to(target)
    log._File(log_path()).write("one\n")
    assert target.read_text() == "precious"


def test_a_named_pipe_does_not_make_it_wait(state: Path) -> None:
    folder = state / "pyoci-flask"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "run.log")
    log._File(log_path()).write("one\n")
    reader = os.open(folder / "run.log", os.O_RDONLY | os.O_NONBLOCK)
    try:
        log._File(log_path()).write("two\n")
        assert os.read(reader, 100) == b""
    finally:
        os.close(reader)


def test_a_home_that_cannot_be_written_means_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    log._File(log_path()).write("one\n")
    assert _names(tmp_path) == ["file"]


def test_the_path_is_in_the_home_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = tmp_path / ".local" / "state" / "pyoci-flask" / "run.log"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert log_path() == expected
    # The XDG Base Directory Specification says that relative paths are ignored.
    monkeypatch.setenv("XDG_STATE_HOME", "here")
    assert log_path() == expected


def test_a_user_without_a_home_has_no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    assert log_path() is None
    log._File(None).write("one\n")
