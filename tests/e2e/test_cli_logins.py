"""`check` and `copy` with the logins that a person already has."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from werkzeug.wrappers import Response

from pyoci_flask.cli.login import host_of
from tests.command_line import Done, command
from tests.doubles import answering, wsgi_server
from tests.integration.index_client import IndexClient
from tests.packages import make_wheel
from tests.quirks.profiles import PROFILES
from tests.quirks.registry import QuirkyRegistry, quirky_registry
from tests.quirks.tokens import IDENTITY, OWNER
from tests.registries import RunningRegistry
from tests.servers import ROOT, RunningServer
from tests.unit.login_lab import DOCKER, Home, auth


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def acr(tmp_path: Path) -> Iterator[QuirkyRegistry]:
    """A stand-in for Azure's registry, whose token service exchanges refresh tokens."""
    with quirky_registry(tmp_path / "registry", PROFILES["acr"]) as registry:
        yield registry


def _check(home: Home, url: str, *options: str, **environ: str) -> Done:
    return command("check", f"{url}/team", *options, environ=home.environ | environ)


def _login_line(done: Done) -> str:
    """Return the line that says where the login was found; it is the second one."""
    assert done.lines[1].startswith("ok   login      "), done.output
    return done.lines[1].removeprefix("ok   login      ")


def _docker_auths(home: Home, host: str, user: tuple[str, str]) -> str:
    home.write(DOCKER, {"auths": {host: auth(*user)}})
    return f"~/{DOCKER} (auths, {host})"


def _namespaced_key(home: Home, host: str, user: tuple[str, str]) -> str:
    wrong = auth("wrong", "wrong-password")
    home.write(DOCKER, {"auths": {host: wrong, f"{host}/team": auth(*user)}})
    return f"~/{DOCKER} (auths, {host}/team)"


def _podman(home: Home, host: str, user: tuple[str, str]) -> str:
    home.write("run/containers/auth.json", {"auths": {host: auth(*user)}})
    return f"~/run/containers/auth.json (auths, {host})"


def _store(home: Home, host: str, user: tuple[str, str]) -> str:
    home.keeper("pass", {host: user})
    home.write(DOCKER, {"auths": {host: {}}, "credsStore": "pass"})
    return f"docker-credential-pass (credsStore in ~/{DOCKER})"


def _helper(home: Home, host: str, user: tuple[str, str]) -> str:
    home.keeper("ecr-login", {host: user})
    home.write(DOCKER, {"credHelpers": {host: "ecr-login"}})
    return f"docker-credential-ecr-login (credHelpers in ~/{DOCKER})"


def _netrc(home: Home, host: str, user: tuple[str, str]) -> str:
    name = host.partition(":")[0]
    home.environ["NETRC"] = str(
        home.write(".netrc", f"machine {name} login {user[0]} password {user[1]}\n")
    )
    return "~/.netrc"


_SOURCES = [_docker_auths, _namespaced_key, _podman, _store, _helper, _netrc]


@pytest.mark.parametrize("source", _SOURCES, ids=lambda source: source.__name__.strip("_"))
def test_check_signs_in_with_a_login_that_was_found_and_says_where(
    home: Home, docker_htpasswd: RunningRegistry, source: object
) -> None:
    assert docker_htpasswd.auth is not None
    assert callable(source)
    shown = source(home, docker_htpasswd.netloc, docker_htpasswd.auth)
    done = _check(home, docker_htpasswd.url, "--verbose")
    assert done.status == 0, done.output
    assert _login_line(done) == f"alice, from {shown}"
    assert "takes the credentials of alice" in done.output
    assert docker_htpasswd.auth[1] not in done.output


@pytest.mark.parametrize("source", _SOURCES, ids=lambda source: source.__name__.strip("_"))
def test_a_found_login_is_exchanged_at_a_token_service(
    home: Home, acr: QuirkyRegistry, source: object
) -> None:
    assert callable(source)
    source(home, acr.url.removeprefix("http://"), OWNER)
    done = _check(home, acr.url, "--write")
    assert done.status == 0, done.output
    assert {request.method for request in acr.tokens.asked} == {"GET"}
    assert OWNER[1] not in done.output


@pytest.mark.parametrize("place", ["", "/team"])
def test_a_login_of_skopeo_is_found_where_skopeo_put_it(
    home: Home, docker_htpasswd: RunningRegistry, place: str
) -> None:
    program = shutil.which("skopeo")
    assert program is not None, "skopeo is needed: install the Debian package skopeo"
    assert docker_htpasswd.auth is not None
    username, password = docker_htpasswd.auth
    (home.folder / "run").mkdir()
    key = f"{docker_htpasswd.netloc}{place}"
    subprocess.run(
        [program, "login", "--tls-verify=false", "-u", username, "--password-stdin", key],
        env=home.environ,
        input=password.encode(),
        check=True,
    )
    done = _check(home, docker_htpasswd.url)
    assert _login_line(done) == f"alice, from ~/run/containers/auth.json (auths, {key})"
    assert done.status == 0, done.output


