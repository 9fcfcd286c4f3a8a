"""Package clients get the login for a registry from the key ring, for trusted servers only.

pip, uv and pdm call the program `keyring`, which is another program's environment here, too. twine
and poetry import keyring in their own environments, where this package must then be installed: a
folder on PYTHONPATH with its metadata stands for that.
"""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from werkzeug.wrappers import Request, Response

from tests.client_tools import client_tool
from tests.clients import PATIENT, installed
from tests.doubles import Recorder, wsgi_server
from tests.packages import make_wheel
from tests.patience import PATIENCE
from tests.registered import keyring_program, register
from tests.registries import RunningRegistry
from tests.servers import ROOT, RunningServer, environment, gunicorn, nginx

_SUB_PATH = "/acme-corp"
_PYPROJECT = """\
[project]
name = "user"
version = "1"
requires-python = ">=3.11"
dependencies = ["hello"]
"""


@dataclass(frozen=True, slots=True)
class User:
    """A person with a login in Docker's file, the program `keyring`, and pairs that are trusted."""

    home: Path
    programs: Path
    plugin: str
    """The PYTHONPATH with which a client's own keyring finds this package."""
    password: str

    def trusts(self, server: str, registry: str) -> None:
        """Run `pyoci-flask trust`."""
        self.runs(sys.executable, "-m", "pyoci_flask", "trust", server, registry, cwd=ROOT)

    def runs(
        self,
        *command: str | Path,
        environ: Mapping[str, str] | None = None,
        succeeds: bool | None = True,
        cwd: Path | None = None,
    ) -> str:
        """Run a program and return its output; it must succeed or fail, unless that is None."""
        path = f"{self.programs}{os.pathsep}{environment(self.home)['PATH']}"
        settings = {
            "PATH": path,
            "PIP_CONFIG_FILE": os.devnull,
            "PYTHONWARNINGS": "ignore",
            "PDM_CHECK_UPDATE": "false",
            "NO_COLOR": "1",
            **PATIENT,
            **(environ or {}),
        }
        done = subprocess.run(
            [*map(str, command)],
            env=environment(self.home, settings),
            cwd=cwd or self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
            text=True,
        )
        assert succeeds is None or (done.returncode == 0) is succeeds, done.stdout
        assert self.password not in done.stdout
        return done.stdout

    def asked(self) -> list[str]:
        """Return how the program `keyring` was called."""
        calls = self.programs / "calls"
        return calls.read_text().splitlines() if calls.exists() else []


