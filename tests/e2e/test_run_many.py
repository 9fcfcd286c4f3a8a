"""Several runs: at once, by two users, one inside another, and many in a row."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.packages import make_wheel
from tests.run_lab import (
    RunLab,
    run_command,
    run_lab,
    run_under,
    write_config,
)
from tests.run_process import done, line, running
from tests.second_user import User, second_user

# Prints its proxy and publish address, and then the status of each URL that it is sent.
_CLIENT = """
import json, os, sys, urllib.error, urllib.request
found = [os.environ["HTTP_PROXY"], os.environ["UV_PUBLISH_URL"], os.getppid()]
print(json.dumps(found), flush=True)
for line in sys.stdin:
    proxy, url = line.split()
    handler = urllib.request.ProxyHandler({"http": proxy} if proxy != "-" else {})
    try:
        with urllib.request.build_opener(handler).open(url) as reply:
            print(reply.status, flush=True)
    except urllib.error.HTTPError as error:
        print(error.code, flush=True)
"""
# Prints which files of the processes named by its arguments it can read.
_SPY = """
import sys
for pid in sys.argv[1:]:
    for name in ("environ", "mem", "maps", "auxv", "stack", "syscall"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                if name == "mem":
                    file.seek(int(open(f"/proc/{pid}/maps").readline().split("-")[0], 16))
                if file.read(1):
                    print(pid, name)
        except OSError:
            pass
print("end")
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunLab]:
    folder = tmp_path_factory.mktemp("run")
    with run_lab(folder) as started:
        dist = folder / "dist"
        dist.mkdir()
        started.publish(make_wheel(dist, "acme-lib", "1.0"))
        yield started


@dataclass(frozen=True, slots=True)
class Client:
    """A command under `run` that asks for URLs."""

    process: "subprocess.Popen[bytes]"
    proxy: str
    publishing: str
    run: int
    """The process id of `run`."""

    @classmethod
    def of(cls, process: "subprocess.Popen[bytes]") -> "Client":
        return cls(process, *json.loads(line(process.stdout)))

    def status(self, proxy: str, url: str) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{proxy or '-'} {url}\n".encode())
        self.process.stdin.flush()
        return int(line(self.process.stdout))


def _assert_separate(lab: RunLab, first: Client, second: Client) -> None:
    url = f"{lab.address}acme-lib/"
    for mine, other in ((first, second), (second, first)):
        assert mine.status(mine.proxy, url) == 200
        port = other.proxy.rpartition(":")[2]
        assert mine.status(f"http://127.0.0.1:{port}", url) == 407
        secret = mine.proxy.partition("@")[0]
        assert mine.status(f"{secret}@127.0.0.1:{port}", url) == 407
        assert mine.status("", other.publishing) == 401


def test_two_runs_of_one_user_do_not_serve_each_other(lab: RunLab) -> None:
    options, command = ["--index", lab.index], (sys.executable, "-c", _CLIENT)
    home = lab.home()
    with (
        running(home, *command, options=options) as one,
        running(home, *command, options=options) as two,
    ):
        _assert_separate(lab, Client.of(one), Client.of(two))
        assert [one.communicate(), two.communicate()] == [(b"", b"")] * 2
    log = (home / ".local" / "state" / "pyoci-flask" / "run.log").read_text()
    assert all(row.startswith("time=") for row in log.splitlines())


@pytest.fixture
def user(lab: RunLab) -> Iterator[User]:
    """Make a user, and remove the user and the home afterwards."""
    with second_user(lab) as made:
        yield made


@pytest.mark.slow
def test_two_users_do_not_serve_each_other_and_one_user_cannot_read_the_other_run(
    lab: RunLab, user: User
) -> None:
    options = {"cwd": user.home, "start_new_session": True, **user.options()}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with (
        running(lab.home(), sys.executable, "-c", _CLIENT, options=["--index", lab.index]) as ours,
        subprocess.Popen(user.command(lab, _CLIENT), **options, **pipes) as one,
        subprocess.Popen(user.command(lab, _CLIENT), **options, **pipes) as two,
    ):
        root, first, second = Client.of(ours), Client.of(one), Client.of(two)
        _assert_separate(lab, root, first)
        _assert_separate(lab, first, second)
        # What is read by a process of the same user, which may read that of other programs.
        with subprocess.Popen(["sleep", "1000"], **options) as sleeping:
            spied = [root.run, first.run, second.run, sleeping.pid]
            seen = subprocess.check_output(
                [user.python, "-c", _SPY, *map(str, spied)], **user.options(), text=True
            )
            sleeping.kill()
        rows = seen.splitlines()
        assert rows.pop() == "end"
        assert {row.split()[0] for row in rows} == {str(sleeping.pid)}
        assert {"environ", "mem", "maps"} <= {row.split()[1] for row in rows}
        for process in (ours, one, two):
            assert process.communicate() == (b"", b"")
    assert _owned_elsewhere(user) == []


