"""`pyoci-flask copy` as a program: killed, stopped, with a large file, on a terminal."""

import contextlib
import hashlib
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.package_sites import SIMPLE_JSON, pypiserver
from tests.packages import make_sdist, make_wheel
from tests.patience import PATIENCE
from tests.registries import RunningRegistry
from tests.servers import (
    ROOT,
    RunningServer,
    environment,
    gunicorn,
)

pytestmark = pytest.mark.acceptance

_PROJECTS, _VERSIONS = 10, 5
_FILE_BYTES = 100_000


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A folder's hundred files, with the sha256 of each."""
    folder = tmp_path_factory.mktemp("hundred")
    for project in range(_PROJECTS):
        for version in range(_VERSIONS):
            make_wheel(folder, f"Pkg.No-{project}", f"1.{version}", size=_FILE_BYTES)
            make_sdist(folder, f"Pkg.No-{project}", f"1.{version}", requires_python=">=3.8")
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture
def source(hundred: dict[str, str]) -> Iterator[str]:
    """Those files in a pypiserver."""
    with pypiserver(Path(next(iter(hundred))).parent) as url:
        yield f"{url}/simple/"


def _listed(index: str, project: str, http: requests.Session) -> dict[str, dict[str, object]]:
    """Return a project's files by name, as JSON lists them; none if it does not exist."""
    page = http.get(f"{index}{project}/", headers={"Accept": SIMPLE_JSON})
    return {file["filename"]: file for file in page.json()["files"]} if page.ok else {}


def _all_hashes(index: str, http: requests.Session) -> dict[str, str]:
    found: dict[str, str] = {}
    for number in range(_PROJECTS):
        for name, file in _listed(index, f"pkg-no-{number}", http).items():
            hashes = file["hashes"]
            assert isinstance(hashes, dict)
            found[name] = hashes["sha256"]
    return found


def test_a_hundred_files_arrive_once_each_although_the_copy_is_killed(
    app: RunningServer,
    docker_open: RunningRegistry,
    namespace: str,
    source: str,
    hundred: dict[str, str],
    http: requests.Session,
    tmp_path: Path,
) -> None:
    target = f"{app.url}/{docker_open.address}/{namespace}/"
    program = [sys.executable, "-m", "pyoci_flask", "copy", source, target]
    settings = environment(tmp_path, {"TMPDIR": str(tmp_path), "NETRC": os.devnull})
    first = subprocess.Popen(
        program, cwd=ROOT, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert first.stdout is not None
    with first.stdout:
        for _ in range(30):
            assert first.stdout.readline().startswith("copied ")
        first.send_signal(signal.SIGKILL)
        assert first.wait(PATIENCE) == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []
    begun = len(_all_hashes(target, http))
    assert 30 <= begun < 100

    second = subprocess.run(
        program,
        cwd=ROOT,
        env=settings,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        text=True,
    )
    assert second.returncode == 0, second.stdout + second.stderr
    summary = second.stdout.splitlines()[-1]
    counted = re.fullmatch(r"copied (\d+) files \(.*\), (\d+) already present", summary)
    assert counted is not None, summary
    assert int(counted[1]) + int(counted[2]) == 100
    assert int(counted[2]) >= begun
    assert _all_hashes(target, http) == {Path(path).name: sha for path, sha in hundred.items()}
    taken = re.findall(rf"status=200 method=POST path=\S*/{namespace}/ ", app.logged())
    assert len(taken) == 100

    third = subprocess.run(
        program,
        cwd=ROOT,
        env=settings,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        text=True,
    )
    assert third.stdout == "copied 0 files (0 bytes), 100 already present\n"


def test_a_copy_is_stopped_by_the_user_and_says_how_to_go_on(
    app: RunningServer,
    docker_open: RunningRegistry,
    namespace: str,
    source: str,
    tmp_path: Path,
) -> None:
    target = f"{app.url}/{docker_open.address}/{namespace}/"
    process = subprocess.Popen(
        [sys.executable, "-m", "pyoci_flask", "copy", "--jobs", "2", source, target],
        cwd=ROOT,
        env=environment(tmp_path, {"NETRC": os.devnull}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline().startswith("copied ")
        process.send_signal(signal.SIGINT)
        said = process.stdout.read().splitlines()
    assert process.wait(PATIENCE) == 130
    assert said[-1] == "stopped; run the same command again to continue"
    assert re.fullmatch(r"copied \d+ files? \(.*\), 0 already present", said[-2])
    assert not [line for line in said if "Traceback" in line]


def test_memory_does_not_grow_with_a_file(tmp_path: Path) -> None:
    size = 150_000_000
    folder = tmp_path / "large"
    folder.mkdir()
    make_wheel(folder, "large", "1.0", size=size)
    # Not getrusage: its peak is that of the test's own process if that one is larger.
    measured = (
        "import pathlib\n"
        "from pyoci_flask.cli.main import main\n"
        "try:\n    main()\nfinally:\n"
        "    [peak] = [line.split()[1] for line in pathlib.Path('/proc/self/status').open()"
        " if line.startswith('VmHWM')]\n"
        "    print(peak)\n"
    )
    storage = {"PYOCI_STORAGE": str(tmp_path / "storage"), "PYOCI_MAX_BODY": "200000000"}
    with pypiserver(folder) as source, gunicorn(tmp_path, storage) as target:
        done = subprocess.run(
            [sys.executable, "-c", measured, "copy", f"{source}/simple/", f"{target.url}/simple/"],
            cwd=ROOT,
            env=environment(tmp_path, {"NETRC": os.devnull}),
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            text=True,
        )
    *_, summary, peak = done.stdout.splitlines()
    assert summary == "copied 1 file (150.0 MB), 0 already present", done.stdout + done.stderr
    assert int(peak) * 1024 < size / 1.5, peak


def test_on_a_terminal_a_bar_shows_how_far_it_is(
    app: RunningServer,
    docker_open: RunningRegistry,
    namespace: str,
    source: str,
    tmp_path: Path,
) -> None:
    target = f"{app.url}/{docker_open.address}/{namespace}/"
    reading, writing = pty.openpty()
    with open(reading, "rb", buffering=0) as terminal:  # noqa: PTH123 - a descriptor, no path
        process = subprocess.Popen(
            [sys.executable, "-m", "pyoci_flask", "copy", source, target, "pkg-no-5"],
            cwd=ROOT,
            env=environment(tmp_path, {"NETRC": os.devnull, "TERM": "xterm", "COLUMNS": "100"}),
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
        )
        os.close(writing)
        written = b""
        # The end of a terminal raises an error in its reader.
        with contextlib.suppress(OSError):
            while data := terminal.read(65536):
                written += data
        assert process.wait(PATIENCE) == 0
    assert b"10 of 10 files" in written
    assert b"copied 10 files (" in written
    assert b"\ncopied Pkg" not in written
