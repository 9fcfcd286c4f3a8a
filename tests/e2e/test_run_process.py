"""A command under `run` behaves as it does without: status, input, output, signals, files."""

import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.run_lab import lab_environment, run_command
from tests.run_process import UNUSED, done, line, running
from tests.servers import wait_until

# Reports each signal, and ends with status 7 when its input ends.
_REPORT = """
import os, signal, sys
def show(number, frame):
    os.write(1, f"{signal.Signals(number).name}\\n".encode())
for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2"):
    signal.signal(getattr(signal, name), show)
print("ready", flush=True)
sys.stdin.read()
sys.exit(7)
"""
# Depending on how it starts a program, the C library lets it ignore the signals 32 and 33, its own.
_SIGNAL_STATE = """
for row in open("/proc/self/status"):
    name, _, value = row.partition(":")
    if name in {"SigBlk", "SigIgn", "SigCgt"}:
        print(name, hex(int(value, 16) & ~(3 << 31)))
"""


def _python(code: str) -> tuple[str, str, str]:
    return sys.executable, "-c", code


@pytest.mark.parametrize("status", [0, 1, 2, 77, 255])
def test_the_exit_status_is_that_of_the_command(tmp_path: Path, status: int) -> None:
    assert done(tmp_path, "sh", "-c", f"exit {status}").returncode == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGINT])
def test_a_command_that_a_signal_ends_has_the_status_that_shells_give_it(
    tmp_path: Path, number: signal.Signals
) -> None:
    ended = done(tmp_path, "sh", "-c", f"kill -{number.value} $$")
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + number, b"", b"")


def test_a_command_that_does_not_exist_has_status_127(tmp_path: Path) -> None:
    ended = done(tmp_path, "no-such-command", "--help")
    assert ended.returncode == 127
    assert ended.stderr == b"pyoci-flask run: no-such-command: No such file or directory\n"


def test_a_file_that_cannot_be_executed_has_status_126(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("not a program")
    ended = done(tmp_path, "./notes")
    assert ended.returncode == 126
    assert ended.stderr == b"pyoci-flask run: ./notes: Permission denied\n"


def test_output_is_unchanged_and_nothing_is_added(tmp_path: Path) -> None:
    every_byte = bytes(range(256)) * 1000
    copy = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
    ended = done(tmp_path, *_python(copy), input=every_byte)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, every_byte, b"")
    copy = "import sys; sys.stderr.buffer.write(sys.stdin.buffer.read())"
    ended = done(tmp_path, *_python(copy), input=every_byte)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", every_byte)


def test_arguments_are_passed_on_byte_for_byte(tmp_path: Path) -> None:
    show = "import os, sys; print([os.fsencode(one) for one in sys.argv[1:]])"
    given = ["", " ", "--", "--index", "-v", "--help", "a b", "\udcff", "ü", "$HOME", "*"]
    ended = done(tmp_path, *_python(show), *given, encoding=None)
    assert ended.stdout.decode() == f"{[os.fsencode(one) for one in given]}\n"


