"""A backend for `keyring`: logins for registries, for the servers that are trusted with them.

keyring finds this module by the entry point `keyring.backends`. It is no dependency of this
package, so nothing else may import this module.
"""

import functools
import sys

from keyring.backend import KeyringBackend
from keyring.credentials import Credential, SimpleCredential

from pyoci_flask.cli.login import FoundLogin
from pyoci_flask.cli.trusted_login import find_trusted_login
from pyoci_flask.errors import PyOCIError
from pyoci_flask.logs import one_line


class RegistryKeyring(KeyringBackend):
    """Returns the login for the registry that the URL of a trusted server names.

    It keeps no secrets. Passwords are read from where `docker login` and similar programs keep
    them, and are never written.
    """

    priority = 9.0  # pyright: ignore[reportAssignmentType] - keyring documents a plain number
    """Before the key rings of desktops (5), which may ask to be unlocked; keyring's own chain of
    backends, which asks each of them in turn, has 10."""

    def get_password(self, service: str, username: str) -> str | None:
        """Return the password if the login's user name is `username`, else None.

        Errors are written to standard error, and then there is no login.
        """
        found = _login(service)
        return found.password if found is not None and found.username == username else None

    def get_credential(self, service: str, username: str | None) -> Credential | None:
        """Return the login, if its user name is `username` or none is given, else None.

        Errors are written to standard error, and then there is no login.
        """
        found = _login(service)
        # pdm's call of the program keyring has an empty user name if it knows none.
        if found is None or (username and found.username != username):
            return None
        return SimpleCredential(found.username, found.password)

    def set_password(self, service: str, username: str, password: str) -> None:
        """Raise the error that makes keyring try the next backend."""
        raise NotImplementedError(_READ_ONLY)

    def delete_password(self, service: str, username: str) -> None:
        """Raise the error that makes keyring try the next backend."""
        raise NotImplementedError(_READ_ONLY)


_READ_ONLY = "pyoci-flask keeps no passwords: use docker login, podman login or another key ring"


def _login(service: str) -> FoundLogin | None:
    try:
        return find_trusted_login(service)
    except PyOCIError as error:
        _report(str(error))
        return None


@functools.lru_cache(maxsize=16)
def _report(text: str) -> None:
    """Write one line, once: twine and others ask for the same login several times."""
    # pip discards it if it calls the program keyring; uv, twine, poetry and pdm show it.
    sys.stderr.write(f"pyoci-flask: {one_line(text)}\n")
