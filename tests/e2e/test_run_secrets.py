"""No secret is written or shown while a command runs: neither the registry's nor the run's own."""

import base64
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.packages import make_wheel
from tests.patience import PATIENCE
from tests.registries import docker_registry
from tests.run_lab import RunLab, auth, write_config, write_helper
from tests.run_process import line, running

_USER, _SECRET = "alice", 'Marked/secret+of "alice" & 100% hers?'
_OTHER = 'Another/secret+of "bob" & 100% his?'
"""What tests give to processes on purpose, while other tests look at all processes."""
_SIZE = 30 << 20
"""Bytes of a file that is larger than all buffers on its way."""

# Reads a part of a file, waits for a line of input, and reads the rest.
_DOWNLOAD = """
import os, re, sys, urllib.parse, urllib.request
page = urllib.request.urlopen(sys.argv[1])
link = re.search(r'href="([^"#]+)', page.read().decode())[1]
with urllib.request.urlopen(urllib.parse.urljoin(page.url, link)) as reply:
    size = len(reply.read(100_000))
    print(os.environ["HTTP_PROXY"], flush=True)
    sys.stdin.readline()
    size += len(reply.read())
print(size)
"""
_SHOW_AND_UPLOAD = (
    'echo "$HTTP_PROXY"; read -r line; exec "$0" -m twine upload --verbose --non-interactive "$1"'
)


@dataclass(frozen=True, slots=True)
class Marked:
    """A registry with a marked password, and a home with the login in one or two files."""

    lab: RunLab
    home: Path
    logins: tuple[Path, ...]
    wheel: Path
    temporary: Path

    @property
    def environ(self) -> dict[str, str]:
        return {"TMPDIR": str(self.temporary), "LOG_LEVEL": "debug"}

    def assert_no_secret(self, *texts: bytes, secret: str = _SECRET, user: str = _USER) -> None:
        """Look for a secret in the texts, in files, and in what all processes were given."""
        forms = _forms(secret, user)
        found = [f"text {number}" for number, text in enumerate(texts) if _is_in(forms, text)]
        folders = (self.home, self.temporary)
        paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        assert paths
        searched = {*paths, *_of_processes("cmdline")} - {*self.logins}
        found += [str(path) for path in searched if _is_in(forms, _content(path))]
        assert found == []

    def assert_not_in_environments(self) -> None:
        """Look for the registry's secret in the environments of all processes."""
        forms = _forms(_SECRET, _USER)
        paths = _of_processes("environ")
        assert any(_content(path) for path in paths)
        assert [path for path in paths if _is_in(forms, _content(path))] == []


@pytest.fixture(params=[pytest.param("auths", marks=pytest.mark.acceptance), "helper"])
def marked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Marked]:
    """Keep the login in a file, or in a credential helper."""
    with docker_registry(tmp_path, htpasswd=(_USER, _SECRET)) as registry:
        lab = RunLab(registry, tmp_path)
        home = lab.home(login=None)
        logins = [home / ".docker" / "config.json"]
        if request.param == "auths":
            write_config(home, {"auths": {registry.netloc: auth(_USER, _SECRET)}})
        else:
            write_config(home, {"credHelpers": {registry.netloc: "marked"}})
            write_helper(home / "bin", "marked", _USER, _SECRET)
            logins.append(home / "bin" / "docker-credential-marked")
        temporary, dist = tmp_path / "tmp", tmp_path / "dist"
        temporary.mkdir()
        dist.mkdir()
        wheel = make_wheel(dist, "large", "1.0", size=_SIZE)
        yield Marked(lab, home, tuple(logins), wheel, temporary)


@pytest.mark.slow
@pytest.mark.parametrize("verbose", [False, True], ids=["log", "stderr"])
def test_a_download_shows_no_secret(marked: Marked, verbose: bool) -> None:
    marked.lab.publish(marked.wheel)
    url = f"{marked.lab.address}large/"
    options = ["--index", marked.lab.index, *(["-v"] if verbose else [])]
    command = (sys.executable, "-c", _DOWNLOAD, url)
    with running(marked.home, *command, options=options, environ=marked.environ) as process:
        own = _own_secret(line(process.stdout))
        marked.assert_no_secret()
        marked.assert_not_in_environments()
        marked.assert_no_secret(secret=own, user="run")
        output, errors = process.communicate(b"\n", PATIENCE)
    assert (process.returncode, int(output)) == (0, marked.wheel.stat().st_size)
    log = marked.home / ".local" / "state" / "pyoci-flask" / "run.log"
    logged = errors if verbose else log.read_bytes()
    assert b"the login for" in logged
    assert log.exists() is not verbose
    marked.assert_no_secret(output, errors)
    marked.assert_no_secret(output, errors, secret=own, user="run")


