"""Which login the commands use if neither an option nor an address contains one."""

import os

from pyoci_flask.cli.login import FoundLogin, find_login, host_of
from pyoci_flask.settings import PinnedIndex


def login_for_registry(index: PinnedIndex) -> FoundLogin | None:
    """Return the user's login for a registry and a namespace in it, or None.

    Raises:
        LoginError: a file or a helper that may have the login cannot be read.
    """
    return find_login(host_of(index.registry.origin), index.namespace, os.environ)


def login_for_index(url: str) -> FoundLogin | None:
    """Return the user's login for the host of a package index, or None.

    An identity token is not a password: it is for a registry's token service, not for an index.

    Raises:
        LoginError: a file or a helper that may have the login cannot be read.
    """
    found = find_login(host_of(url), environ=os.environ)
    return None if found is None or found.is_identity_token else found
