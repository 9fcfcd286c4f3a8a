"""The command line in this process, without the developer's environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from click.testing import CliRunner

from pyoci_flask.cli.main import main
from pyoci_flask.logs import configure_logging

_KEPT_OUT = ("PYOCI_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_NO_LOGINS: Mapping[str, str | None] = {
    "NETRC": os.devnull,
    "HOME": os.devnull,
    "XDG_RUNTIME_DIR": os.devnull,
    "XDG_CONFIG_HOME": None,
    "DOCKER_CONFIG": None,
    "REGISTRY_AUTH_FILE": None,
}
"""The developer's own logins must not reach a test."""

_OF_A_SERVER = " logger=pyoci.access "


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    status: int
    output: str

    @property
    def lines(self) -> list[str]:
        """Return its lines without the white space at their ends."""
        return [line.strip() for line in self.output.splitlines()]

    def marks(self) -> dict[str, str]:
        """Return the steps of a check, and `ok`, `note` or `FAIL` for each."""
        steps = (line.split(maxsplit=2) for line in self.output.splitlines() if line[0] != " ")
        return {step[1]: step[0] for step in steps if step[0] in {"ok", "note", "FAIL"}}


def command(
    *arguments: str, stdin: str | None = None, environ: Mapping[str, str] | None = None
) -> Done:
    """Run a command to its end; it must not fail with an unexpected exception."""
    env: dict[str, str | None] = {
        name: None for name in os.environ if name.upper().startswith(_KEPT_OUT)
    }
    env |= {**_NO_LOGINS, **(environ or {})}
    configure_logging({"": "WARNING", "pyoci": "ERROR"})
    try:
        result = CliRunner().invoke(main, arguments, input=stdin, env=env)
    finally:
        # Reset the loggers, so that the next test finds their levels as an application sets them.
        configure_logging({"": "INFO"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    # A server in this process may write its last line while the command's output is collected.
    lines = result.output.splitlines(keepends=True)
    return Done(result.exit_code, "".join(one for one in lines if _OF_A_SERVER not in one))


def check(
    url: str, *options: str, auth: tuple[str, str] | None = None, namespace: str = "team"
) -> Done:
    """Check a registry; pass the password on standard input."""
    given = () if auth is None else ("--username", auth[0], "--password-stdin")
    stdin = None if auth is None else f"{auth[1]}\n"
    return command("check", f"{url}/{namespace}", *given, *options, stdin=stdin)