@pytest.mark.slow
def test_an_upload_shows_no_secret(marked: Marked) -> None:
    options = ["--publish", "--index", marked.lab.index]
    command = ("sh", "-c", _SHOW_AND_UPLOAD, sys.executable, marked.wheel)
    with running(marked.home, *command, options=options, environ=marked.environ) as process:
        own = _own_secret(line(process.stdout))
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        rounds = 0
        while process.poll() is None:
            marked.assert_no_secret()
            marked.assert_not_in_environments()
            marked.assert_no_secret(secret=own, user="run")
            rounds += 1
        output, errors = process.communicate()
    assert process.returncode == 0, output + errors
    assert rounds
    marked.assert_no_secret(output, errors)
    marked.assert_no_secret(output, errors, secret=own, user="run")
    assert list(marked.temporary.iterdir()) == []


@pytest.mark.slow
def test_a_failure_shows_no_secret(marked: Marked) -> None:
    users = marked.lab.folder / "docker-registry" / "htpasswd"
    users.write_text("")  # the registry refuses the login from now on
    os.utime(users, (2**32, 2**32))  # it reads a file again that is newer
    pip = (sys.executable, "-m", "pip", "-vvv", "download", "--no-deps", "large")
    options = ["--index", marked.lab.index, "--fallback", "none"]
    show = ("sh", "-c", 'echo "$HTTP_PROXY"; exec "$@"', "sh")
    environ = {**marked.environ, "TMPDIR": str(marked.home)}
    with running(marked.home, *show, *pip, options=options, environ=environ) as process:
        own = _own_secret(line(process.stdout))
        output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert b"pyoci-flask run: " in errors
    (marked.temporary / "not empty").touch()
    marked.assert_no_secret(output, errors)
    marked.assert_no_secret(output, errors, secret=own, user="run")


def test_a_password_in_a_variable_is_passed_on_to_nobody(tmp_path: Path) -> None:
    environ = {"PYOCI_USERNAME": _USER, "PYOCI_PASSWORD": _OTHER}
    options = ["--index", "http://localhost:9/acme"]
    show = "import json, os; print(json.dumps(dict(os.environ)))"
    with running(tmp_path, sys.executable, "-c", show, options=options, environ=environ) as process:
        output, errors = process.communicate()
    assert errors == b""
    assert not _is_in(_forms(_OTHER, _USER), output)
    assert not {"PYOCI_USERNAME", "PYOCI_PASSWORD"} & json.loads(output).keys()


def test_the_search_finds_each_form_of_a_secret() -> None:
    forms = _forms(_OTHER, _USER)
    header = base64.b64encode(f"{_USER}:{_OTHER}".encode())
    assert _is_in(forms, b"Authorization: Basic " + header)
    assert _is_in(forms, f"http://a:{quote(_OTHER, safe='')}@b/".encode())
    assert _is_in(forms, json.dumps({"Secret": _OTHER}).encode())
    with subprocess.Popen(["sh", "-c", "read -r line", _OTHER], stdin=subprocess.PIPE) as process:
        assert any(_is_in(forms, _content(path)) for path in _of_processes("cmdline"))
        process.communicate(b"\n")


def _forms(secret: str, user: str) -> set[bytes]:
    """Return what a secret looks like raw, quoted for URLs, in JSON and in Base64."""
    texts = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
    texts |= {json.dumps(secret)[1:-1], repr(secret)[1:-1]}
    forms = {text.encode() for text in texts}
    for plain in (secret.encode(), f"{user}:{secret}".encode()):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            forms.add(encode(plain).rstrip(b"="))
    return forms


def _is_in(forms: set[bytes], text: bytes) -> bool:
    return any(form in text for form in forms)


def _own_secret(proxy: str) -> str:
    secret = proxy.removeprefix("http://run:").partition("@")[0]
    assert len(secret) > 20
    return secret


def _of_processes(name: str) -> list[Path]:
    return list(Path("/proc").glob(f"[0-9]*/{name}"))


def _content(path: Path) -> bytes:
    with contextlib.suppress(OSError):  # the process has ended, or the file was removed
        return path.read_bytes()
    return b""
