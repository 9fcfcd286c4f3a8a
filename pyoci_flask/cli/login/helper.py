"""Run credential helpers: programs that keep logins (the protocol of docker-credential-helpers)."""

import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import IO

from pyoci_flask.cli.login.found import TOKEN_USER, FoundLogin, is_text
from pyoci_flask.errors import LoginError

SECONDS = 20.0
"""How long a helper may take."""
_OUTPUT_LIMIT = 64 * 1024
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_NOT_FOUND = b"credentials not found in native keychain"
"""The text with which every helper says that it has no login."""


def find_helper(name: str, named_in: str, environ: Mapping[str, str]) -> str | None:
    """Return the path of the program `docker-credential-NAME`, or None if it is not installed.

    Raises:
        LoginError: the name is not a plain word; it could be a path otherwise.
    """
    if not _NAME.fullmatch(name):
        raise LoginError(
            f"{named_in} does not name a credential helper: write pass for the program "
            "docker-credential-pass"
        )
    return shutil.which(program_of(name), path=environ.get("PATH"))


def program_of(name: str) -> str:
    """Return the name of a helper's program."""
    return f"docker-credential-{name}"


def ask_helper(
    path: str, server: str, source: str, environ: Mapping[str, str]
) -> FoundLogin | None:
    """Return the login that a helper has for `server`, or None if it has none.

    The helper runs without a shell and without a terminal, and at most `SECONDS`. Its output is
    only parsed, because it may contain a secret.

    Raises:
        LoginError: the helper cannot be started, fails, takes too long or writes something else.
    """
    program = os.path.basename(path)  # noqa: PTH119 - only a name for people
    try:
        process = subprocess.Popen(  # noqa: S603 - the user chose this program, by its name
            [path, "get"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environ),
            start_new_session=True,
        )
    except OSError as error:
        raise LoginError(f"{program} cannot be started: {error.strerror}") from None
    with process:
        try:
            output = _exchange(process, server.encode(), program)
        except BaseException:
            _kill(process)
            raise
    if process.returncode != 0:
        if output.strip() == _NOT_FOUND:
            return None
        raise LoginError(
            f"{program} failed with status {process.returncode}: to see why, run `{program} get`, "
            f"and enter {server} and Ctrl-D (if it works, it shows the secret)"
        )
    return _parsed(output, program, source)


def _exchange(process: "subprocess.Popen[bytes]", question: bytes, program: str) -> bytes:
    """Send the question; return what the helper writes until it ends."""
    until = time.monotonic() + SECONDS
    late = LoginError(
        f"{program} did not answer within {SECONDS:.0f} seconds: if it asks for a password or "
        "a confirmation, unlock its key ring first"
    )
    stdin, stdout = _pipes(process)
    with suppress(BrokenPipeError):
        # A pipe takes this little without waiting.
        stdin.write(question)
        stdin.close()
    output = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while len(output) <= _OUTPUT_LIMIT:
            if not selector.select(max(0.0, until - time.monotonic())):
                raise late
            piece = os.read(stdout.fileno(), _OUTPUT_LIMIT)
            if not piece:
                break
            output += piece
        else:
            raise LoginError(f"{program} wrote more than {_OUTPUT_LIMIT} bytes; is it a helper?")
    try:
        process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise late from None
    return output


def _pipes(process: "subprocess.Popen[bytes]") -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the helper was started without pipes")
    return process.stdin, process.stdout


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End the helper and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _parsed(output: bytes, program: str, source: str) -> FoundLogin | None:
    try:
        answer = json.loads(output)
    except (ValueError, RecursionError):
        # The error would quote the output.
        answer = None
    username = answer.get("Username") if isinstance(answer, dict) else None
    secret = answer.get("Secret") if isinstance(answer, dict) else None
    if not is_text(username) or not is_text(secret):
        raise LoginError(f"{program} did not write a login as JSON; is it a credential helper?")
    if not username or not secret:
        return None
    return FoundLogin(username, secret, source, is_identity_token=username == TOKEN_USER)
