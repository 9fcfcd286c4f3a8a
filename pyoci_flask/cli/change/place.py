"""Where an index is: in a registry, or at a server of this program; and the login for it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import click

from pyoci_flask.cli import arguments
from pyoci_flask.cli.arguments import Address, Login
from pyoci_flask.cli.options import login_of, password
from pyoci_flask.oci.reference import Registry
from pyoci_flask.settings import PinnedIndex

if TYPE_CHECKING:
    from pyoci_flask.cli.change.index import Index

_OWN = "simple"
"""The first segment of the address of a server's own index."""


@dataclass(frozen=True, slots=True)
class Place:
    """An index, and the login for it."""

    text: str
    """As it is shown to users."""
    secrets: tuple[str, ...]
    open: Callable[[], "Index"]
    """Prepares the requests to it. Raises ConfigurationError if a setting cannot be used."""


def parse(context: click.Context, parameter: click.Parameter, text: str) -> PinnedIndex | Address:
    """Parse a registry with a namespace, or the URL of an index at a server."""
    found = arguments.address(context, parameter, text) if _names_server(text) else None
    return arguments.registry_index(context, parameter, text) if found is None else found


def _names_server(text: str) -> bool:
    """Return whether a text is the URL of an index at a server, and not that of a registry.

    After the host of a server comes another registry, or the name of its own index. In a URL that
    ends with a slash, the server may be at a sub-path.
    """
    scheme, _, rest = text.partition("://")
    if scheme.lower() not in {"http", "https"}:
        return False
    _, *segments = [one for one in rest.split("/") if one] or [""]
    named = segments if text.endswith("/") else segments[:1]
    inner = named if len(named) < len(segments) else named[:-1]
    return _OWN in named or any(Registry.parse(unquote(one)) is not None for one in inner)


def place_of(where: PinnedIndex | Address, username: str | None, *, stdin: bool) -> Place:
    """Find the login for an index. `stdin` says whether the next line there is the password.

    Raises:
        click.UsageError: the user name or the password is missing.
        ConfigurationError: the list of trusted servers cannot be read.
        LoginError: a file or a helper that may have the login cannot be read.
    """
    if isinstance(where, Address):
        return _server(where, username, stdin=stdin)
    return _registry(where, username, stdin=stdin)


def _registry(index: PinnedIndex, username: str | None, *, stdin: bool) -> Place:
    login = login_of(index, username, stdin=stdin)
    text = f"{index.registry.address}/{index.namespace}"
    source = ""
    if login.found is not None:
        user = "an identity token" if login.found.is_identity_token else login.found.username
        source = f": this one is {user}, from {login.found.source}"
    advice = _advice(text, index.registry.netloc, source, known=login.credentials is not None)

    def opened() -> "Index":
        from pyoci_flask.cli.change.in_process import in_registry
        from pyoci_flask.cli.change.index import Index

        return Index(in_registry(index, login.credentials), advice)

    return Place(text, login.secrets, opened)


def _server(address: Address, username: str | None, *, stdin: bool) -> Place:
    given = Login(username, password("PYOCI_PASSWORD", stdin=stdin)).over(address.login)
    credentials = given.credentials(address.url, "the server")
    parts = urlsplit(address.url)
    advice = _advice(address.url, parts.netloc, "", known=credentials is not None)

    def opened() -> "Index":
        from pyoci_flask.cli.change.at_server import at_server
        from pyoci_flask.cli.change.index import Index

        return Index(at_server(address.url, credentials), advice)

    return Place(address.url, () if credentials is None else (credentials.password,), opened)


def _advice(text: str, host: str, source: str, *, known: bool) -> str:
    """Return what to do if the login is refused or missing."""
    if known:
        return f"Use a login that may change packages in {text}{source}"
    return (
        f"Give credentials (--username NAME --password-stdin, or `docker login {host}`): no login "
        f"for {host} was found"
    )
