"""The listing cache's folder, and what a start removes of those that were left behind."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pyoci_flask.server.master import (
    acting_as,
    make_cache_folder,
    make_for,
    remove_abandoned,
)
from pyoci_flask.server.start import keep_cache
from pyoci_flask.settings import Settings
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_what_root_keeps_for_the_workers_belongs_to_them_and_is_not_more_than_they_may() -> None:
    user, group, other = 12345, 12346, 12347
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        folder = Path(made) / "new" / "cache"
        make_for(user, group, folder)
        with acting_as(user, group):
            kept = keep_cache(Settings(cache_folder=folder))
        assert (os.geteuid(), os.getegid()) == (0, os.getgid())
        assert kept is not None
        for path in (folder, kept):
            found = path.stat()
            assert (found.st_uid, found.st_gid) == (user, group)
            assert stat.S_IMODE(found.st_mode) == 0o700
        make_for(other, other, folder)  # it exists already
        with acting_as(other, other):
            assert keep_cache(Settings(cache_folder=folder)) is None
            assert keep_cache(Settings(cache_folder=Path(made) / "another")) is None
        assert folder.stat().st_uid == user


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_root_is_root_again_even_after_an_error() -> None:
    seen = []
    with contextlib.suppress(ZeroDivisionError), acting_as(12345, 12345):
        seen.append(os.geteuid())
        raise ZeroDivisionError
    assert [*seen, os.geteuid()] == [12345, 0]


def test_nothing_is_made_for_the_same_user(tmp_path: Path) -> None:
    with acting_as(os.geteuid(), os.getegid()):
        make_for(os.geteuid(), os.getegid(), tmp_path / "folder")
    assert not list(tmp_path.iterdir())
