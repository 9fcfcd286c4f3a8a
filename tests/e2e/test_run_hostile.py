"""A hostile build script of a dependency, under `run -- uv sync`."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests import packages
from tests.packages import make_sdist
from tests.patience import PATIENCE
from tests.run_lab import PASSWORD, USER, RunLab, run_command, run_lab
from tests.second_user import User, second_user

_HOSTILE = """
import base64, http.client, json, os, pathlib, re
from urllib.parse import unquote, urlsplit

wanted = [one[::-1].encode() for one in BACKWARDS]
own = pathlib.Path(os.environ["HOME"])


def has_secret(content):
    return any(one in content for one in wanted)


def ask(method, url, through):
    pair = unquote(f"{through.username}:{through.password}").encode()
    login = "Basic " + base64.b64encode(pair).decode()
    connection = http.client.HTTPConnection("127.0.0.1", through.port)
    headers = {"Proxy-Authorization": login, "Authorization": login, "Content-Length": "0"}
    connection.request(method, url, headers=headers)
    answer = connection.getresponse()
    return [answer.status, has_secret(str(answer.getheaders()).encode() + answer.read())]


def files():
    found, read = [], 0
    for folder in {str(own), os.environ.get("TMPDIR", "/tmp")}:
        for path in pathlib.Path(folder).rglob("*"):
            try:
                if path.is_file() and not path.is_symlink():
                    read += 1
                    if has_secret(path.read_bytes()):
                        found.append(str(path.relative_to(own) if own in path.parents else path))
            except OSError:
                pass
    return [found, read]


def processes():
    seen, pid = [], os.getppid()
    while pid > 1:
        folder, opened, found = f"/proc/{pid}", [], []
        for name in ("environ", "cmdline", "maps", "mem", "auxv", "fd"):
            try:
                if name == "fd":
                    texts = (open(f"{folder}/fd/{one}", "rb").read(1 << 20)
                             for one in os.listdir(f"{folder}/fd")
                             if os.path.isfile(f"{folder}/fd/{one}"))
                elif name == "mem":
                    texts = memory(folder)
                else:
                    texts = [open(f"{folder}/{name}", "rb").read()]
                if any([has_secret(text) for text in texts]):
                    found.append(name)
                opened.append(name)
            except OSError:
                pass
        command = open(f"{folder}/cmdline", "rb").read().split(b"\\0")
        status = open(f"{folder}/status").read()
        seen.append(["pyoci_flask" in map(bytes.decode, command), opened, found])
        if seen[-1][0]:
            break
        pid = int(re.search(r"PPid:\\s+(\\d+)", status)[1])
    return seen


def memory(folder):
    with open(f"{folder}/maps") as maps, open(f"{folder}/mem", "rb", 0) as memory:
        for line in maps:
            start, end = (int(one, 16) for one in line.split()[0].split("-"))
            if " r" in line and end - start < 1 << 28:
                try:
                    memory.seek(start)
                    yield memory.read(end - start)
                except (OSError, ValueError, OverflowError):
                    pass


def probe():
    proxy = urlsplit(os.environ["HTTP_PROXY"])
    publishing = urlsplit(os.environ["UV_PUBLISH_URL"])
    publishing = publishing._replace(netloc=proxy.netloc)
    index = "http://run.pyoci.invalid" + publishing.path
    asked = {}
    for place in (index, publishing.path):
        for method, below in TRIES:
            url = place + below
            asked[f"{method} {url}"] = ask(method, url, proxy)
    with open(os.environ["HOSTILE_FOUND"], "w") as file:
        json.dump({
            "control": ask("GET", index + "hostile/", proxy),
            "asked": asked,
            "environment": [name for name in os.environ if has_secret(os.environ[name].encode())],
            "files": files(),
            "processes": processes(),
        }, file)


probe()
"""
_TRIES = [
    ("POST", ""),
    ("DELETE", "hostile/1.0"),
    ("DELETE", "hostile/hostile-1.0.tar.gz"),
    ("DELETE", "hostile/1.0?blobs=delete"),
    ("PATCH", "hostile/1.0"),
    ("PUT", "hostile/1.0"),
    ("OPTIONS", ""),
    ("GET", "../secret/hidden/"),
    ("GET", "../secret/"),
    ("GET", "../../../v2/_catalog"),
]


def _backend() -> str:
    """Return a build backend that looks for the login, and then builds as usual."""
    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    secrets = [PASSWORD, pair, base64.b64encode(PASSWORD.encode()).decode(), quote(PASSWORD, "")]
    constants = f"BACKWARDS = {[one[::-1] for one in secrets]}\nTRIES = {_TRIES}\n"
    return constants + _HOSTILE + packages._BACKEND


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunLab]:
    folder = tmp_path_factory.mktemp("hostile")
    with run_lab(folder) as started, pytest.MonkeyPatch.context() as patch:
        dist = folder / "dist"
        dist.mkdir()
        patch.setattr(packages, "_BACKEND", _backend())
        started.publish(make_sdist(dist, "hostile", "1.0"))
        yield started


@pytest.fixture
def user(lab: RunLab) -> Iterator[User]:
    """Root may read the memory of every process, so somebody else runs this."""
    with second_user(lab) as made:
        yield made


@pytest.mark.slow
def test_a_build_script_changes_nothing_and_does_not_find_the_login(
    lab: RunLab, user: User
) -> None:
    uv = user.home / "uv"
    shutil.copy(Path(sys.executable).with_name("uv"), uv)
    found, temporary, project = (user.home / one for one in ("found.json", "tmp", "project"))
    for folder in (temporary, project):
        folder.mkdir()
    (project / "pyproject.toml").write_text(
        '[project]\nname = "victim"\nversion = "1.0"\nrequires-python = ">=3.11"\n'
        'dependencies = ["hostile"]\n'
    )
    for path in (uv, temporary, project, project / "pyproject.toml"):
        os.chown(path, user.uid, user.uid)
    options = user.options()
    options["env"] = {
        **dict(options["env"]),  # type: ignore[call-overload] # it is a dict
        "HOSTILE_FOUND": str(found),
        "TMPDIR": str(temporary),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_CACHE_DIR": str(user.home / "cache"),
    }
    python = Path("/usr/bin/python3") if user.python.startswith("/usr") else Path(user.python)
    command = run_command(
        ["--index", lab.index, "--fallback", "none"], uv, "sync", "--python", python
    )
    done = subprocess.run(  # type: ignore[call-overload] # the options of the user
        [user.python, *command[1:]],
        **options,
        cwd=project,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr

    report = json.loads(found.read_text())
    assert report["control"] == [200, False]
    assert set(map(tuple, report["asked"].values())) <= {(403, False), (400, False)}
    changing = {key: one for key, one in report["asked"].items() if not key.startswith("GET")}
    assert set(map(tuple, changing.values())) == {(403, False)}
    assert report["environment"] == []
    in_files, read = report["files"]
    assert in_files == [".docker/config.json"]  # it can read what the user can read
    assert read > 10
    *between, run = report["processes"]
    assert run == [True, ["cmdline"], []]
    assert between
    assert all(not secrets and "environ" in opened for _, opened, secrets in between)
