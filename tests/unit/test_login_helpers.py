"""Logins that credential helpers keep; the helpers are small programs on the PATH."""

import contextlib
import time
from pathlib import Path

import pytest

from pyoci_flask.cli.login import FoundLogin, helper
from pyoci_flask.errors import LoginError
from tests.patience import PATIENCE
from tests.unit.login_lab import DOCKER, SECRET, Home, auth, texts_of

_HUB = "https://index.docker.io/v1/"
_ALICE = ("alice", SECRET)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def _store(name: str, member: str = "credsStore") -> str:
    return f"docker-credential-{name} ({member} in ~/{DOCKER})"


@pytest.mark.parametrize(
    ("config", "host", "asked", "source"),
    [
        ({"credsStore": "one"}, "ghcr.io", ["ghcr.io"], _store("one")),
        ({"credsStore": "one"}, "h:5000", ["h:5000"], _store("one")),
        ({"credsStore": "one"}, "docker.io", [_HUB], _store("one")),
        ({"credsStore": "one"}, "registry-1.docker.io", [_HUB], _store("one")),
        ({"credsStore": "one"}, "other.example", ["other.example"], None),
        ({"credsStore": "one", "auths": {"ghcr.io": {}}}, "ghcr.io", ["ghcr.io"], _store("one")),
        (
            {"credsStore": "one", "auths": {"ghcr.io": auth("plain")}},
            "ghcr.io",
            [],
            f"~/{DOCKER} (auths, ghcr.io)",
        ),
        ({"credHelpers": {"ghcr.io": "one"}}, "ghcr.io", ["ghcr.io"], _store("one", "credHelpers")),
        (
            {"credHelpers": {"ghcr.io": "one"}, "credsStore": "two"},
            "ghcr.io",
            ["ghcr.io"],
            _store("one", "credHelpers"),
        ),
        (
            {"credHelpers": {"ghcr.io": "one"}, "auths": {"ghcr.io/acme": auth("plain")}},
            "ghcr.io",
            ["ghcr.io"],
            _store("one", "credHelpers"),
        ),
        # A helper for the host replaces the rest of the file, even if it has no login.
        (
            {
                "credHelpers": {"other.example": "one"},
                "auths": {"other.example": auth()},
                "credsStore": "one",
            },
            "other.example",
            ["other.example"],
            None,
        ),
        (
            {"credHelpers": {"quay.io": "two"}, "credsStore": "one"},
            "ghcr.io",
            ["ghcr.io"],
            _store("one"),
        ),
        # An empty name means that the file itself keeps the login.
        (
            {"credHelpers": {"ghcr.io": ""}, "credsStore": "one", "auths": {"ghcr.io": auth()}},
            "ghcr.io",
            [],
            f"~/{DOCKER} (auths, ghcr.io)",
        ),
        ({"credHelpers": {"ghcr.io": ""}, "credsStore": "one"}, "ghcr.io", [], None),
        # A helper is asked with the key that the file has.
        ({"credHelpers": {_HUB: "one"}}, "docker.io", [_HUB], _store("one", "credHelpers")),
        (
            {"credHelpers": {"docker.io": "one"}},
            "docker.io",
            ["docker.io"],
            _store("one", "credHelpers"),
        ),
        ({"credHelpers": {"ghcr.io": ["one"]}, "credsStore": 7}, "ghcr.io", [], None),
        ({"credHelpers": "one", "credsStore": ""}, "ghcr.io", [], None),
    ],
)
def test_the_helper_that_a_file_names_is_asked(
    home: Home, config: object, host: str, asked: list[str], source: str | None
) -> None:
    known = dict.fromkeys(["ghcr.io", "h:5000", _HUB, "docker.io"], _ALICE)
    home.keeper("one", known)
    home.keeper("two", {"ghcr.io": ("wrong", "wrong")})
    home.write(DOCKER, config)
    login = home.find(host, "acme")
    assert (login.source if login else None) == source
    assert home.asked == asked


def test_the_next_file_is_read_if_a_helper_has_no_login(home: Home) -> None:
    home.keeper("one", {})
    home.write("run/containers/auth.json", {"credHelpers": {"ghcr.io": "one"}})
    home.write(DOCKER, {"auths": {"ghcr.io": auth("bob")}})
    assert home.find("ghcr.io") == FoundLogin("bob", SECRET, f"~/{DOCKER} (auths, ghcr.io)")
    assert home.asked == ["ghcr.io"]


def test_a_helper_may_have_an_identity_token(home: Home) -> None:
    home.keeper("acr", {"acme.azurecr.io": ("<token>", SECRET)})
    home.write(DOCKER, {"credsStore": "acr"})
    found = home.find("acme.azurecr.io")
    assert found == FoundLogin("<token>", SECRET, _store("acr"), is_identity_token=True)