def _identity_entry(home: Home, host: str) -> str:
    # What Docker writes after `az acr login`.
    zeros = "00000000-0000-0000-0000-000000000000"
    home.write(DOCKER, {"auths": {host: {"identitytoken": IDENTITY, **auth(zeros, "")}}})
    return f"{zeros} (identity token), from ~/{DOCKER} (auths, {host})"


def _identity_helper(home: Home, host: str) -> str:
    home.keeper("acr-env", {host: ("<token>", IDENTITY)})
    home.write(DOCKER, {"credHelpers": {host: "acr-env"}})
    return f"the identity token, from docker-credential-acr-env (credHelpers in ~/{DOCKER})"


@pytest.mark.parametrize("source", [_identity_entry, _identity_helper])
def test_an_identity_token_goes_to_the_token_service_and_nowhere_else(
    home: Home, acr: QuirkyRegistry, source: object
) -> None:
    assert callable(source)
    shown = source(home, acr.url.removeprefix("http://"))
    done = _check(home, acr.url, "--write", "--verbose")
    assert done.status == 0, done.output
    assert _login_line(done) == shown
    assert IDENTITY not in done.output
    signed_in = [one for one in acr.tokens.asked if one.method == "POST"]
    assert signed_in
    assert {one.form["refresh_token"] for one in signed_in} == {IDENTITY}
    everywhere = [*acr.calls, *acr.stored, *acr.tokens.asked]
    sent = [f"{one.url} {one.headers}" for one in everywhere]
    assert not any(IDENTITY in text for text in sent)
    assert not any("Basic" in text for text in sent)


def test_an_expired_identity_token_is_refused_in_plain_words(
    home: Home, acr: QuirkyRegistry
) -> None:
    host = acr.url.removeprefix("http://")
    home.write(DOCKER, {"auths": {host: {"identitytoken": "expired-token"}}})
    done = _check(home, acr.url)
    assert done.status == 1
    assert "refuses the identity token of this login" in done.output
    assert "it may have expired, so log in again" in done.output
    assert "expired-token" not in done.output


def test_a_registry_that_asks_for_basic_does_not_get_an_identity_token(
    home: Home, tmp_path: Path
) -> None:
    with quirky_registry(tmp_path / "basic", PROFILES["ecr_private"]) as registry:
        host = registry.url.removeprefix("http://")
        home.write(DOCKER, {"auths": {host: {"identitytoken": IDENTITY}}})
        done = _check(home, registry.url)
        assert done.status == 1
        assert "the login is an identity token, which only a token service takes" in done.output
        assert {call.headers.get("Authorization") for call in registry.calls} == {None}


def test_a_token_service_without_refresh_tokens_is_reported(home: Home, tmp_path: Path) -> None:
    profile = PROFILES["acr"]
    quirks = replace(profile, auth=replace(profile.auth, refresh=False))
    with quirky_registry(tmp_path / "old", quirks) as registry:
        _identity_entry(home, registry.url.removeprefix("http://"))
        done = _check(home, registry.url)
    assert done.status == 1
    assert IDENTITY not in done.output


def test_options_and_variables_go_over_a_login_that_could_be_found(
    home: Home, docker_htpasswd: RunningRegistry
) -> None:
    assert docker_htpasswd.auth is not None
    username, password = docker_htpasswd.auth
    home.helper("broken", "sys.exit(1)")
    home.write(DOCKER, {"credHelpers": {docker_htpasswd.netloc: "broken"}})
    given = _check(home, docker_htpasswd.url, PYOCI_USERNAME=username, PYOCI_PASSWORD=password)
    assert given.status == 0, given.output
    assert "login" not in given.marks()
    found = _check(home, docker_htpasswd.url)
    assert found.status == 1
    assert found.output.startswith("Error: docker-credential-broken failed with status 1")


def test_without_a_login_check_says_what_anyone_may_do(
    home: Home, docker_open: RunningRegistry
) -> None:
    home.write(DOCKER, {"auths": {"ghcr.io": auth()}})
    done = _check(home, docker_open.url)
    assert done.status == 0
    assert "login" not in done.marks()


