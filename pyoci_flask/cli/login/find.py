"""Search for the login that a person has for a registry, in the order of `docs/logins.md`."""

import os
from collections.abc import Mapping

from pyoci_flask.cli.login.auth_file import login_in_file
from pyoci_flask.cli.login.files import login_files
from pyoci_flask.cli.login.found import FoundLogin
from pyoci_flask.cli.login.keys import Place, host_of, place_of
from pyoci_flask.cli.login.netrc_file import login_in_netrc
from pyoci_flask.oci.reference import Registry


def find_login(
    host: str, namespace: str = "", environ: Mapping[str, str] = os.environ
) -> FoundLogin | None:
    """Return the user's login for a registry, or None if there is none.

    `host` is in lower case and has a port unless that is 443 (see `host_of`); `namespace` is one in
    the registry, such as `acme/team`. If a file and its helpers have no login for it, the next
    file is read.

    Raises:
        LoginError: a file cannot be read, or the helper that has the login is missing or fails.
            The text says what to do, and contains no secret and no output of the helper.
    """
    registry = place_of(host)
    if registry is None:
        return None
    place = Place(registry.host, namespace.strip("/"))
    for file in login_files(environ):
        found = login_in_file(file, place, environ)
        if found is not None:
            return found
    return login_in_netrc(place.host, environ)


def login_for_registry(registry: Registry, namespace: str = "") -> FoundLogin | None:
    """Return the user's login for a registry, as `find_login` does for a host."""
    return find_login(host_of(registry.origin), namespace)