@pytest.mark.parametrize("answer", [("", SECRET), ("alice", "")])
def test_a_half_of_a_login_is_none(home: Home, answer: tuple[str, str]) -> None:
    home.keeper("one", {"ghcr.io": answer})
    home.write(DOCKER, {"credsStore": "one"})
    assert home.find("ghcr.io") is None


def test_a_helper_has_the_users_environment_but_neither_terminal_nor_input(home: Home) -> None:
    home.helper(
        "one",
        "try:\n"
        "    os.open('/dev/tty', os.O_RDWR)\n"
        "except OSError:\n"
        "    has_terminal = False\n"
        "text = json.dumps([os.environ['SESSION'], os.getsid(0) == os.getpid(), has_terminal])\n"
        "print(json.dumps({'Username': text, 'Secret': sys.stdin.read() + 'x'}))",
    )
    home.environ["SESSION"] = "of the user"
    home.write(DOCKER, {"credsStore": "one"})
    login = home.find("ghcr.io")
    assert login is not None
    assert (login.username, login.password) == ('["of the user", true, false]', "x")


_LISTED = {"auths": {"ghcr.io": {}}}
"""What Docker writes if the store keeps the login."""
_FAILS = f"print('no: {SECRET}'); print('{SECRET}', file=sys.stderr); sys.exit(3)"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (_FAILS, "failed with status 3: to see why, run `docker-credential-one get`, and enter"),
        (f"print('{SECRET}'); os.kill(os.getpid(), 9)", "failed with status -9"),
        (f"print('{SECRET}')", "did not write a login as JSON"),
        (f"print(json.dumps(['{SECRET}']))", "did not write a login as JSON"),
        (f"print(json.dumps({{'Secret': '{SECRET}'}}))", "did not write a login as JSON"),
        ("print(json.dumps({'Username': 'a', 'Secret': 7}))", "did not write a login as JSON"),
        (r"print('{\"Username\": \"a\", \"Secret\": \"\\ud800\"}')", "did not write a login"),
        ("os.write(1, bytes([255, 254]))", "did not write a login as JSON"),
        ("print('[' * 60000)", "did not write a login as JSON"),
        (f"print('{SECRET}' * 10000)", "wrote more than 65536 bytes"),
        (f"while True: print('{SECRET}')", "wrote more than 65536 bytes"),
    ],
)
def test_a_helper_that_fails_is_named_and_its_output_is_shown_nowhere(
    home: Home,
    body: str,
    text: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    home.helper("one", body)
    home.write(DOCKER, _LISTED | {"credsStore": "one"})
    with pytest.raises(LoginError) as caught:
        home.find("ghcr.io")
    assert str(caught.value).startswith(f"docker-credential-one {text}")
    shown = [*texts_of(caught.value), caplog.text, *capfd.readouterr()]
    assert not any(SECRET in one for one in shown)


def test_what_a_helper_writes_to_standard_error_is_discarded(
    home: Home, capfd: pytest.CaptureFixture[str]
) -> None:
    home.helper(
        "one",
        f"os.write(2, b'{SECRET}' * 100_000)\n"
        f"print(json.dumps({{'Username': 'alice', 'Secret': '{SECRET}'}}))",
    )
    home.write(DOCKER, {"credsStore": "one"})
    assert home.find("ghcr.io") == FoundLogin("alice", SECRET, _store("one"))
    assert capfd.readouterr() == ("", "")


def test_a_helper_that_does_not_read_its_question_may_answer(home: Home) -> None:
    path = home.bin / "docker-credential-deaf"
    answer = f'{{"Username": "alice", "Secret": "{SECRET}"}}'
    path.write_text(f"#!/bin/sh\nexec <&-\necho '{answer}'\n")
    path.chmod(0o755)
    home.write(DOCKER, {"credsStore": "deaf"})
    assert home.find("ghcr.io") is not None


@pytest.mark.slow
def test_a_slow_helper_is_ended_with_everything_that_it_started(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper, "SECONDS", 6.0)
    home.helper(
        "slow",
        "import subprocess, time\n"
        "child = subprocess.Popen(['/bin/sleep', '1000'])\n"
        f"open({str(home.folder / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        f"print('{SECRET}', flush=True)\n"
        "time.sleep(1000)",
    )
    home.write(DOCKER, _LISTED | {"credsStore": "slow"})
    with pytest.raises(LoginError, match="docker-credential-slow did not answer within 6 sec"):
        home.find("ghcr.io")
    for pid in map(int, (home.folder / "pids").read_text().split()):
        _wait_until_gone(pid)


@pytest.mark.slow
def test_a_helper_that_closes_its_output_and_goes_on_is_ended(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper, "SECONDS", 3.0)
    home.helper("slow", "import time\nos.close(1)\ntime.sleep(1000)")
    home.write(DOCKER, _LISTED | {"credsStore": "slow"})
    with pytest.raises(LoginError, match="did not answer within 3 seconds: if it asks for a pass"):
        home.find("ghcr.io")


def test_a_helper_is_ended_if_the_user_interrupts_the_command(home: Home) -> None:
    home.helper(
        "slow",
        "import signal, time\n"
        f"open({str(home.folder / 'pids')!r}, 'w').write(str(os.getpid()))\n"
        "os.kill(os.getppid(), signal.SIGINT)\n"
        "time.sleep(1000)",
    )
    home.write(DOCKER, _LISTED | {"credsStore": "slow"})
    with pytest.raises(KeyboardInterrupt):
        home.find("ghcr.io")
    _wait_until_gone(int((home.folder / "pids").read_text()))


def _wait_until_gone(pid: int) -> None:
    until = time.monotonic() + PATIENCE
    while _runs(pid):
        assert time.monotonic() < until, f"process {pid} is still there"
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        # A killed process whose parent ended before it stays until init collects it.
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize(
    "name", ["../evil", "/bin/sh", "a/b", "a b", ".hidden", "-x", "x\n", "ä", "x" * 101, "a;b"]
)
def test_the_name_of_a_helper_is_a_plain_word(home: Home, name: str) -> None:
    for config in (_LISTED | {"credsStore": name}, {"credHelpers": {"ghcr.io": name}}):
        home.write(DOCKER, config)
        with pytest.raises(LoginError, match="does not name a credential helper"):
            home.find("ghcr.io")


@pytest.mark.parametrize("name", ["desktop.exe", "ecr-login", "gcloud", "osxkeychain", "my_1"])
def test_common_names_of_helpers_are_plain_words(home: Home, name: str) -> None:
    home.keeper(name, {"ghcr.io": _ALICE})
    home.write(DOCKER, {"credsStore": name})
    assert home.find("ghcr.io") is not None


@pytest.mark.parametrize(
    ("config", "member"),
    [
        ({"credHelpers": {"ghcr.io": "gone"}}, "credHelpers"),
        ({"credsStore": "gone", "auths": {"ghcr.io": {}}}, "credsStore"),
    ],
)
def test_a_missing_helper_is_an_error_where_the_file_says_that_it_has_the_login(
    home: Home, config: object, member: str
) -> None:
    home.write(DOCKER, config)
    with pytest.raises(LoginError) as caught:
        home.find("ghcr.io")
    assert str(caught.value) == (
        f"docker-credential-gone keeps the login for ghcr.io ({member} in ~/{DOCKER}), but is not "
        "on the PATH: install it, or log in without it"
    )


@pytest.mark.parametrize("body", [None, "sys.exit(1)", "print('nonsense')"])
def test_a_store_that_fails_is_passed_over_where_the_file_does_not_say_that_it_has_the_login(
    home: Home, body: str | None
) -> None:
    # A config.json that came from another machine, such as one with Docker Desktop, or a locked
    # key ring.
    if body is not None:
        home.helper("desktop", body)
    home.write(DOCKER, {"credsStore": "desktop", "auths": {"quay.io": {}}})
    assert home.find("ghcr.io") is None
    home.write(".netrc", f"machine ghcr.io login alice password {SECRET}\n")
    assert home.find("ghcr.io") == FoundLogin("alice", SECRET, "~/.netrc")
    with pytest.raises(LoginError):
        home.find("quay.io")


def test_a_helper_that_cannot_be_started_is_named(home: Home) -> None:
    path = home.helper("one", "")
    path.write_text("#!/nowhere/python\n")
    home.write(DOCKER, _LISTED | {"credsStore": "one"})
    with pytest.raises(LoginError, match="docker-credential-one cannot be started: No such file"):
        home.find("ghcr.io")


def test_the_helper_is_found_on_the_path_of_the_user_and_nowhere_else(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.keeper("one", {"ghcr.io": _ALICE})
    monkeypatch.chdir(home.bin)
    home.write(DOCKER, {"credHelpers": {"ghcr.io": "one"}})
    home.environ["PATH"] = str(home.folder)
    with pytest.raises(LoginError, match="is not on the PATH"):
        home.find("ghcr.io")


def test_no_process_and_no_pipe_is_left(home: Home) -> None:
    home.helper(
        "one",
        f"open({str(home.folder / 'asked')!r}, 'a').write(f'{{os.getpid()}}\\n')\nsys.exit(1)",
    )
    home.write(DOCKER, _LISTED | {"credsStore": "one"})
    before = _pipes()
    for _ in range(3):
        with pytest.raises(LoginError):
            home.find("ghcr.io")
    assert _pipes() == before
    assert len(home.asked) == 3
    assert not any(Path("/proc", pid).exists() for pid in home.asked)


def _pipes() -> set[str]:
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(path.readlink()))
    return {name for name in found if name.startswith("pipe:")}
