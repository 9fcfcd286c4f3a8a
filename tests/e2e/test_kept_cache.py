"""PYOCI_CACHE_FOLDER with real servers: restarts, other owners, damage, full disks, secrets."""

import base64
import contextlib
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from pyoci_flask.registry import create_registry
from tests.doubles import Recorder, wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.packages import make_wheel
from tests.registries import RunningRegistry
from tests.servers import RunningServer, gunicorn, wait_until

VERSIONS = ("1.0", "1.1", "1.2")
WHEELS = [f"my_pkg-{version}-py3-none-any.whl" for version in VERSIONS]
WORKERS, OTHERS = 12345, 12346
"""Users and groups that do not exist."""
WARNING = "PYOCI_CACHE_FOLDER cannot be used"
ONLY_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can do this")

pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True)
class Site:
    """A registry with three versions of a project, and servers in front of it, one by one."""

    tmp: Path
    url: str
    calls: Recorder
    http: requests.Session
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", self.tmp / "kept")

    @property
    def database(self) -> Path:
        return (self.folder / "listings-2" / "listings" / "records.sqlite").resolve()

    @contextlib.contextmanager
    def server(self, *options: str, **environ: str) -> Iterator[tuple[RunningServer, IndexClient]]:
        settings = {
            "PYOCI_CACHE_FOLDER": str(self.folder),
            "PYOCI_CACHE_TTL": "3600",
            "PYOCI_SPOOL": str(self.tmp),
            **environ,
        }
        with gunicorn(self.tmp, settings, *options) as running:
            yield running, self.index(running)

    def index(self, running: RunningServer) -> IndexClient:
        return IndexClient(f"{running.url}/{address(self.url)}/team", None, self.http)

    def fill(self, *options: str) -> None:
        """Let a server read the project, and stop it."""
        with self.server(*options) as (_, index):
            assert sorted(index.filenames("my-pkg")) == WHEELS

    def asked(self, index: IndexClient, expected: list[str] = WHEELS) -> int:
        """Return how many versions a server asks the registry for, to show the project."""
        before = len(self.calls.calls)
        assert sorted(index.filenames("my-pkg")) == expected
        return sum(
            call.method == "GET" and "/manifests/" in call.path
            for call in self.calls.calls[before:]
        )


@pytest.fixture
def site(tmp_path: Path, http: requests.Session) -> Iterator[Site]:
    http.headers["Connection"] = "close"  # each request may reach any worker
    calls = Recorder(create_registry(tmp_path / "registry"))
    with wsgi_server(calls) as url:
        made = Site(tmp_path, url, calls, http)
        with gunicorn(tmp_path, {"PYOCI_CACHE_TTL": "0"}) as running:
            for version in VERSIONS:
                wheel = make_wheel(tmp_path, "my_pkg", version)
                made.index(running).published(wheel, "my-pkg", version)
        yield made


def test_a_restart_is_not_a_cold_start(site: Site) -> None:
    site.fill()
    assert site.database.is_file()
    assert not list(site.tmp.glob("pyoci-flask-cache-*"))
    with site.server(WEB_CONCURRENCY="2") as (server, index):
        for _ in range(4):
            assert site.asked(index) <= 1  # which proves to a worker that the client may read
        new = make_wheel(site.tmp, "my_pkg", "1.3")
        index.published(new, "my-pkg", "1.3")
        assert index.request("DELETE", f"/my-pkg/{WHEELS[0]}").ok
        assert WARNING not in server.logged()
    # What was changed before the restart is not shown after it.
    with site.server() as (_, index):
        assert site.asked(index, [*WHEELS[1:], new.name]) <= 2


@pytest.mark.parametrize("ended", [signal.SIGKILL, signal.SIGINT])
def test_a_server_that_is_killed_leaves_what_it_knew(site: Site, ended: signal.Signals) -> None:
    with site.server() as (server, index):
        site.asked(index)
        worker = server.workers[0]
        assert index.request("DELETE", f"/my-pkg/{WHEELS[1]}").ok
        site.asked(index, [WHEELS[0], WHEELS[2]])
        for pid in (server.process.pid, worker):
            os.kill(pid, ended)
        server.process.wait()
        wait_until(lambda: not Path(f"/proc/{worker}").exists())
    with site.server() as (_, index):
        assert site.asked(index, [WHEELS[0], WHEELS[2]]) <= 1


def test_two_servers_with_one_folder_see_each_others_changes(site: Site) -> None:
    with site.server() as (_, one), site.server() as (_, other):
        assert site.asked(one) == 3
        assert site.asked(other) <= 1
        assert one.request("DELETE", f"/my-pkg/{WHEELS[0]}").ok
        assert site.asked(other, WHEELS[1:]) == 0
        assert other.request("DELETE", f"/my-pkg/{WHEELS[1]}").ok
        assert site.asked(one, WHEELS[2:]) == 0


