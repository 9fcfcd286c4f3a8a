"""What one file of Docker or Podman says about a registry."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pyoci_flask.cli.login.files import DOCKER_FILE, LoginFile, read_json
from pyoci_flask.cli.login.found import TOKEN_USER, FoundLogin, is_text
from pyoci_flask.cli.login.helper import ask_helper, find_helper, program_of
from pyoci_flask.cli.login.keys import DOCKER_HUB, DOCKER_HUB_KEY, Place, matching
from pyoci_flask.errors import LoginError


def login_in_file(file: LoginFile, place: Place, environ: Mapping[str, str]) -> FoundLogin | None:
    """Return the login that a file has for the smallest namespace around `place`, or None.

    The helper in `credHelpers` replaces everything else in the file, as with Docker and Podman. The
    helper in `credsStore` is asked last. Docker asks it before `auths`, but empties the entry in
    `auths` when it gives a login to the store.

    Raises:
        LoginError: the file cannot be read, its entry cannot be decoded, or its helper fails
            although the file says that it has the login.
    """
    document = read_json(file)
    auths = _member(document, "auths")
    registry = Place(place.host)
    for _, key, name in matching(_member(document, "credHelpers"), registry):
        if isinstance(name, str) and name:
            source = f"credHelpers in {file.shown}"
            return _ask(name, key, place.host, source, environ)
        # An empty name means that the file itself keeps the login.
        return _login_in(auths, place, file)
    found = _login_in(auths, place, file)
    store = document.get("credsStore")
    if found is None and isinstance(store, str) and store:
        key = DOCKER_HUB_KEY if place.host == DOCKER_HUB else place.host
        try:
            return _ask(store, key, place.host, f"credsStore in {file.shown}", environ)
        except LoginError:
            # Docker writes an entry in `auths` for each login in the store. Without one, there is
            # probably no login, and a file that came from another machine, or a locked key ring,
            # must not prevent the use of a public registry.
            if any(matching(auths, registry)):
                raise
    return found


def _ask(
    name: str, key: str, host: str, named_in: str, environ: Mapping[str, str]
) -> FoundLogin | None:
    path = find_helper(name, named_in, environ)
    if path is None:
        raise LoginError(
            f"{program_of(name)} keeps the login for {key} ({named_in}), but is not on the PATH: "
            "install it, or log in without it"
        )
    found = ask_helper(path, key, f"{program_of(name)} ({named_in})", environ)
    return None if found is None else replace(found, command=f"docker login {host}")


def _member(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a member that is an object, or an empty one if it is missing or anything else."""
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _login_in(auths: Mapping[str, Any], place: Place, file: LoginFile) -> FoundLogin | None:
    # An entry without a login is skipped: Docker writes one if a store keeps the login.
    for wanted, _, entry in matching(auths, place):
        login = _login(entry, wanted, file) if isinstance(entry, dict) else None
        if login is not None:
            return login
    return None


def _login(entry: Mapping[str, Any], place: Place, file: LoginFile) -> FoundLogin | None:
    source = f"{file.shown} (auths, {place})"
    # Docker knows no namespaces, and writes no other file.
    is_docker = not place.namespace and file.path.name == DOCKER_FILE
    command = f"{'docker' if is_docker else 'podman'} login {place}"
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
        username, password = username or TOKEN_USER, token
    if not username or not password:
        return None
    return FoundLogin(username, password, source, is_identity_token=bool(token), command=command)


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    return value if is_text(value) else ""
