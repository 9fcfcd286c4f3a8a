import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pyoci_flask.errors import BusyError, ConfigurationError, SpoolFullError
from pyoci_flask.index.lock import VersionLocks
from tests.patience import PATIENCE


def _lock_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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
    with locks.hold("a", "1.0"), locks.hold_blobs("a", shared=False):
        for number in range(20):
            with locks.hold("a", f"2.{number}"):
                pass


def test_a_lock_that_is_released_leaves_no_file(tmp_path: Path) -> None:
    locks = VersionLocks(tmp_path / "locks", deadline=0.05)
    with locks.hold("a" * 5000, "/../1.0"), locks.hold_blobs("a", shared=True):
        assert len(_lock_files(tmp_path / "locks")) == 2
        with locks.hold_blobs("a", shared=True):
            assert len(_lock_files(tmp_path / "locks")) == 2
        with pytest.raises(BusyError), locks.hold_blobs("a", shared=False):
            pytest.fail("it was held")
        assert len(_lock_files(tmp_path / "locks")) == 2
    assert _lock_files(tmp_path / "locks") == []


def test_blobs_are_shared_by_uploads_and_excluded_by_a_deletion(tmp_path: Path) -> None:
    locks = VersionLocks(tmp_path / "locks", deadline=0.05)
    with locks.hold_blobs("a", shared=True), locks.hold_blobs("a", shared=True):
        pass
    with locks.hold_blobs("a", shared=False):
        for shared in (True, False):
            with pytest.raises(BusyError), locks.hold_blobs("a", shared=shared):
                pytest.fail("it was held")
    with locks.hold_blobs("a", shared=True):
        pass


def test_sharing_threads_and_excluding_ones_never_meet(tmp_path: Path) -> None:
    locks = VersionLocks(tmp_path / "locks", deadline=PATIENCE)
    inside: list[bool] = []
    met: list[tuple[bool, ...]] = []

    def enter(number: int) -> None:
        shared = number % 3 != 0
        with locks.hold_blobs("a", shared=shared):
            inside.append(shared)
            os.sched_yield()
            met.append(tuple(inside))
            inside.remove(shared)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, range(60)))
    assert all(all(those) or len(those) == 1 for those in met)
    assert _lock_files(tmp_path / "locks") == []


@pytest.mark.parametrize("shared", [False, True])
def test_a_lock_ends_with_the_process_that_was_killed(tmp_path: Path, shared: bool) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from pyoci_flask.index.lock import VersionLocks\n"
        f"with VersionLocks(Path(sys.argv[1])).hold_blobs('a', shared={shared}):\n"
        "    print('held', flush=True); time.sleep(1000)"
    )
    locks = VersionLocks(tmp_path / "locks", deadline=PATIENCE)
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "locks")], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        short = VersionLocks(tmp_path / "locks", deadline=0.05)
        with pytest.raises(BusyError), short.hold_blobs("a", shared=False):
            pytest.fail("it was held")
        holder.kill()
        with locks.hold_blobs("a", shared=False):
            assert len(_lock_files(tmp_path / "locks")) == 1
    assert _lock_files(tmp_path / "locks") == []


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


def test_lock_folder_that_was_cleaned_away_is_made_again(tmp_path: Path) -> None:
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
            (name,) = _lock_files(tmp_path / "locks")
            future = pool.submit(second)
            assert waiting.wait(PATIENCE)
            (tmp_path / "locks" / name).unlink()
        future.result(PATIENCE)


def test_all_who_start_at_once_exclude_each_other(tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    counter = tmp_path / "counter"
    for _ in range(10):
        shutil.rmtree(folder, ignore_errors=True)
        counter.write_text("0")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: _count_up(folder, counter, 2), range(8)))
        assert counter.read_text() == "16"
        assert _lock_files(folder) == []


def test_without_flock_commands_can_be_imported_and_changes_are_refused(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['fcntl'] = None\n"
        "from pathlib import Path; from pyoci_flask.index.lock import VersionLocks\n"
        "from pyoci_flask.errors import ConfigurationError, SpoolFullError\n"
        "locks = VersionLocks(Path(sys.argv[1]))\n"
        "for take in (locks.prepare, locks.hold('a').__enter__):\n"
        "    try: take()\n"
        "    except (ConfigurationError, SpoolFullError) as error:\n"
        "        print(type(error).__name__, error)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    first, second = ran.stdout.splitlines()
    assert first.startswith("ConfigurationError this system has no file locks")
    assert second.startswith(
        "SpoolFullError this server cannot change anything (this system has no"
    )


def test_folder_that_went_away_or_changed_hands_refuses_every_change(tmp_path: Path) -> None:
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


def test_the_folder_is_removed_unless_a_lock_is_held(tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    locks = VersionLocks(folder)
    locks.tidy()  # it does not exist yet
    with locks.hold("a", "1.0"):
        locks.tidy()
        assert len(_lock_files(folder)) == 1
    locks.tidy()
    assert not folder.exists()
    with locks.hold("a", "1.0"):
        assert len(_lock_files(folder)) == 1


def test_locks_exclude_each_other_while_others_remove_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    is_over = threading.Event()
    inside, most = 0, 0

    def remove() -> None:
        while not is_over.is_set():
            VersionLocks(folder).tidy()

    def enter(_: int) -> None:
        nonlocal inside, most
        with VersionLocks(folder, deadline=PATIENCE).hold("a", "1.0"):
            inside += 1
            most = max(most, inside)
            os.sched_yield()
            inside -= 1

    removers = [threading.Thread(target=remove) for _ in range(2)]
    for remover in removers:
        remover.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(enter, range(200)))
    finally:
        is_over.set()
        for remover in removers:
            remover.join()
    assert most == 1
