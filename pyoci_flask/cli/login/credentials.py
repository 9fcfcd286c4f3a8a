"""From a login that was found to what is sent to a registry."""

import re

from pyoci_flask.cli.login.found import FoundLogin
from pyoci_flask.errors import LoginError
from pyoci_flask.transport.request import (
    BasicCredentials,
    BearerCredentials,
    Credentials,
    IdentityToken,
)

_TOKEN = re.compile(r"[\x21-\x7e]+")


def to_credentials(found: FoundLogin, bearer_username: str | None) -> Credentials:
    """Return what to send for a login.

    If the user name is `bearer_username` (the setting `PYOCI_BEARER_USERNAME`), the password is a
    Bearer token that the registry itself understands.

    Raises:
        LoginError: such a token contains characters that a header cannot contain.
    """
    if found.is_identity_token:
        return IdentityToken(found.username, found.password)
    if bearer_username is None or found.username != bearer_username:
        return BasicCredentials(found.username, found.password)
    if not _TOKEN.fullmatch(found.password):
        raise LoginError(
            f"the login from {found.source} is not usable: a Bearer token is printable ASCII"
        )
    return BearerCredentials(found.password)
