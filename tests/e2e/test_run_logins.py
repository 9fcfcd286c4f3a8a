"""The logins that `run` uses, and what is said of a wrong, an expired or a missing one."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.packages import make_wheel
from tests.quirks.profiles import PROFILES
from tests.quirks.registry import QuirkyRegistry, quirky_registry
from tests.quirks.tokens import IDENTITY, OWNER, READER
from tests.registries import RunningRegistry
from tests.run_lab import (
    PASSWORD,
    USER,
    Done,
    PublicIndex,
    RunLab,
    auth,
    run_under,
    write_config,
    write_helper,
)
from tests.run_projects import distributions, settings

pytestmark = pytest.mark.slow
_ACCEPTANCE = pytest.mark.acceptance

_CLIENTS = [["pip"], ["uv", "pip"]]


def _install(lab: RunLab, client: list[str], *names: str) -> list[str | Path]:
    return [*client, "install", "--target", lab.folder / "it", *names]


def _namespaced_key(lab: RunLab, home: Path) -> None:
    host = lab.registry.netloc
    entries = {host: auth(USER, "wrong"), f"{host}/acme": auth(USER, PASSWORD)}
    write_config(home, {"auths": entries})


def _helper(lab: RunLab, home: Path) -> None:
    write_helper(home / "bin", "vault", USER, PASSWORD)
    write_config(home, {"credHelpers": {lab.registry.netloc: "vault"}})


def _netrc(_: RunLab, home: Path) -> None:
    (home / ".netrc").write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
    (home / ".netrc").chmod(0o600)


@pytest.mark.parametrize(
    "write", [_namespaced_key, _helper, pytest.param(_netrc, marks=_ACCEPTANCE)]
)
def test_a_login_that_the_user_has_is_used(
    acme: RunLab, write: Callable[[RunLab, Path], None]
) -> None:
    home = acme.home("other", login=None)
    write(acme, home)
    said = run_under(acme, *_install(acme, ["uv", "pip"], "acme-lib"), home=home)
    assert distributions(acme.folder / "it") == ["acme_lib-1.0"]
    assert PASSWORD not in said.output


def test_a_login_in_variables_is_used_and_kept_from_the_command(acme: RunLab) -> None:
    home = acme.home("other", login=None)
    environ = {"PYOCI_USERNAME": USER, "PYOCI_PASSWORD": PASSWORD}
    script = 'uv pip install --target it acme-lib && env && cat "/proc/$$/environ"'
    said = run_under(acme, "sh", "-c", script, home=home, environ=environ)
    assert distributions(home / "it") == ["acme_lib-1.0"]
    assert "UV_INDEX=" in said.stdout
    assert PASSWORD not in said.output
    assert base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode() not in said.output


def test_a_login_in_variables_is_not_for_what_the_project_names_and_this_is_said(
    acme: RunLab,
) -> None:
    home = acme.home("variables-only", login=None)
    (home / "uv.toml").write_text(f'[[index]]\nurl = "{acme.address}"\n')
    environ = {"PYOCI_USERNAME": USER, "PYOCI_PASSWORD": PASSWORD}
    install = _install(acme, ["uv", "pip"], "acme-lib")
    done = run_under(acme, *install, options=[], home=home, environ=environ, succeeds=False)
    assert f"No login for {acme.registry.netloc} was found" in done.stderr
    assert done.stderr.endswith("none was given, so they were not used\n")


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[tuple[RunLab, QuirkyRegistry]]:
    """A stand-in for Azure's registry, whose token service exchanges refresh tokens."""
    with quirky_registry(tmp_path / "registry", PROFILES["acr"]) as quirky:
        netloc = quirky.url.removeprefix("http://")
        registry = RunningRegistry(quirky.url, netloc, *OWNER, can_delete=True, kind="quirky")
        lab = RunLab(registry, tmp_path)
        lab.publish(make_wheel(tmp_path, "acme-lib", "1.0"))
        quirky.tokens.asked.clear()
        yield lab, quirky


