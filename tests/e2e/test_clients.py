"""Real package clients against the application under gunicorn."""

import os
import pty
import select
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import (
    pip_install,
    run,
    twine_upload,
    uv_install,
    uv_publish,
    with_credentials,
)
from tests.packages import make_sdist, make_wheel, module_name
from tests.patience import PATIENCE
from tests.registries import RunningRegistry, docker_registry
from tests.servers import RunningServer, environment, gunicorn


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The application with its embedded registry and no other settings."""
    tmp = tmp_path_factory.mktemp("clients")
    with gunicorn(tmp, {"PYOCI_STORAGE": str(tmp / "storage")}) as running:
        yield running


@pytest.fixture
def index(server: RunningServer, docker_htpasswd: RunningRegistry) -> str:
    """A new index in Debian's docker-registry, which asks for a password."""
    return f"{server.url}/{docker_htpasswd.address}/ns-{uuid.uuid4().hex[:12]}/"


def _auth(registry: RunningRegistry) -> tuple[str, str]:
    assert registry.auth is not None
    return registry.auth


def _import(target: Path, name: str) -> str:
    """Return the version that the installed module reports."""
    code = f"import {module_name(name)} as it; print(it.__version__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(target)},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def test_twine_publishes_and_pip_installs_with_the_registry_s_credentials(
    index: str, docker_htpasswd: RunningRegistry, tmp_path: Path
) -> None:
    auth = _auth(docker_htpasswd)
    files = [make_wheel(tmp_path, "some-pkg", "1.0"), make_sdist(tmp_path, "some-pkg", "1.0")]
    twine_upload(tmp_path, index, *files, auth=auth)
    target = tmp_path / "installed"
    assert pip_install(tmp_path, with_credentials(index, *auth), target, "Some_Pkg") == {
        "some-pkg": "1.0"
    }
    assert _import(target, "some-pkg") == "1.0"


def test_uv_publishes_and_installs_with_the_registry_s_credentials(
    index: str, docker_htpasswd: RunningRegistry, tmp_path: Path
) -> None:
    username, password = _auth(docker_htpasswd)
    wheel = make_wheel(tmp_path, "some-pkg", "1.0", summary="A package")
    uv_publish(tmp_path, index, "--username", username, "--password", password, wheel)
    target = tmp_path / "installed"
    signed = with_credentials(index, username, password)
    assert uv_install(tmp_path, signed, target, "some-pkg") == {"some-pkg": "1.0"}
    assert _import(target, "some-pkg") == "1.0"


def test_uv_publishes_with_credentials_in_the_url(server: RunningServer, tmp_path: Path) -> None:
    # Letters only: uv sends the password of a --publish-url without decoding its %3A.
    with docker_registry(tmp_path, htpasswd=("carol", "plain")) as registry:
        index = f"{server.url}/{registry.address}/team/"
        signed = with_credentials(index, "carol", "plain")
        uv_publish(tmp_path, signed, make_wheel(tmp_path, "some-pkg", "1.0"))
        target = tmp_path / "installed"
        assert uv_install(tmp_path, signed, target, "some-pkg") == {"some-pkg": "1.0"}


def test_without_credentials_clients_are_asked_for_them(index: str, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "some-pkg", "1.0")
    said = twine_upload(tmp_path, index, wheel, succeeds=False)
    assert "401" in said
    target = ["--target", str(tmp_path / "installed")]
    named = ["--index-url", index, "some-pkg"]
    said = run(tmp_path, "pip", "install", *target, *named, succeeds=False)
    assert "User for 127.0.0.1" in said
    said = run(tmp_path, "uv", "pip", "install", *target, *named, succeeds=False)
    assert "401" in said


def test_twine_shows_that_the_password_is_wrong(
    index: str, docker_htpasswd: RunningRegistry, tmp_path: Path
) -> None:
    username, _ = _auth(docker_htpasswd)
    wheel = make_wheel(tmp_path, "some-pkg", "1.0")
    said = twine_upload(tmp_path, index, wheel, auth=(username, "wrong"), succeeds=False)
    assert "401" in said


def test_publishing_a_file_again_is_refused_with_the_reason(
    server: RunningServer, tmp_path: Path
) -> None:
    url = f"{server.url}/simple/"
    wheel = make_wheel(tmp_path, "published-twice", "1.0")
    # uv publishes only with credentials, even if the registry needs none.
    login = ["--username", "anyone", "--password", "anything"]
    uv_publish(tmp_path, url, *login, wheel)
    said = uv_publish(tmp_path, url, *login, wheel, succeeds=False)
    assert "409" in said
    assert "already exists" in said
    said = twine_upload(tmp_path, url, wheel, succeeds=False)
    assert "409" in said
    assert "already exists" in said