def test_two_dashes_are_not_needed(tmp_path: Path) -> None:
    command = [one for one in run_command(UNUSED) if one != "--"]
    ended = subprocess.run(
        [*command, "echo", "-v", "--", "--index"],
        env=lab_environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert ended.stdout == b"-v -- --index\n"


def test_a_command_can_be_talked_to_through_pipes(tmp_path: Path) -> None:
    with running(tmp_path, "sh", "-c", 'while read -r a; do echo "<$a>"; done; exit 3') as process:
        assert process.stdin is not None
        for word in ("one", "two"):
            process.stdin.write(f"{word}\n".encode())
            process.stdin.flush()
            assert line(process.stdout) == f"<{word}>"
        process.stdin.close()
        assert process.wait() == 3


@pytest.mark.parametrize(
    "number",
    [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2],
)
def test_a_signal_is_passed_on_once_and_the_command_decides(
    tmp_path: Path, number: signal.Signals
) -> None:
    with running(tmp_path, *_python(_REPORT)) as process:
        assert line(process.stdout) == "ready"
        os.kill(process.pid, number)
        assert line(process.stdout) == number.name
        os.kill(process.pid, number)
        assert line(process.stdout) == number.name
        output, errors = process.communicate()
        assert (process.returncode, output, errors) == (7, b"", b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_the_command_ends_run_with_its_status(
    tmp_path: Path, number: signal.Signals
) -> None:
    with running(tmp_path, "sh", "-c", "echo ready; exec sleep 1000") as process:
        assert line(process.stdout) == "ready"
        os.kill(process.pid, number)
        output, errors = process.communicate()
        assert (process.returncode, output, errors) == (128 + number, b"", b"")


def test_signals_that_the_caller_ignores_stay_ignored(tmp_path: Path) -> None:
    ignoring = "trap '' HUP INT USR1; exec \"$@\""
    command = ["sh", "-c", ignoring, "sh", *run_command(UNUSED, *_python(_SIGNAL_STATE))]
    under = subprocess.check_output(command, env=lab_environment(tmp_path), cwd=tmp_path)
    command = ["sh", "-c", ignoring, "sh", *_python(_SIGNAL_STATE)]
    direct = subprocess.check_output(command, env=lab_environment(tmp_path), cwd=tmp_path)
    assert under == direct
    assert int(under.split(b"SigIgn")[1].split()[0], 16) & (1 << (signal.SIGHUP - 1))


def test_nohup_protects_the_command_and_run(tmp_path: Path) -> None:
    script = "echo ready; read -r line; echo $line"
    command = ["nohup", *run_command(UNUSED, "sh", "-c", script)]
    with subprocess.Popen(
        command,
        env=lab_environment(tmp_path),
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert line(process.stdout) == "ready"
        os.killpg(process.pid, signal.SIGHUP)
        output, _ = process.communicate(b"still here\n")
        assert (process.returncode, output) == (0, b"still here\n")


def test_the_command_starts_with_the_signals_of_a_direct_call(tmp_path: Path) -> None:
    direct = subprocess.check_output(_python(_SIGNAL_STATE), env=lab_environment(tmp_path))
    assert done(tmp_path, *_python(_SIGNAL_STATE)).stdout == direct
    # A pipe that is closed ends the command as it would without `run`.
    pipe = "yes | head -n 1; echo ${PIPESTATUS[0]}"
    assert done(tmp_path, "bash", "-c", pipe).stdout.split() == [b"y", b"141"]


def test_a_caller_that_ignores_the_end_of_its_children_gets_the_status_all_the_same(
    tmp_path: Path,
) -> None:
    ignore = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
    ignore += "os.execv(sys.argv[1], sys.argv[1:])"
    command = run_command(UNUSED, "sh", "-c", "exit 5")
    ended = subprocess.run(
        [*_python(ignore), *command], env=lab_environment(tmp_path), cwd=tmp_path, check=False
    )
    assert ended.returncode == 5


def test_files_that_the_caller_opened_stay_open_and_no_others_are(tmp_path: Path) -> None:
    listing = "import os; found = os.listdir('/proc/self/fd');"
    listing += "print([one for one in found if os.path.exists('/proc/self/fd/' + one)])"
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w"):
        passed = {"pass_fds": (reading,), "stdin": subprocess.DEVNULL}
        direct = subprocess.check_output(
            _python(listing), env=lab_environment(tmp_path), pass_fds=(reading,)
        )
        assert done(tmp_path, *_python(listing), **passed).stdout == direct
        assert str(reading).encode() in direct


def test_a_file_that_the_shell_names_as_an_argument_can_be_read(tmp_path: Path) -> None:
    text = f"{shlex.join(run_command(UNUSED, 'cat'))} <(echo from the shell)"
    ended = subprocess.check_output(
        ["bash", "-c", text], env=lab_environment(tmp_path), cwd=tmp_path
    )
    assert ended == b"from the shell\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_input_or_output_stays_closed(tmp_path: Path, closed: str) -> None:
    (tmp_path / "x").touch()
    listing = "import os, sys; n = sys.argv[1]; out = open(n, 'w');"
    listing += "out.write(str([i for i in range(3) if not os.path.exists(f'/proc/self/fd/{i}')]))"
    # The file that the command opens takes the place of the first that is closed.
    for mode, command in (
        ("direct", [*_python(listing), str(tmp_path / "direct")]),
        ("under", run_command(UNUSED, *_python(listing), tmp_path / "under")),
    ):
        script = f'exec {closed}; exec "$@"'
        subprocess.run(
            ["sh", "-c", script, "sh", *command],
            env=lab_environment(tmp_path),
            cwd=tmp_path,
            check=True,
        )
        assert (tmp_path / mode).read_text() == (tmp_path / "direct").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("-v",)])
def test_a_message_that_nobody_can_read_does_not_change_the_status(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    for redirection in ("2>&-", "2>/dev/full", ">&- 2>&-"):
        command = shlex.join(run_command([*UNUSED, *options], "no-such-command"))
        ended = subprocess.run(
            ["sh", "-c", f"{command} {redirection}"],
            env=lab_environment(tmp_path),
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert (ended.returncode, ended.stdout) == (127, b""), redirection
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as broken:
        ended = done(
            tmp_path,
            "no-such-command",
            options=[*UNUSED, *options],
            capture_output=False,
            stdout=subprocess.PIPE,
            stderr=broken,
        )
    assert (ended.returncode, ended.stdout) == (127, b"")


def test_a_full_pipe_makes_the_command_wait_and_nothing_is_lost(tmp_path: Path) -> None:
    size = 1 << 20  # more than a pipe holds
    with running(tmp_path, *_python(f"print('x' * {size})")) as process:
        wait_until(lambda: _waits_in_pipe(process.pid))
        output, errors = process.communicate()
        assert (process.returncode, len(output), errors) == (0, size + 1, b"")


def test_a_killed_run_leaves_no_server(tmp_path: Path) -> None:
    show = "import os, sys; print(os.environ['HTTP_PROXY'], flush=True); sys.stdin.read()"
    with running(tmp_path, *_python(show)) as process:
        port = urlsplit(line(process.stdout)).port
        assert port is not None
        socket.create_connection(("127.0.0.1", port)).close()
        process.kill()
        process.wait()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        # The command goes on without an index, as it does when a server ends.
        output, errors = process.communicate()
        assert (output, errors) == (b"", b"")
    assert _files(tmp_path) == [".local/state/pyoci-flask/run.log"]


def test_run_works_in_a_folder_that_has_been_removed(tmp_path: Path) -> None:
    script = 'mkdir gone; cd gone; rmdir ../gone; exec "$@"'
    command = ["sh", "-c", script, "sh", *run_command(UNUSED, "echo", "works")]
    ended = subprocess.run(
        command, env=lab_environment(tmp_path), cwd=tmp_path, capture_output=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, b"works\n"), ended.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["--", "true"], 1, "Error: no index is named: use --index REGISTRY/NAMESPACE"),
        (["--index", "ghcr.io/acme"], 2, "Error: Missing argument '-- COMMAND [ARG]...'."),
        (["--index", "ghcr.io", "--", "true"], 2, "Invalid value for '--index': must be a regist"),
        (["--index", "https://a:b@ghcr.io/acme", "true"], 2, "must not contain credentials"),
        (["--pubish", "--", "true"], 2, "No such option '--pubish'"),
        (["--fallback", "ftp://example.com", "true"], 2, "must be an http or https URL, or none"),
        (["--index", "embedded/acme", "--", "true"], 2, "must be in a registry"),
    ],
)
def test_a_wrong_call_is_explained(
    tmp_path: Path, arguments: list[str], status: int, text: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "pyoci_flask", "run", *arguments],
        env=lab_environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == status
    assert text in ended.stderr
    assert ended.stdout == ""


def test_a_wrong_setting_is_explained_before_the_command_starts(tmp_path: Path) -> None:
    ended = done(tmp_path, "echo", "started", environ={"PYOCI_MAX_BODY": "much"})
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert ended.stderr.startswith(b"Error: PYOCI_MAX_BODY ")


def test_a_password_without_a_user_name_is_explained(tmp_path: Path) -> None:
    ended = done(tmp_path, "echo", "started", environ={"PYOCI_PASSWORD": "hidden"})
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert b"a password for the registry was given, but no user name" in ended.stderr
    assert b"hidden" not in ended.stderr


def test_settings_of_a_server_mean_nothing(tmp_path: Path) -> None:
    server = {"PORT": "none", "PYOCI_BIND": "?", "PYOCI_STORAGE": "/no/such", "PYOCI_INDEX": "?"}
    ended = done(tmp_path, "echo", "started", environ=server)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"started\n", b"")


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _waits_in_pipe(pid: int) -> bool:
    """Return whether a child of a process waits for a reader."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return any("pipe" in Path(f"/proc/{child}/wchan").read_text() for child in children)
