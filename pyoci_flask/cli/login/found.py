"""The result of a search for a login."""

from dataclasses import dataclass, field
from typing import TypeGuard

TOKEN_USER = "<token>"  # noqa: S105 - a name, not a password
"""The user name with which credential helpers mark an identity token, as Docker defines it."""


@dataclass(frozen=True, slots=True)
class FoundLogin:
    """A login for a registry, and where it was found."""

    username: str
    password: str = field(repr=False)
    """The password, or the identity token if `is_identity_token` is true."""
    source: str
    """Where the login was found, for people: `~/.docker/config.json (auths, ghcr.io)`."""
    is_identity_token: bool = False
    """Whether the password is a refresh token of the registry's token service."""
    command: str = field(default="", compare=False)
    """The command that replaces the login; empty if a person has to edit a file."""


def is_text(value: object) -> TypeGuard[str]:
    """Return whether a member of a JSON document is text that can be sent as UTF-8."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False  # JSON may contain one half of a surrogate pair
    return True
