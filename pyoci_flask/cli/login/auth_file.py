"""What one file of Docker or Podman says about a registry."""

import base64
from collections.abc import Mapping
from typing import Any

from pyoci_flask.cli.login.files import LoginFile
from pyoci_flask.cli.login.found import TOKEN_USER, FoundLogin
from pyoci_flask.cli.login.keys import Place, matching
from pyoci_flask.errors import LoginError


def member(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a member that is an object, or an empty one if it is missing or anything else."""
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def login_in_auths(auths: Mapping[str, Any], place: Place, file: LoginFile) -> FoundLogin | None:
    """Return the login that `auths` has for the smallest namespace around `place`.

    An entry without a login is skipped: Docker writes one if a store keeps the login.

    Raises:
        LoginError: the entry cannot be decoded.
    """
    for wanted, _, entry in matching(auths, place):
        login = _login(entry, wanted, file) if isinstance(entry, dict) else None
        if login is not None:
            return login
    return None


def _login(entry: Mapping[str, Any], place: Place, file: LoginFile) -> FoundLogin | None:
    source = f"{file.shown} (auths, {place})"
    username, password = _text(entry, "username"), _text(entry, "password")
    encoded = _text(entry, "auth")
    if encoded:
        try:
            pair = base64.b64decode("".join(encoded.split()), validate=True).decode()
        except ValueError:
            # The error would quote the content.
            pair = ""
        username, colon, password = pair.partition(":")
        if not colon:
            raise LoginError(
                f"the login for {place} in {file.shown} cannot be decoded: log in again"
            )
        # Docker before 1.7 padded passwords with zeros.
        password = password.strip("\x00")
    token = _text(entry, "identitytoken")
    if token:
        return FoundLogin(username or TOKEN_USER, token, source, is_identity_token=True)
    return FoundLogin(username, password, source) if username and password else None


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    return value if isinstance(value, str) else ""
