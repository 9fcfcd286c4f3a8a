"""What to do if a registry refuses a change because of the login."""

from collections.abc import Iterator
from contextlib import contextmanager

from pyoci_flask.cli.change.index import ChangeError
from pyoci_flask.cli.options import RegistryLogin
from pyoci_flask.settings import PinnedIndex


@contextmanager
def advised(place: PinnedIndex, login: RegistryLogin) -> Iterator[None]:
    """Put what to do about the login before the text of a denial.

    Raises:
        ChangeError: the block raised one.
    """
    try:
        yield
    except ChangeError as error:
        if error.status not in {401, 403}:
            raise
        raise ChangeError(f"{_advice(place, login)}. {error}", error.status) from error


def _advice(place: PinnedIndex, login: RegistryLogin) -> str:
    host = place.registry.netloc
    if login.credentials is None:
        return (
            f"Give credentials (--username NAME --password-stdin, or `docker login {host}`): no "
            f"login for {host} was found"
        )
    if login.found is None:
        return f"Use a login that may change packages in {place.namespace}"
    user = "an identity token" if login.found.is_identity_token else login.found.username
    return (
        f"Use a login that may change packages in {place.namespace}: this one is {user}, from "
        f"{login.found.source}"
    )
