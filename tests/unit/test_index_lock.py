import multiprocessing
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pyoci_flask.errors import BusyError, ConfigurationError, SpoolFullError
from pyoci_flask.index.lock import VersionLocks
from tests.patience import PATIENCE


def _lock_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.isdigit()]


def _file_of(folder: Path, *key: str) -> str:
    """The name of the file that a key falls on."""
    locks = VersionLocks(folder)
    locks.prepare()
    for path in _lock_files(folder):
        path.unlink()
    with locks.hold(*key):
        (file,) = _lock_files(folder)
    return file.name


def _count_up(folder: Path, counter: Path, times: int) -> None:
    locks = VersionLocks(folder, deadline=PATIENCE)
    for _ in range(times):
        with locks.hold("registry/name", "1.0"):
            value = int(counter.read_text())
            os.sched_yield()
            counter.write_text(str(value + 1))


def test_threads_exclude_each_other(tmp_path: Path) -> None:
    locks = VersionLocks(tmp_path / "locks")
    inside, most = 0, 0

    def enter(_: int) -> None:
        nonlocal inside, most
        with locks.hold("a", "1.0"):
            inside += 1
            most = max(most, inside)
            os.sched_yield()
            inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, range(24)))
    assert most == 1


def test_processes_exclude_each_other(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    context = multiprocessing.get_context("spawn")
    arguments = (tmp_path / "locks", counter, 20)
    processes = [context.Process(target=_count_up, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    _count_up(*arguments)
    for process in processes:
        process.join(PATIENCE)
        assert process.exitcode == 0
    assert counter.read_text() == "60"


def test_waiting_ends_at_the_deadline(tmp_path: Path) -> None:
    locks = VersionLocks(tmp_path / "locks", deadline=0.1)
    start = time.monotonic()
    with (
        locks.hold("a", "1.0"),
        pytest.raises(BusyError, match="is under way"),
        VersionLocks(tmp_path / "locks", deadline=0.1).hold("a", "1.0"),
    ):
        raise AssertionError
    assert time.monotonic() - start >= 0.1


def test_lock_is_free_after_an_error(tmp_path: Path) -> None:
    locks = VersionLocks(tmp_path / "locks", deadline=0.1)
    with pytest.raises(ZeroDivisionError), locks.hold("a", "1.0"):
        raise ZeroDivisionError
    with locks.hold("a", "1.0"):
        pass


def test_other_versions_are_not_held_up(tmp_path: Path) -> None:
    locks = VersionLocks(tmp_path / "locks", deadline=0.05)
    passed = 0
    with locks.hold("a", "1.0"):
        for number in range(20):
            # Some fall on the same file.
            try:
                with locks.hold("a", f"2.{number}"):
                    passed += 1
            except BusyError:
                pass
    assert passed >= 18


def test_number_of_lock_files_is_bounded(tmp_path: Path) -> None:
    locks = VersionLocks(tmp_path / "locks")
    for number in range(6000):
        with locks.hold("a", str(number)):
            pass
    assert len(_lock_files(tmp_path / "locks")) <= 4096


def test_a_thread_that_waits_gets_the_lock_when_it_is_given_up(tmp_path: Path) -> None:
    locks = VersionLocks(tmp_path / "locks")
    got = threading.Event()

    def wait() -> None:
        with locks.hold("a"):
            got.set()

    thread = threading.Thread(target=wait)
    with locks.hold("a"):
        thread.start()
        assert not got.wait(0.1)
    assert got.wait(PATIENCE)
    thread.join()


def test_folder_is_private(tmp_path: Path) -> None:
    VersionLocks(tmp_path / "locks").prepare()
    assert (tmp_path / "locks").stat().st_mode & 0o777 == 0o700


def test_folder_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "file", tmp_path / "link", tmp_path / "missing" / "locks"):
        with pytest.raises(ConfigurationError, match=r"^PYOCI_SPOOL "):
            VersionLocks(path).prepare()


def test_lock_folder_that_was_cleaned_away_is_made_anew(tmp_path: Path) -> None:
    locks = VersionLocks(tmp_path / "locks")
    locks.prepare()
    shutil.rmtree(tmp_path / "locks")

    with locks.hold("a"):
        assert (tmp_path / "locks").is_dir()


def test_lock_whose_file_was_removed_locks_the_file_that_took_its_place(tmp_path: Path) -> None:
    locks, short = VersionLocks(tmp_path / "locks"), VersionLocks(tmp_path / "locks", 0.2)
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with locks.hold("a"), pytest.raises(BusyError), short.hold("a"):
            pass

    with ThreadPoolExecutor(1) as pool:
        with locks.hold("a"):
            (file,) = _lock_files(tmp_path / "locks")
            future = pool.submit(second)
            assert waiting.wait(PATIENCE)
            file.unlink()
        future.result(PATIENCE)


KEYS = [("registry/name", f"1.{number}") for number in range(8)]


def test_the_file_of_a_key_cannot_be_computed_without_the_secret(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"

    assert [_file_of(one, *key) for key in KEYS] == [_file_of(one, *key) for key in KEYS]
    assert [_file_of(one, *key) for key in KEYS] != [_file_of(other, *key) for key in KEYS]
    secret = one / "secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert len(secret.read_bytes()) == 32
    shutil.copy(secret, other)
    assert [_file_of(one, *key) for key in KEYS] == [_file_of(other, *key) for key in KEYS]


def test_a_secret_that_was_not_written_to_its_end_is_made_anew(tmp_path: Path) -> None:
    locks = VersionLocks(tmp_path / "locks")
    locks.prepare()
    (tmp_path / "locks" / "secret").write_bytes(b"half")

    with locks.hold("a"):
        assert len((tmp_path / "locks" / "secret").read_bytes()) == 32


def test_who_waited_under_a_secret_that_was_removed_locks_by_the_one_in_its_place(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "locks"
    locks, short = VersionLocks(folder), VersionLocks(folder, 0.2)
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with locks.hold("a"), pytest.raises(BusyError), short.hold("a"):
            pass

    with ThreadPoolExecutor(1) as pool:
        with locks.hold("a"):
            future = pool.submit(second)
            assert waiting.wait(PATIENCE)
            (tmp_path / "other").write_bytes(bytes(32))
            (tmp_path / "other").rename(folder / "secret")
        future.result(PATIENCE)
        assert (folder / "secret").read_bytes() == bytes(32)


def test_all_who_start_at_once_make_one_secret(tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    counter = tmp_path / "counter"
    for _ in range(10):
        shutil.rmtree(folder, ignore_errors=True)
        counter.write_text("0")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: _count_up(folder, counter, 2), range(8)))
        assert counter.read_text() == "16"
        assert len(_lock_files(folder)) == 1


def test_folder_that_went_away_or_changed_hands_lets_nobody_change_anything(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    locks = VersionLocks(spool / "locks")
    locks.prepare()
    spool.rename(tmp_path / "elsewhere")
    with pytest.raises(SpoolFullError, match="PYOCI_SPOOL"), locks.hold("a"):
        pytest.fail("it was held")
    spool.mkdir()
    (spool / "locks").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SpoolFullError, match="another user"), locks.hold("a"):
        pytest.fail("it was held")