@pytest.fixture
def user(tmp_path: Path, docker_htpasswd: RunningRegistry) -> User:
    """A person who is logged in to the registry and trusts no server."""
    config = tmp_path / "home" / ".docker" / "config.json"
    config.parent.mkdir(parents=True)
    assert docker_htpasswd.auth is not None
    username, password = docker_htpasswd.auth
    auth = base64.b64encode(f"{username}:{password}".encode()).decode()
    config.write_text(json.dumps({"auths": {docker_htpasswd.netloc: {"auth": auth}}}))
    plugin = register(tmp_path)
    return User(tmp_path / "home", keyring_program(tmp_path, plugin), plugin, password)


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The application under a sub-path."""
    with gunicorn(tmp_path_factory.mktemp("backend"), {"PYOCI_PATH": _SUB_PATH}) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(
    backend: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """The same application behind nginx with TLS."""
    with nginx(tmp_path_factory.mktemp("proxy"), backend) as running:
        yield running


@pytest.fixture
def index(
    proxy: RunningServer, docker_htpasswd: RunningRegistry, namespace: str, tmp_path: Path
) -> str:
    """An index with the package hello 1.0, which only users with a login may read."""
    url = f"{proxy.url}{_SUB_PATH}/{docker_htpasswd.address}/{namespace}/"
    wheel = make_wheel(tmp_path, "hello", "1.0")
    _publish(url, wheel, docker_htpasswd, str(proxy.certificate))
    return url


def _publish(url: str, wheel: Path, registry: RunningRegistry, certificate: str) -> None:
    form = {":action": "file_upload", "protocol_version": "1", "filetype": "bdist_wheel"}
    form |= {"name": "hello", "version": "1.0", "metadata_version": "2.1", "pyversion": "py3"}
    with requests.Session() as session, wheel.open("rb") as content:
        session.trust_env = False
        done = session.post(
            url,
            data=form,
            files={"content": (wheel.name, content)},
            auth=registry.auth,
            verify=certificate,
        )
    assert done.status_code == 200, done.text


@pytest.fixture
def trusting(user: User, proxy: RunningServer, docker_htpasswd: RunningRegistry) -> User:
    """The same person after they have trusted the server."""
    user.trusts(f"{proxy.url}{_SUB_PATH}", docker_htpasswd.url)
    return user


def _with_username(url: str, username: str) -> str:
    return url.replace("://", f"://{username}@", 1)


def _pip(index: str, target: Path, *options: str | Path) -> list[str | Path]:
    return [
        *(sys.executable, "-m", "pip", "install", "--no-input", "--no-cache-dir", "--no-deps"),
        *("--disable-pip-version-check", "--keyring-provider", "subprocess"),
        *("--target", target, "--index-url", index, *options, "hello"),
    ]


def _uv(index: str, target: Path) -> list[str | Path]:
    return [
        *(sys.executable, "-m", "uv", "pip", "install", "--no-cache", "--no-config"),
        *("--keyring-provider", "subprocess", "--python", sys.executable),
        *("--target", target, "--default-index", index, "hello"),
    ]


def _tls(proxy: RunningServer) -> dict[str, str]:
    # uv does not accept a certificate that signs itself.
    return {"REQUESTS_CA_BUNDLE": str(proxy.certificate), "UV_INSECURE_HOST": "127.0.0.1"}


def test_pip_needs_no_user_name(
    trusting: User, proxy: RunningServer, index: str, tmp_path: Path
) -> None:
    command = _pip(index, tmp_path / "target", "--cert", str(proxy.certificate))
    trusting.runs(*command)
    assert installed(tmp_path / "target") == {"hello": "1.0"}
    assert trusting.asked() == [f"--mode=creds --output=json get {index}"]


@pytest.mark.acceptance
def test_an_older_pip_gets_it_with_the_user_name_in_the_address(
    trusting: User, proxy: RunningServer, index: str, tmp_path: Path
) -> None:
    pip = client_tool("pip-23.0", "pip")
    address = _with_username(index, "alice")
    trusting.runs(
        *(pip, "install", "--no-cache-dir", "--no-deps", "--target", tmp_path / "target"),
        *("--index-url", address, "--cert", str(proxy.certificate), "hello"),
    )
    assert installed(tmp_path / "target") == {"hello": "1.0"}
    assert set(trusting.asked()) == {f"get {index} alice"}


def test_uv_gets_it_with_the_user_name_in_the_address(
    trusting: User, proxy: RunningServer, index: str, tmp_path: Path
) -> None:
    command = _uv(_with_username(index, "alice"), tmp_path / "target")
    trusting.runs(*command, environ=_tls(proxy))
    assert installed(tmp_path / "target") == {"hello": "1.0"}
    assert trusting.asked() == [f"get {index} alice"]


def test_uv_needs_no_user_name_for_an_index_that_always_authenticates(
    trusting: User, proxy: RunningServer, index: str, tmp_path: Path
) -> None:
    (tmp_path / "pyproject.toml").write_text(
        f'{_PYPROJECT}\n[[tool.uv.index]]\nname = "acme"\nurl = "{index}"\ndefault = true\n'
        'authenticate = "always"\n'
    )
    options = ["--no-cache", "--keyring-provider", "subprocess", "--python", sys.executable]
    sync = [sys.executable, "-m", "uv", "sync", *options]
    trusting.runs(*sync, environ=_tls(proxy), cwd=tmp_path)
    [site] = (tmp_path / ".venv" / "lib").glob("*/site-packages")
    assert installed(site)["hello"] == "1.0"
    assert trusting.asked() == [f"get {index} --mode creds"]
    assert trusting.password not in (tmp_path / "uv.lock").read_text()


def test_uv_publishes_with_the_user_name_as_an_option(
    trusting: User, proxy: RunningServer, index: str, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "hello", "2.0")
    publish = [sys.executable, "-m", "uv", "publish", "--keyring-provider", "subprocess"]
    address = ["--publish-url", index, "--username", "alice"]
    trusting.runs(*publish, *address, wheel, environ=_tls(proxy))
    assert set(trusting.asked()) == {f"get {index} alice"}


def test_twine_needs_no_user_name(
    trusting: User, proxy: RunningServer, index: str, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "hello", "2.0")
    upload = [sys.executable, "-m", "twine", "upload", "--non-interactive"]
    options = ["--cert", str(proxy.certificate), "--repository-url", index]
    environ = {"PYTHONPATH": trusting.plugin}
    output = trusting.runs(*upload, "--verbose", *options, wheel, environ=environ)
    assert "username set from keyring" in output
    assert "password set from keyring" in output


@pytest.mark.acceptance
def test_poetry_locks_and_publishes_without_a_user_name(
    trusting: User, proxy: RunningServer, index: str, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        f'{_PYPROJECT}\n[[tool.poetry.source]]\nname = "acme"\nurl = "{index}"\n'
    )
    (project / "user.py").write_text("")
    poetry = client_tool("poetry")
    environ = {**_tls(proxy), "PYTHONPATH": trusting.plugin}
    trusting.runs(poetry, "lock", environ=environ, cwd=project)
    assert index.rstrip("/") in (project / "poetry.lock").read_text()
    make_wheel(_folder(project / "dist"), "user", "1")
    trusting.runs(poetry, "config", "repositories.acme", index, environ=environ, cwd=project)
    publish = ["publish", "--no-interaction", "--repository", "acme"]
    trusting.runs(poetry, *publish, environ=environ, cwd=project)
    _assert_no_secret_below(tmp_path, trusting)


@pytest.mark.acceptance
def test_pdm_needs_no_user_name(
    trusting: User, proxy: RunningServer, index: str, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        f'{_PYPROJECT}\n[[tool.pdm.source]]\nname = "pypi"\nurl = "{index}"\nverify_ssl = false\n'
    )
    trusting.runs(client_tool("pdm"), "lock", environ=_tls(proxy), cwd=project)
    assert 'name = "hello"' in (project / "pdm.lock").read_text()
    assert f"--mode=creds get {index} " in trusting.asked()
    _assert_no_secret_below(tmp_path, trusting)


def test_a_server_that_is_not_trusted_gets_nothing(
    user: User, proxy: RunningServer, index: str, tmp_path: Path
) -> None:
    command = _pip(index, tmp_path / "target", "--cert", str(proxy.certificate))
    assert "from versions: none" in user.runs(*command, succeeds=False)
    assert user.asked() == [
        f"--mode=creds --output=json get {index}",
        f"--mode=creds --output=json get {urlsplit(index).netloc}",
    ]


def test_another_registry_than_the_trusted_one_gets_nothing(
    user: User, proxy: RunningServer, index: str, tmp_path: Path
) -> None:
    user.trusts(f"{proxy.url}{_SUB_PATH}", "ghcr.io")
    command = _pip(index, tmp_path / "target", "--cert", str(proxy.certificate))
    user.runs(*command, succeeds=False)


def test_what_is_wrong_with_the_logins_is_said(
    trusting: User, proxy: RunningServer, index: str, tmp_path: Path
) -> None:
    (trusting.home / ".docker" / "config.json").write_text("{")
    command = _uv(_with_username(index, "alice"), tmp_path / "target")
    output = trusting.runs(*command, environ=_tls(proxy), succeeds=False)
    assert "pyoci-flask: ~/.docker/config.json " in output


def test_copy_uses_the_login_for_the_registry_at_both_ends(
    trusting: User, proxy: RunningServer, index: str
) -> None:
    copy = [sys.executable, "-m", "pyoci_flask", "copy", index, f"{index.rstrip('/')}-copied/"]
    output = trusting.runs(*copy, "hello", environ=_tls(proxy), cwd=ROOT)
    assert "copied 1 file " in output


def test_copy_sends_nothing_to_an_address_for_uploads_that_is_not_trusted(
    user: User,
    backend: RunningServer,
    proxy: RunningServer,
    index: str,
    docker_htpasswd: RunningRegistry,
    stranger: tuple[Recorder, str],
) -> None:
    recorder, url = stranger
    user.trusts(f"{backend.url}{_SUB_PATH}", docker_htpasswd.url)
    source = index.replace(proxy.url, backend.url)
    ends = [source, f"{source.rstrip('/')}-copied/", "hello", "--upload-url", f"{url}/upload/"]
    copy = [sys.executable, "-m", "pyoci_flask", "copy", *ends]
    user.runs(*copy, cwd=ROOT, succeeds=False)
    assert [call.method for call in recorder.calls] == ["POST"]
    assert _sent(recorder) == []


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _assert_no_secret_below(folder: Path, user: User) -> None:
    # poetry's cache keeps the Authorization header, because the pages depend on it (Vary).
    known = {user.home / ".docker" / "config.json", *(user.home / ".cache").rglob("*")}
    secrets = [user.password.encode(), base64.b64encode(f"alice:{user.password}".encode())]
    for path in folder.rglob("*"):
        if path.is_file() and path not in known:
            assert not any(secret in path.read_bytes() for secret in secrets), path


# What others receive, recorded by servers that ask for a login.


def _asks(_: Request) -> Response:
    return Response("", 401, {"WWW-Authenticate": 'Basic realm="ghcr.io"'})


@pytest.fixture
def stranger() -> Iterator[tuple[Recorder, str]]:
    """A server that asks for a login, and its URL."""
    recorder = Recorder(Request.application(_asks))
    with wsgi_server(recorder) as url:
        yield recorder, url


def _sent(recorder: Recorder) -> list[str]:
    """Return the passwords that a server has received."""
    headers = [call.authorization for call in recorder.calls if call.authorization is not None]
    pairs = [base64.b64decode(each.partition(" ")[2]).decode() for each in headers]
    return [pair.partition(":")[2] for pair in pairs if pair.partition(":")[2]]


Client = Callable[[User, str, Path], None]


def _install_with_pip(user: User, index: str, folder: Path) -> None:
    user.runs(*_pip(index, folder / "pip"), succeeds=None)


def _install_with_uv(user: User, index: str, folder: Path) -> None:
    user.runs(*_uv(index, folder / "uv"), succeeds=None)
    user.runs(*_uv(_with_username(index, "alice"), folder / "uv"), succeeds=None)


def _always_with_uv(user: User, index: str, folder: Path) -> None:
    (folder / "pyproject.toml").write_text(
        f'{_PYPROJECT}\n[[tool.uv.index]]\nname = "acme"\nurl = "{index}"\ndefault = true\n'
        'authenticate = "always"\n'
    )
    options = ["--no-cache", "--keyring-provider", "subprocess", "--python", sys.executable]
    user.runs(sys.executable, "-m", "uv", "lock", *options, succeeds=None, cwd=folder)


def _publish_with_twine(user: User, index: str, folder: Path) -> None:
    wheel = make_wheel(folder, "hello", "1.0")
    upload = [sys.executable, "-m", "twine", "upload", "--non-interactive"]
    environ = {"PYTHONPATH": user.plugin}
    user.runs(*upload, "--repository-url", index, wheel, environ=environ, succeeds=None)


_CLIENTS = [
    pytest.param(
        client,
        id=client.__name__[1:],
        marks=[] if client is _install_with_pip else [pytest.mark.acceptance],
    )
    for client in (_install_with_pip, _install_with_uv, _always_with_uv, _publish_with_twine)
]
_BY_NAME = pytest.mark.parametrize("client", _CLIENTS)


@_BY_NAME
def test_the_double_would_record_a_login_that_is_sent(
    client: Client,
    user: User,
    stranger: tuple[Recorder, str],
    docker_htpasswd: RunningRegistry,
    tmp_path: Path,
) -> None:
    recorder, url = stranger
    user.trusts(url, docker_htpasswd.url)
    client(user, f"{url}/{docker_htpasswd.address}/acme/", tmp_path)
    assert user.password in _sent(recorder)


@pytest.mark.acceptance
@_BY_NAME
@pytest.mark.parametrize(
    ("trusted", "asked"),
    [
        ("http://localhost:{other}", "http://127.0.0.1:{port}"),
        ("https://127.0.0.1:{port}", "http://127.0.0.1:{port}"),
        ("http://localhost:{port}", "http://127.0.0.1:{port}"),
        ("http://127.0.0.1:{port}/acme-corp", "http://127.0.0.1:{port}"),
        ("http://127.0.0.1:{other}", "http://127.0.0.1:{other}@127.0.0.1:{port}"),
    ],
    ids=["another host", "http for https", "another name", "above the sub-path", "user name"],
)
def test_a_server_that_only_looks_like_it_gets_nothing(
    client: Client,
    user: User,
    stranger: tuple[Recorder, str],
    docker_htpasswd: RunningRegistry,
    trusted: str,
    asked: str,
    tmp_path: Path,
) -> None:
    recorder, url = stranger
    ports = {"port": urlsplit(url).port, "other": 9}
    user.trusts(trusted.format(**ports), docker_htpasswd.url)
    client(user, f"{asked.format(**ports)}/{docker_htpasswd.address}/acme/", tmp_path)
    assert recorder.calls or client is _always_with_uv or client is _publish_with_twine
    assert user.password not in _sent(recorder)


@pytest.mark.acceptance
@_BY_NAME
@pytest.mark.parametrize("path", ["evil.example/acme/", "evil.example/{registry}/acme/", ""])
def test_a_trusted_server_gets_no_login_for_another_registry(
    client: Client,
    user: User,
    stranger: tuple[Recorder, str],
    docker_htpasswd: RunningRegistry,
    path: str,
    tmp_path: Path,
) -> None:
    recorder, url = stranger
    user.trusts(url, docker_htpasswd.url)
    client(user, f"{url}/{path.format(registry=docker_htpasswd.address)}", tmp_path)
    assert user.password not in _sent(recorder)


@pytest.mark.parametrize("client", _CLIENTS[:3])
@pytest.mark.parametrize("way", ["redirect", "link"])
def test_a_trusted_server_cannot_pass_the_login_on_to_another_host(
    client: Client,
    user: User,
    stranger: tuple[Recorder, str],
    docker_htpasswd: RunningRegistry,
    way: str,
    tmp_path: Path,
) -> None:
    recorder, url = stranger
    elsewhere = f"{url}/{docker_htpasswd.address}/acme/hello/"

    def lead_away(request: Request) -> Response:
        if request.authorization is None or not request.authorization.password:
            return _asks(request)
        if way == "redirect":
            return Response("", 302, {"Location": elsewhere})
        name = "hello-1.0-py3-none-any.whl"
        return Response(f'<a href="{elsewhere}{name}">{name}</a>', content_type="text/html")

    trusted = Recorder(Request.application(lead_away))
    with wsgi_server(trusted) as server:
        # Another host for the clients, which compare names.
        server = server.replace("127.0.0.1", "localhost")
        user.trusts(server, docker_htpasswd.url)
        client(user, f"{server}/{docker_htpasswd.address}/acme/", tmp_path)
    assert user.password in _sent(trusted)
    assert recorder.calls
    assert _sent(recorder) == []