@pytest.mark.slow
def test_a_run_inside_another_serves_its_own_index_and_passes_on_requests_for_others(
    tmp_path: Path, lab: RunLab
) -> None:
    inner_lab = RunLab(lab.registry, lab.folder, "inner")
    inner_lab.publish(make_wheel(tmp_path, "inner-lib", "1.0"))
    home = lab.home()
    command = run_command(["--index", inner_lab.index], sys.executable, "-c", _CLIENT)
    with running(home, *command, options=["--index", lab.index]) as process:
        client = Client.of(process)
        assert client.status(client.proxy, f"{inner_lab.address}inner-lib/") == 200
        assert client.status(client.proxy, f"{lab.address}acme-lib/") == 200
        assert client.status(client.proxy, f"{lab.address}missing/") == 404
        # Neither of the two serves this one.
        other = RunLab(lab.registry, lab.folder, "other")
        assert client.status(client.proxy, f"{other.address}acme-lib/") == 403
        assert process.communicate() == (b"", b"")


@pytest.mark.acceptance
@pytest.mark.parametrize("namespace", ["acme", "empty"])
def test_pip_in_a_run_inside_another_finds_what_the_outer_one_serves(
    lab: RunLab, tmp_path: Path, namespace: str
) -> None:
    inner = f"{lab.registry.url}/{namespace}"
    pip = (sys.executable, "-m", "pip", "download", "--no-deps", "--dest", tmp_path)
    command = run_command(["--index", inner, "--fallback", "none"], *pip, "acme-lib")
    if namespace == "empty":
        command = run_command(["--index", inner], *pip, "acme-lib")
    run_under(lab, *command)
    assert [path.name for path in tmp_path.glob("*.whl")] == ["acme_lib-1.0-py3-none-any.whl"]


@pytest.mark.acceptance
def test_the_same_index_inside_and_outside_does_not_send_pip_in_a_circle(
    lab: RunLab, tmp_path: Path
) -> None:
    dist = tmp_path / "mirror" / "elsewhere"
    dist.mkdir(parents=True)
    wheel = make_wheel(dist, "elsewhere", "1.0")
    (dist / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    serve = [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "0"]
    with subprocess.Popen(
        serve, cwd=dist.parent, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as mirror:
        port = line(mirror.stdout).split()[5]
        pip = (sys.executable, "-m", "pip", "download", "--no-deps", "--dest", tmp_path)
        command = run_command(["--index", lab.index], *pip, "elsewhere")
        run_under(lab, *command, environ={"PIP_INDEX_URL": f"http://127.0.0.1:{port}/"})
        mirror.kill()
    assert [path.name for path in tmp_path.glob("*.whl")] == [wheel.name]


@pytest.mark.acceptance
def test_fifty_runs_in_a_row_leave_no_process_and_no_file_but_the_log(
    lab: RunLab, tmp_path: Path
) -> None:
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    temporary.mkdir()
    home.mkdir()
    write_config(home, json.loads((lab.home() / ".docker" / "config.json").read_text()))
    environ = {"TMPDIR": str(temporary), "MARK": str(tmp_path)}
    ask = "import urllib.request, sys; urllib.request.urlopen(sys.argv[1]).read()"
    for _ in range(50):
        ended = done(
            home,
            sys.executable,
            "-c",
            ask,
            f"{lab.address}acme-lib/",
            options=["--index", lab.index],
            environ=environ,
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    assert _files(tmp_path) == ["home/.docker/config.json", "home/.local/state/pyoci-flask/run.log"]
    assert list(temporary.iterdir()) == []
    assert _marked(str(tmp_path)) == []


@pytest.mark.acceptance
@pytest.mark.slow
def test_publishing_leaves_no_file_and_no_folder(lab: RunLab, tmp_path: Path) -> None:
    temporary, dist = tmp_path / "tmp", tmp_path / "dist"
    temporary.mkdir()
    dist.mkdir()
    for number in range(3):
        wheel = make_wheel(dist, "published", f"{number}.0")
        run_under(
            lab,
            *(sys.executable, "-m", "twine", "upload", wheel),
            environ={"TMPDIR": str(temporary), "TWINE_NON_INTERACTIVE": "1"},
        )
    assert list(temporary.iterdir()) == []


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _owned_elsewhere(user: User) -> list[Path]:
    """Return the files of a user in the folders for all users."""
    folders = [Path("/tmp"), Path("/dev/shm"), Path("/var/tmp")]
    paths = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    found = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # another program has removed it
            if path.lstat().st_uid == user.uid and path != user.home:
                found.append(path)
    return found


def _marked(mark: str) -> list[int]:
    """Return the processes with a variable of this value."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"MARK={mark}".encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found
