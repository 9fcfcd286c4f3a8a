"""The caller's credentials out of the Authorization header."""

import base64
import binascii
import re

from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.transport.credentials import BasicCredentials, BearerCredentials, Credentials

_TOKEN = re.compile(r"[\x21-\x7e]+")


def read_credentials(header: str | None, bearer_username: str | None) -> Credentials | None:
    """Read `Basic` (RFC 7617) or `Bearer` (RFC 6750); None if there is no header.

    The password that comes with the user name `bearer_username` is itself a Bearer token.

    Raises:
        InvalidRequestError: the header is neither, or not well formed.
    """
    if header is None or not header.strip():
        return None
    scheme, _, value = header.strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return _bearer(value)
    if scheme.lower() != "basic":
        raise InvalidRequestError("Authorization must be Basic or Bearer")
    try:
        content = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequestError("the Basic credentials are not base64") from error
    try:
        pair = content.decode()
    except UnicodeDecodeError:
        # As pip and twine send them, whatever the challenge says (RFC 7617, section 2.1).
        pair = content.decode("latin-1")
    username, colon, password = pair.partition(":")
    if not colon or any(ord(char) < 32 or ord(char) == 127 for char in pair):
        raise InvalidRequestError("the Basic credentials are not a user name and a password")
    if not username and not password:
        return None
    if bearer_username is not None and username == bearer_username:
        return _bearer(password)
    return BasicCredentials(username, password)


def _bearer(token: str) -> BearerCredentials:
    if not _TOKEN.fullmatch(token):
        raise InvalidRequestError("the Bearer token is empty or not printable ASCII")
    return BearerCredentials(token)