def test_requirements_are_installed_from_the_same_index(
    server: RunningServer, tmp_path: Path
) -> None:
    url = f"{server.url}/simple/"
    lower = make_wheel(tmp_path, "lower.part", "1.5", requires_python=">=3.8")
    upper = make_wheel(tmp_path, "upper-part", "2.0", requires=["Lower_Part>=1.2"])
    too_new = make_wheel(tmp_path, "lower.part", "1.6", requires_python=">=99")
    twine_upload(tmp_path, url, lower, upper, too_new)
    expected = {"upper-part": "2.0", "lower.part": "1.5"}
    assert pip_install(tmp_path, url, tmp_path / "pip", "upper-part") == expected
    assert uv_install(tmp_path, url, tmp_path / "uv", "upper-part") == expected


def _twine_at_a_terminal(home: Path, *arguments: str) -> str:
    """Run twine at a terminal and press Enter at each of its two prompts; return its output."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "twine", *arguments],
        env=environment(home, {"TERM": "dumb"}),
        cwd=home,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    written, prompts = b"", [b"Enter your username: ", b"Enter your password: "]
    deadline = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 1)[0]:
                try:
                    written += os.read(ours, 4096)
                except OSError:  # how Linux reports that the terminal's other end was closed
                    break
            if prompts and prompts[0] in written:
                os.write(ours, b"\n")
                prompts.pop(0)
        assert process.wait(PATIENCE) == 0, written
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert not prompts, written
    return written.decode()


def test_the_two_commands_of_the_readme_need_no_setting(
    server: RunningServer, tmp_path: Path
) -> None:
    simple = f"http://localhost:{server.port}/simple/"
    dist = tmp_path / "dist"
    dist.mkdir()
    files = [make_wheel(dist, "no-setting", "1.0"), make_sdist(dist, "no-setting", "1.0")]
    _twine_at_a_terminal(tmp_path, "upload", "--repository-url", simple, *map(str, files))
    assert pip_install(tmp_path, simple, tmp_path / "installed", "no-setting") == {
        "no-setting": "1.0"
    }


# They are requested with ===, because ==1.0 would also match 1.0+cpu.1.
_NAMED = [
    ("plain-pkg", "1.0", None),
    ("plain-pkg", "2!1.0", None),
    ("plain-pkg", "1.0+cpu.1", None),
    ("plain-pkg", "1.0.dev4+g1664eb2.d20231017", None),
    ("plain-pkg", "1.1", "1"),
    ("plain-pkg", "2!1.1+cu12", "20240101_local"),
    ("zope.interface", "6.0", None),
    ("My_Pkg", "1.0", "7abc"),
]


@pytest.fixture(scope="module")
def published(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of an index with a wheel and an sdist of each of `_NAMED`."""
    dist = tmp_path_factory.mktemp("named")
    files = []
    for name, version, build in _NAMED:
        files.append(make_wheel(dist, name, version, build=build))
        files.append(make_sdist(dist, name, version))
    twine_upload(dist, f"{server.url}/simple/", *files)
    return f"{server.url}/simple/"


@pytest.mark.parametrize(("name", "version", "build"), _NAMED)
@pytest.mark.parametrize(
    "kind", ["--only-binary", pytest.param("--no-binary", marks=pytest.mark.acceptance)]
)
def test_pip_installs_under_the_normalised_name(
    published: str, tmp_path: Path, name: str, version: str, build: str | None, kind: str
) -> None:
    del build  # only in the wheel's filename
    normalised = name.lower().replace("_", "-").replace(".", "-")
    found = pip_install(
        tmp_path, published, tmp_path / "installed", kind, ":all:", f"{normalised}==={version}"
    )
    assert found == {name: version}
    assert _import(tmp_path / "installed", name) == version


@pytest.mark.parametrize(("name", "version", "build"), _NAMED)
def test_uv_installs_under_the_normalised_name(
    published: str, tmp_path: Path, name: str, version: str, build: str | None
) -> None:
    del build
    found = uv_install(tmp_path, published, tmp_path / "installed", f"{name}==={version}")
    assert found == {name: version}