def test_a_folder_that_is_removed_while_the_server_runs_is_made_again(site: Site) -> None:
    with site.server() as (server, index):
        assert site.asked(index) == 3
        shutil.rmtree(site.folder)
        assert site.asked(index) == 3
        assert site.asked(index) == 0
        assert "the listing cache failed" not in server.logged()


_OTHER_SERVER = """\
import sys
from pyoci_flask.app import create_app_from_env
from tests.doubles import wsgi_server
with wsgi_server(create_app_from_env()) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


def test_another_wsgi_server_keeps_it_too(site: Site) -> None:
    environ = {**os.environ, "PYOCI_CACHE_FOLDER": str(site.folder), "PYOCI_CACHE_TTL": "3600"}
    for expected in (3, 1):
        with subprocess.Popen(
            [sys.executable, "-c", _OTHER_SERVER],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as server:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            index = IndexClient(f"{url}/{address(site.url)}/team", None, site.http)
            assert site.asked(index) <= expected
            assert site.asked(index) == 0
            server.communicate("")


def _file(folder: Path) -> None:
    folder.touch()


def _link(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    folder.mkdir()
    (folder / "listings-2").symlink_to(folder.parent / "elsewhere")


def _other_user(folder: Path) -> None:
    (folder / "listings-2").mkdir(parents=True)
    os.chown(folder / "listings-2", OTHERS, OTHERS)


def _open_to_everyone(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


@pytest.mark.parametrize(
    "make", [_file, _link, _open_to_everyone, pytest.param(_other_user, marks=ONLY_ROOT)]
)
def test_with_a_folder_that_cannot_be_used_the_server_works_without_it(
    site: Site, make: Callable[[Path], None]
) -> None:
    make(site.folder)
    before = sorted(site.folder.rglob("*"))
    with site.server(WEB_CONCURRENCY="2") as (server, index):
        assert site.asked(index) == 3
        for _ in range(4):
            assert site.asked(index) <= 1  # the workers share a cache, which ends with them
        assert "the listing cache failed" not in server.logged()
        assert server.logged().count(WARNING) == 1
    assert sorted(site.folder.rglob("*")) == before
    assert not list(site.tmp.glob("pyoci-flask-cache-*"))


@pytest.fixture
def everyones_site(site: Site) -> Iterator[Site]:
    """The same in a folder that other users can enter."""
    program = [sys.executable, "-c", "import http.server, flask"]
    try:
        subprocess.run(program, user=WORKERS, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this needs root, and a Python that other users can run")
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o1777)
        yield Site(Path(made), site.url, site.calls, site.http)


def test_if_root_starts_it_the_folder_belongs_to_the_workers(everyones_site: Site) -> None:
    site, user = everyones_site, (f"--user={WORKERS}", f"--group={WORKERS}")
    site.fill(*user)
    paths = [site.folder, *site.folder.rglob("*")]
    assert len(paths) > 4
    assert {path.lstat().st_uid for path in paths} == {WORKERS}
    with site.server(*user) as (server, index):
        assert site.asked(index) <= 1
        assert WARNING not in server.logged()
    # To another user it is not theirs, although root starts the server.
    with site.server(f"--user={OTHERS}", f"--group={OTHERS}") as (server, index):
        assert site.asked(index) == 3
        assert site.asked(index) == 0
        assert server.logged().count(WARNING) == 1
    assert {path.lstat().st_uid for path in paths if path.exists()} == {WORKERS}


def test_a_folder_in_which_the_workers_may_not_write_is_not_used(everyones_site: Site) -> None:
    everyones_site.folder.mkdir(mode=0o755)
    user = (f"--user={WORKERS}", f"--group={WORKERS}")
    with everyones_site.server(*user) as (server, index):
        assert everyones_site.asked(index) == 3
        assert everyones_site.asked(index) == 0
        assert f"{WARNING}, so the listing cache ends with this server" in server.logged()
        assert "listings-2: Permission denied" in server.logged()
    assert not list(everyones_site.folder.iterdir())


def _from_another_version(site: Site) -> None:
    (site.folder / "listings-2").rename(site.folder / "listings-1")


def _user_version(site: Site) -> None:
    with closing(sqlite3.connect(site.database)) as database:
        database.execute("PRAGMA user_version = 3")


def _half(site: Site) -> None:
    os.truncate(site.database, site.database.stat().st_size // 2)


def _garbage(site: Site) -> None:
    site.database.write_bytes(os.urandom(site.database.stat().st_size))


def _garbage_log(site: Site) -> None:
    site.database.with_name(f"{site.database.name}-wal").write_bytes(os.urandom(50_000))
    _garbage(site)


def _other_values(site: Site) -> None:
    content = site.database.read_bytes()
    assert WHEELS[1].encode() in content
    site.database.write_bytes(content.replace(WHEELS[1].encode(), WHEELS[1].encode()[::-1]))


@pytest.mark.acceptance
@pytest.mark.parametrize(
    "damage",
    [_from_another_version, _user_version, _half, _garbage, _garbage_log, _other_values],
)
def test_what_is_damaged_or_of_another_version_is_read_from_the_registry(
    site: Site, damage: Callable[[Site], None]
) -> None:
    site.fill()
    damage(site)
    with site.server() as (server, index):
        asked = [site.asked(index) for _ in range(2)]
        wait_until(lambda: site.asked(index) == 0)
        assert asked[0] == 3
        warned = server.logged().count("the listing cache failed")
        assert warned == (damage is not _from_another_version)
    assert [path.name for path in site.folder.iterdir()] == ["listings-2"]
    with site.server() as (_, index):
        assert site.asked(index) <= 1


@contextlib.contextmanager
def _mounted(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir()
    options = f"size={size},mode=0700"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.acceptance
def test_a_full_disk_costs_only_time_and_no_change_is_missed(site: Site) -> None:
    with _mounted(site.folder, "1m"):
        site.fill()
        filler = site.folder / "filler"
        with site.server() as (server, index):
            assert site.asked(index) <= 1
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            assert index.request("DELETE", f"/my-pkg/{WHEELS[0]}").ok
            new = make_wheel(site.tmp, "my_pkg", "1.3")
            index.published(new, "my-pkg", "1.3")
            now = [*WHEELS[1:], new.name]
            for _ in range(5):
                site.asked(index, now)
            assert 1 <= server.logged().count("the listing cache failed") <= 3
        # It starts while the disk is full, and works again when it is not.
        with site.server() as (server, index):
            assert site.asked(index, now) == 3
            filler.unlink()
            wait_until(lambda: site.asked(index, now) == 0)
        with site.server() as (_, index):
            assert site.asked(index, now) <= 1


@pytest.mark.acceptance
def test_a_folder_that_cannot_be_written_any_more_costs_only_time(site: Site) -> None:
    with _mounted(site.folder, "8m"):
        site.fill()
        remount = ["mount", "-o", "remount,ro", str(site.folder)]
        subprocess.run(remount, check=True)
        with site.server() as (server, index):
            assert site.asked(index) == 3
            assert site.asked(index) == 0
            assert f"{WARNING}, so" in server.logged()
            assert "Read-only file system" in server.logged()


def _traces(secret: bytes) -> set[bytes]:
    """What could be stored in place of a secret."""
    digests = [
        hashlib.new(name, secret) for name in ("sha256", "blake2b", "blake2s", "md5", "sha1")
    ]
    digests += [hashlib.blake2b(secret, digest_size=size) for size in (8, 16, 20, 32)]
    raw = {one.digest() for one in digests}
    return (
        {secret, base64.b64encode(secret).rstrip(b"=")} | raw | {one.hex().encode() for one in raw}
    )


def test_no_credential_and_no_hash_of_one_is_kept(
    docker_htpasswd: RunningRegistry, namespace: str, tmp_path: Path, http: requests.Session
) -> None:
    folder = tmp_path / "kept"
    auth = docker_htpasswd.auth
    assert auth is not None
    with gunicorn(tmp_path, {"PYOCI_CACHE_FOLDER": str(folder)}) as server:
        index = IndexClient(f"{server.url}/{docker_htpasswd.address}/{namespace}", auth, http)
        index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
        assert index.filenames("my-pkg") == WHEELS[:1]
        assert index.get(f"/my-pkg/{WHEELS[0]}").ok
        assert index.get("/my-pkg/", auth=(auth[0], "wrong-password")).status_code == 401
        paths = [path for path in folder.rglob("*") if path.is_file()]
        # While the server runs, the log has each version of each page.
        kept = b"\0".join(path.read_bytes() for path in paths)
    kept += b"\0".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert WHEELS[0].encode() in kept
    pairs = [f"{auth[0]}:{one}".encode() for one in (auth[1], "wrong-password")]
    headers = [b"Basic " + base64.b64encode(pair) for pair in pairs]
    secrets = [auth[1].encode(), b"wrong-password", *pairs, *headers, *map(base64.b64encode, pairs)]
    for secret in secrets:
        for trace in _traces(secret):
            assert trace not in kept
