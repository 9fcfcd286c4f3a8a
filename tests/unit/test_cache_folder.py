"""The listing cache's folder, and what a start removes of those that were left behind."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pyoci_flask.server.master import make_cache_folder, remove_abandoned
from tests.servers import ROOT

_MAKE = """\
import os, sys
from pathlib import Path
from pyoci_flask.server.master import make_cache_folder
print(make_cache_folder(Path(sys.argv[1]), os.geteuid(), os.getegid()), flush=True)
if sys.argv[2] == "forks" and (child := os.fork()):
    print(child, flush=True)
sys.stdin.read()
"""
_DAY = 24 * 60 * 60
_MINE = {os.geteuid()}


class Owner:
    """Another process that made a folder, and perhaps another one that inherited it."""

    def __init__(self, parent: Path, does: str = "waits") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _MAKE, str(parent), does],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.folder = Path(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def child(self) -> int:
        """The process that inherited the folder."""
        return int(self._line())

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.kill()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    owner = Owner(tmp_path)
    yield owner
    owner.close()


def test_a_folder_is_private_and_each_time_another(tmp_path: Path) -> None:
    folders = {make_cache_folder(tmp_path, os.geteuid(), os.getegid()) for _ in range(2)}
    assert len(folders) == 2
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}


def test_a_folder_stays_while_its_owner_lives_however_old_it_is(
    tmp_path: Path, owner: Owner
) -> None:
    for path in (owner.folder, *owner.folder.iterdir()):
        os.utime(path, (0, 0))
    remove_abandoned(tmp_path, _MINE)
    assert owner.folder.is_dir()


def test_a_folder_goes_when_its_owner_was_killed(tmp_path: Path, owner: Owner) -> None:
    (owner.folder / "listings").mkdir()
    (owner.folder / "listings" / "records.sqlite").write_bytes(b"listings")
    owner.kill()
    remove_abandoned(tmp_path, _MINE)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_stays_while_a_worker_of_a_killed_master_lives(tmp_path: Path) -> None:
    with closing(Owner(tmp_path, "forks")) as owner:
        child = os.pidfd_open(owner.child())
        try:
            owner.kill()
            remove_abandoned(tmp_path, _MINE)
            assert owner.folder.is_dir()
        finally:
            signal.pidfd_send_signal(child, signal.SIGKILL)
            os.close(child)


def test_a_folder_of_another_user_stays(tmp_path: Path, owner: Owner) -> None:
    owner.kill()
    remove_abandoned(tmp_path, {os.geteuid() + 1})
    assert owner.folder.is_dir()


def test_a_folder_without_a_lock_goes_when_nothing_changed_in_it_for_a_day(tmp_path: Path) -> None:
    now = time.time()
    ages = {"new": 0, "today": _DAY - 600, "old": _DAY + 600, "used": _DAY + 600}
    for name, age in ages.items():
        folder = tmp_path / f"pyoci-flask-cache-{name}"
        (folder / "listings").mkdir(parents=True)
        records = folder / "listings" / "records.sqlite"
        records.touch()
        for path in (records, folder / "listings", folder):
            os.utime(path, (now - age, now - age))
    os.utime(tmp_path / "pyoci-flask-cache-used" / "listings" / "records.sqlite")
    remove_abandoned(tmp_path, _MINE)
    left = {path.name.removeprefix("pyoci-flask-cache-") for path in tmp_path.iterdir()}
    assert left == {"new", "today", "used"}


def test_links_and_what_is_no_folder_stay_and_so_does_what_they_lead_to(
    tmp_path: Path, owner: Owner
) -> None:
    owner.kill()
    elsewhere = tmp_path / "elsewhere"
    owner.folder.rename(elsewhere)
    (tmp_path / "pyoci-flask-cache-link").symlink_to(elsewhere)
    (tmp_path / "pyoci-flask-cache-file").touch()
    linked = tmp_path / "pyoci-flask-cache-linked"
    linked.mkdir()
    (linked / "owner").symlink_to(elsewhere / "owner")
    before = sorted(tmp_path.rglob("*"))
    for path in before:
        os.utime(path, (0, 0), follow_symlinks=False)
    remove_abandoned(tmp_path, _MINE)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_cannot_be_looked_at_stops_nothing(tmp_path: Path, owner: Owner) -> None:
    owner.kill()
    odd = tmp_path / "pyoci-flask-cache-odd"
    odd.mkdir()
    os.mkfifo(odd / "owner")
    remove_abandoned(tmp_path / "missing", _MINE)
    remove_abandoned(tmp_path, _MINE)
    assert not owner.folder.exists()