def _password(lab: RunLab, home: Path) -> None:
    write_config(home, {"auths": {lab.registry.netloc: auth(*OWNER)}})


def _identity_token(lab: RunLab, home: Path) -> None:
    entry = {"identitytoken": IDENTITY, **auth("00000000-0000-0000-0000-000000000000", "")}
    write_config(home, {"auths": {lab.registry.netloc: entry}})


def _identity_helper(lab: RunLab, home: Path) -> None:
    write_helper(home / "bin", "acr", "<token>", IDENTITY)
    write_config(home, {"credHelpers": {lab.registry.netloc: "acr"}})


@pytest.mark.parametrize(
    ("write", "method"),
    [
        pytest.param(_password, "GET", marks=_ACCEPTANCE),
        (_identity_token, "POST"),
        pytest.param(_identity_helper, "POST", marks=_ACCEPTANCE),
    ],
)
def test_a_login_is_exchanged_at_the_registry_s_token_service(
    azure: tuple[RunLab, QuirkyRegistry], write: Callable[[RunLab, Path], None], method: str
) -> None:
    lab, quirky = azure
    home = lab.home("other", login=None)
    write(lab, home)
    said = run_under(lab, *_install(lab, ["uv", "pip"], "acme-lib"), home=home)
    assert distributions(lab.folder / "it") == ["acme_lib-1.0"]
    assert {request.method for request in quirky.tokens.asked} == {method}
    assert OWNER[1] not in said.output
    assert IDENTITY not in said.output


def test_each_namespace_of_a_registry_has_its_own_user(
    azure: tuple[RunLab, QuirkyRegistry],
) -> None:
    lab, quirky = azure
    team = RunLab(lab.registry, lab.folder, "team")
    team.publish(make_wheel(lab.folder, "team-lib", "1.0"))
    quirky.tokens.asked.clear()
    home = lab.home("other", login=None)
    host = lab.registry.netloc
    write_config(home, {"auths": {f"{host}/acme": auth(*OWNER), f"{host}/team": auth(*READER)}})
    options = ["--index", lab.index, "--index", team.index]

    install = _install(lab, ["uv", "pip"], "acme-lib", "team-lib")
    run_under(lab, *install, options=options, home=home)

    users: dict[str, set[str | None]] = {}
    for request in quirky.tokens.asked:
        assert request.authorization is not None
        for scope in request.args.getlist("scope"):
            namespace = scope.split(":")[1].partition("/")[0]
            users.setdefault(namespace, set()).add(request.authorization.username)
    assert users == {"acme": {OWNER[0]}, "team": {READER[0]}}


def _last_line(done: Done) -> str:
    """Return the last line of standard error, which is the only one of `run`."""
    lines = done.stderr.splitlines()
    ours = [line for line in lines if line.startswith("pyoci-flask run: ")]
    assert ours == lines[-1:], done.output
    return ours[0].removeprefix("pyoci-flask run: ")


def _no_client_asked_for_a_password(done: Done) -> None:
    assert "User for" not in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("client", _CLIENTS, ids=" ".join)
def test_a_wrong_login_is_named_once_and_no_public_package_takes_its_place(
    acme: RunLab, public: PublicIndex, client: list[str]
) -> None:
    home = acme.home("wrong", (USER, "not-the-password"))
    host = acme.registry.netloc
    before = len(public.recorder.calls)

    install = _install(acme, client, "acme-lib", "acme-app")
    done = run_under(acme, *install, home=home, environ=settings(public), succeeds=False)

    said = _last_line(done)
    assert said.startswith(f"{host} denied the request (401")
    assert said.endswith(
        f"The login is {USER}, from ~/.docker/config.json (auths, {host}). "
        f"If it is wrong or has expired, `docker login {host}` replaces it"
    )
    _no_client_asked_for_a_password(done)
    assert "not-the-password" not in done.output
    assert len(public.recorder.calls) == before


