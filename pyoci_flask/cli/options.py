"""What several commands do first: configure the log, and find the login for a registry."""

import os
from dataclasses import dataclass

from pyoci_flask.cli.arguments import Login, password_from_stdin
from pyoci_flask.cli.login import FoundLogin, login_for_registry
from pyoci_flask.cli.login.credentials import to_credentials
from pyoci_flask.logs import configure_logging
from pyoci_flask.settings import PinnedIndex
from pyoci_flask.transport.request import Credentials


@dataclass(frozen=True, slots=True)
class RegistryLogin:
    """The credentials for a registry, and where they were found; None if there are none."""

    credentials: Credentials | None = None
    found: FoundLogin | None = None
    """Set only if the user did not give the login to this command."""
    secrets: tuple[str, ...] = ()
    """What the output must not contain."""


def login_of(index: PinnedIndex, username: str | None, *, stdin: bool) -> RegistryLogin:
    """Return the login that the user gave, or else the one stored for the registry.

    `stdin` says whether the password is the next line of standard input.

    Raises:
        click.UsageError: the user name or the password is missing.
        LoginError: a file or a helper that may have the login cannot be read, or the token that
            was given cannot be sent.
    """
    given = Login(username, password("PYOCI_PASSWORD", stdin=stdin)).given(index.registry.netloc)
    if given is None:
        found = login_for_registry(index.registry, index.namespace)
    else:
        found = FoundLogin(given.username, given.password, "the options or the environment")
    if found is None:
        return RegistryLogin()
    credentials = to_credentials(found, os.environ.get("PYOCI_BEARER_USERNAME"))
    return RegistryLogin(credentials, found if given is None else None, (found.password,))


def password(variable: str, *, stdin: bool) -> str | None:
    """Return the next line of standard input, or the value of an environment variable.

    Raises:
        click.UsageError: the line is empty or missing.
    """
    return password_from_stdin() if stdin else os.environ.get(variable) or None


def begin(*, verbose: bool) -> None:
    """Check this installation, and configure the log of a command.

    Raises:
        ConfigurationError: the version of a package does not work on this machine.
    """
    from pyoci_flask.common.overrides import check_overrides

    check_overrides()
    configure_logging({"": "WARNING", "pyoci": "INFO" if verbose else "ERROR"})
