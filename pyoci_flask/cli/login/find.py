"""Search for the login that a person has for a registry, in the order of `docs/logins.md`."""

import os
from collections.abc import Mapping

from pyoci_flask.cli.login.auth_file import login_in_auths, member
from pyoci_flask.cli.login.files import LoginFile, login_files, read_json
from pyoci_flask.cli.login.found import FoundLogin
from pyoci_flask.cli.login.keys import Place, place_of


def find_login(
    host: str, namespace: str = "", environ: Mapping[str, str] = os.environ
) -> FoundLogin | None:
    """Return the user's login for a registry, or None if there is none.

    `host` is in lower case and has a port unless that is 443 (see `host_of`); `namespace` is one in
    the registry, such as `acme/team`. A file or a helper without a login for it leads to the next.

    Raises:
        LoginError: a file cannot be read. The text says what to do, and contains no secret.
    """
    registry = place_of(host)
    if registry is None:
        return None
    place = Place(registry.host, namespace.strip("/"))
    for file in login_files(environ):
        found = _in_file(file, place)
        if found is not None:
            return found
    return None


def _in_file(file: LoginFile, place: Place) -> FoundLogin | None:
    document = read_json(file)
    return login_in_auths(member(document, "auths"), place, file)