def test_the_user_name_of_bearer_tokens_applies_to_found_logins(
    home: Home, acr: QuirkyRegistry
) -> None:
    _docker_auths(home, acr.url.removeprefix("http://"), ("bearer", "own-token"))
    done = _check(home, acr.url, PYOCI_BEARER_USERNAME="bearer")
    assert _login_line(done).startswith("the token, from ")
    sent = {call.headers.get("Authorization") for call in acr.calls}
    assert sent == {None, "Bearer own-token"}
    assert "own-token" not in done.output
    unprintable = _docker_auths(home, acr.url.removeprefix("http://"), ("bearer", "own token"))
    done = _check(home, acr.url, PYOCI_BEARER_USERNAME="bearer")
    assert done.output == (
        f"Error: the login from {unprintable} is not usable: a Bearer token is printable ASCII\n"
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", f"Error: ~/{DOCKER} is not a JSON object: correct or remove it, and log in again"),
        (
            '{"credHelpers": {"127.0.0.1:9": "a/b"}}',
            f"Error: credHelpers in ~/{DOCKER} does not name a credential ",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(home: Home, content: str, text: str) -> None:
    home.write(DOCKER, content)
    done = _check(home, "http://127.0.0.1:9")
    assert done.status == 1
    [line] = done.lines
    assert line.startswith(text)


def test_copy_uses_the_logins_for_the_hosts_of_both_ends(
    home: Home,
    app: RunningServer,
    docker_htpasswd: RunningRegistry,
    namespace: str,
    tmp_path: Path,
    http: requests.Session,
) -> None:
    assert docker_htpasswd.auth is not None
    base = f"{app.url}/{docker_htpasswd.address}/{namespace}"
    index = IndexClient(base, docker_htpasswd.auth, http)
    index.published(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")
    host = app.url.removeprefix("http://")
    anonymous = command("copy", f"{base}/", f"{base}-b/", "foo", environ=home.environ)
    assert anonymous.status == 1
    assert "asks for credentials" in anonymous.output
    _store(home, host, docker_htpasswd.auth)
    done = command("copy", f"{base}/", f"{base}-b/", "foo", environ=home.environ)
    assert done.status == 0, done.output
    assert "copied 1 file" in done.output
    assert home.asked == [host, host]
    assert docker_htpasswd.auth[1] not in done.output
    # An identity token is for the token service of a registry, not for an index.
    home.write(DOCKER, {"auths": {host: {"identitytoken": IDENTITY}}})
    identity = command("copy", f"{base}/", f"{base}-c/", "foo", environ=home.environ)
    assert identity.status == 1
    assert "asks for credentials" in identity.output


@pytest.mark.parametrize("has_login", [False, True])
def test_uploads_to_another_host_get_the_login_for_that_host_only(
    home: Home, open_index: str, tmp_path: Path, http: requests.Session, *, has_login: bool
) -> None:
    IndexClient(open_index.rstrip("/"), None, http).published(
        make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0"
    )
    own = auth("bob", "for-uploads")
    uploads = answering(Response("no", 403))
    with wsgi_server(uploads) as url:
        auths = {host_of(open_index): auth("alice", "for-the-index")}
        home.write(DOCKER, {"auths": auths | ({host_of(url): own} if has_login else {})})
        target = f"{open_index.rstrip('/')}-b/"
        options = ("--upload-url", f"{url}/")
        done = command("copy", open_index, target, "foo", *options, environ=home.environ)
    assert done.status == 1
    sent = {call.authorization for call in uploads.calls}
    assert sent == {f"Basic {own['auth']}" if has_login else None}


def test_credentials_in_an_address_go_over_a_found_login(
    home: Home,
    app: RunningServer,
    docker_htpasswd: RunningRegistry,
    namespace: str,
    tmp_path: Path,
    http: requests.Session,
) -> None:
    assert docker_htpasswd.auth is not None
    base = f"{app.url}/{docker_htpasswd.address}/{namespace}"
    IndexClient(base, docker_htpasswd.auth, http).published(
        make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0"
    )
    _docker_auths(home, app.url.removeprefix("http://"), ("alice", "wrong-password"))
    with_login = base.replace("http://", "http://{}:{}@".format(*docker_htpasswd.auth))
    refused = command("copy", f"{base}/", f"{with_login}-b/", "foo", environ=home.environ)
    assert "refuses the credentials" in refused.output
    done = command("copy", f"{with_login}/", f"{with_login}-b/", "foo", environ=home.environ)
    assert done.status == 0, done.output


def _program(arguments: list[str], environ: Mapping[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "pyoci_flask", *arguments],
        cwd=ROOT,
        env={**environ, "PATH": f"{environ['PATH']}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_no_process_has_the_secret_in_its_arguments_or_environment(
    home: Home, docker_htpasswd: RunningRegistry
) -> None:
    assert docker_htpasswd.auth is not None
    username, password = docker_htpasswd.auth
    # The helper looks at everything while it is asked, because it is the only other process.
    home.helper(
        "looking",
        "pids = [name for name in os.listdir('/proc') if name.isdigit()]\n"
        "texts = []\n"
        "for pid in pids:\n"
        "    for name in ('cmdline', 'environ'):\n"
        "        try:\n"
        "            texts.append(open(f'/proc/{pid}/{name}', 'rb').read())\n"
        "        except OSError:\n"
        "            pass\n"
        f"secret = open({str(home.folder / 'kept')!r}).read()\n"
        f"seen = sum(secret.encode() in text for text in texts)\n"
        f"open({str(home.folder / 'asked')!r}, 'w').write(f'{{len(texts) > 2}} {{seen}}')\n"
        f"print(json.dumps({{'Username': '{username}', 'Secret': secret}}))",
    )
    home.write("kept", password)
    home.write(DOCKER, {"credsStore": "looking"})
    with _program(["check", f"{docker_htpasswd.url}/team", "-v"], home.environ) as process:
        output = process.communicate()[0]
    assert process.returncode == 0, output
    assert home.asked == ["True 0"]
    assert password not in output
    kept = {home.folder / "kept"}
    written = {path for path in home.folder.rglob("*") if path.is_file()} - kept
    assert not any(password.encode() in path.read_bytes() for path in written)