@pytest.mark.parametrize("client", _CLIENTS, ids=" ".join)
def test_a_missing_login_is_named_once_with_the_command_that_makes_one(
    acme: RunLab, public: PublicIndex, client: list[str]
) -> None:
    home = acme.home("none", login=None)
    host = acme.registry.netloc
    install = _install(acme, client, "acme-lib", "acme-app")
    done = run_under(acme, *install, home=home, environ=settings(public), succeeds=False)
    said = _last_line(done)
    assert said.startswith(f"{host} asks for credentials")
    assert said.endswith(f"No login for {host} was found. `docker login {host}` creates one")
    _no_client_asked_for_a_password(done)


@pytest.mark.parametrize("client", _CLIENTS, ids=" ".join)
def test_an_expired_identity_token_is_named_with_its_helper(
    azure: tuple[RunLab, QuirkyRegistry], public: PublicIndex, client: list[str]
) -> None:
    lab, _ = azure
    home = lab.home("expired", login=None)
    write_helper(home / "bin", "acr", "<token>", "expired-token")
    write_config(home, {"credHelpers": {lab.registry.netloc: "acr"}})
    install = _install(lab, client, "acme-lib")
    done = run_under(lab, *install, home=home, environ=settings(public), succeeds=False)
    said = _last_line(done)
    assert lab.registry.netloc in said
    assert "docker-credential-acr (credHelpers in ~/.docker/config.json)" in said
    assert said.endswith(f"`docker login {lab.registry.netloc}` replaces it")
    assert "expired-token" not in done.output


@pytest.mark.acceptance
def test_a_publisher_with_a_wrong_login_is_told_the_same(acme: RunLab) -> None:
    home = acme.home("wrong", (USER, "not-the-password"))
    wheel = make_wheel(acme.folder, "new-pkg", "1.0")
    for command in (["uv", "publish", wheel], ["twine", "upload", wheel]):
        done = run_under(acme, *command, home=home, succeeds=False)
        assert _last_line(done).endswith(f"`docker login {acme.registry.netloc}` replaces it")


@pytest.mark.parametrize(
    "helper",
    [
        "exit 3",
        pytest.param("echo not json", marks=_ACCEPTANCE),
        pytest.param("missing", marks=_ACCEPTANCE),
    ],
)
def test_a_helper_that_fails_is_named(acme: RunLab, helper: str) -> None:
    home = acme.home("failing", login=None)
    write_config(home, {"credHelpers": {acme.registry.netloc: "vault"}})
    if helper != "missing":
        write_helper(home / "bin", "vault", USER, PASSWORD)
        program = home / "bin" / "docker-credential-vault"
        program.write_text(f"#!/bin/sh\n{helper}\n")
    install = _install(acme, ["uv", "pip"], "acme-lib")
    done = run_under(acme, *install, home=home, succeeds=False)
    assert "docker-credential-vault" in _last_line(done)


@pytest.mark.acceptance
def test_a_damaged_file_with_logins_is_named(acme: RunLab) -> None:
    home = acme.home()
    (home / ".docker" / "config.json").write_text('{"auths": ')
    install = _install(acme, ["uv", "pip"], "acme-lib")
    done = run_under(acme, *install, succeeds=False)
    assert "~/.docker/config.json" in _last_line(done)


def test_a_login_that_is_renewed_meanwhile_is_used_and_nothing_is_said(acme: RunLab) -> None:
    home = acme.home("renewed", (USER, "old"))
    new = acme.home() / ".docker" / "config.json"
    install = "uv pip install --quiet --target it acme-lib"
    script = f"{install} 2>&1; cp {new} .docker/config.json; exec {install}"
    done = run_under(acme, "sh", "-c", script, home=home)
    assert distributions(home / "it") == ["acme_lib-1.0"]
    assert done.stderr == ""
