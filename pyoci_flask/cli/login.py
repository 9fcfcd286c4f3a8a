"""Where a command's credentials come from: options, the environment, the address, `.netrc`."""

import sys
from dataclasses import dataclass, field

import click
from requests.utils import get_netrc_auth

from pyoci_flask.transport.credentials import BasicCredentials


@dataclass(frozen=True, slots=True)
class Login:
    """User name and password, as far as they were given."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def over(self, other: "Login") -> "Login":
        """Fill a half that is missing here from `other`."""
        return Login(
            other.username if self.username is None else self.username,
            other.password if self.password is None else self.password,
        )

    def credentials(self, url: str, whose: str) -> BasicCredentials | None:
        """Make credentials for `url`; None where none were given and `.netrc` has none.

        A password that is missing is asked for on a terminal.

        Raises:
            click.UsageError: one half is missing.
        """
        if self.username is None and self.password is None:
            found = get_netrc_auth(url)
            return None if found is None else BasicCredentials(*found)
        if self.username is None:
            raise click.UsageError(f"there is a password for {whose}, but no user name")
        password = self.password
        if password is None:
            if not sys.stdin.isatty():
                raise click.UsageError(f"there is a user name for {whose}, but no password")
            password = click.prompt(f"Password for {whose}", hide_input=True, err=True)
        return BasicCredentials(self.username, str(password))


def password_from_stdin() -> str:
    """Read one line of standard input, without its end.

    Raises:
        click.UsageError: there is none.
    """
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise click.UsageError("no password came on standard input")
    return line
