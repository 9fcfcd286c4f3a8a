"""Parse and check the arguments and credentials of the commands before anything is done."""

import sys
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import click

from pyoci_flask.cli.login import FoundLogin, find_login, host_of
from pyoci_flask.cli.trust import Server, parse_registry
from pyoci_flask.cli.trusted_login import find_trusted_login
from pyoci_flask.common.url import usable_url
from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.index.names import ProjectName
from pyoci_flask.oci.reference import EMBEDDED, Registry
from pyoci_flask.settings import PinnedIndex
from pyoci_flask.transport.request import BasicCredentials


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and a password; either may be missing."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def over(self, other: "Login") -> "Login":
        """Return this login, with a missing user name or password taken from `other`."""
        return Login(
            other.username if self.username is None else self.username,
            other.password if self.password is None else self.password,
        )

    def given(self, whose: str) -> BasicCredentials | None:
        """Return this user name and password, or None if both are missing.

        If standard input is a terminal, ask for a missing password.

        Raises:
            click.UsageError: the user name or the password is missing.
        """
        if self.username is None and self.password is None:
            return None
        if self.username is None:
            raise click.UsageError(f"a password for {whose} was given, but no user name")
        password = self.password
        if password is None:
            if not sys.stdin.isatty():
                raise click.UsageError(f"a user name for {whose} was given, but no password")
            password = click.prompt(f"Password for {whose}", hide_input=True, err=True)
        return BasicCredentials(self.username, str(password))

    def credentials(self, url: str, whose: str) -> BasicCredentials | None:
        """Return credentials for the index at `url`; if none were given, the user's login for it.

        Raises:
            click.UsageError: the user name or the password is missing.
            ConfigurationError: the list of trusted servers cannot be read.
            LoginError: a file or a helper that may have the login cannot be read.
        """
        given = self.given(whose)
        if given is not None:
            return given
        found = _login_for_index(url)
        return None if found is None else BasicCredentials(found.username, found.password)


def _login_for_index(url: str) -> FoundLogin | None:
    """Return the user's login for a package index, or None.

    It is the login for the registry that `url` names, if the server of the index is trusted with
    it, else the login for the host of the index. For that host, an identity token is not a
    password: it is for a registry's token service, not for an index.
    """
    found = find_trusted_login(url)
    if found is not None:
        return found
    found = find_login(host_of(url))
    return None if found is None or found.is_identity_token else found


def password_from_stdin() -> str:
    """Read one line from standard input, without its line break.

    Raises:
        click.UsageError: the line is empty or missing.
    """
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise click.UsageError("no password was given on standard input")
    return line


@dataclass(frozen=True, slots=True)
class Address:
    """The address of an index, which ends with a slash, and the credentials that it contained."""

    url: str
    login: Login


def project(_: click.Context, __: click.Parameter, text: str | None) -> ProjectName | None:
    """Parse a project's name."""
    try:
        return None if text is None else ProjectName(text)
    except InvalidRequestError as error:
        raise click.BadParameter(str(error)) from error


def projects(
    context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> tuple[ProjectName, ...]:
    """Parse project names; different spellings of one name count once."""
    names = (project(context, parameter, text) for text in texts)
    return tuple({name.normalized: name for name in names if name is not None}.values())


def registry_index(_: click.Context, __: click.Parameter, text: str) -> PinnedIndex:
    """Parse a registry and a namespace, which may be percent-encoded as in an index's address."""
    plain = unquote(text)
    if "@" in plain:
        raise click.BadParameter("must not contain credentials; use --username")
    try:
        return PinnedIndex.parse(plain)
    except ValueError as error:
        raise click.BadParameter(f"must be {error}") from error


def registry_indexes(
    context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> tuple[PinnedIndex, ...]:
    """Parse registries with namespaces; an index that is named twice counts once."""
    found = tuple(dict.fromkeys(registry_index(context, parameter, text) for text in texts))
    if any(index.registry == EMBEDDED for index in found):
        raise click.BadParameter("must be in a registry; `pyoci-flask serve` serves a folder")
    return found


def fallback(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    """Parse the URL of an index, or `none`."""
    if text is None or text == "none":
        return text
    parts = usable_url(text)
    if parts is None or parts.query or parts.fragment:
        raise click.BadParameter("must be an http or https URL, or none")
    return text


def server(_: click.Context, __: click.Parameter, text: str | None) -> Server | None:
    """Parse the URL of a server that is trusted with logins."""
    try:
        return None if text is None else Server.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def registry(_: click.Context, __: click.Parameter, text: str | None) -> Registry | None:
    """Parse a registry without a namespace, which may be percent-encoded as in an address."""
    try:
        return None if text is None else parse_registry(unquote(text))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def address(_: click.Context, __: click.Parameter, text: str | None) -> Address | None:
    """Parse the address of an index, which may contain a user name and a password."""
    if text is None:
        return None
    parts = usable_url(text)
    # The error does not quote the address, because it might contain a password.
    if parts is None or parts.query or parts.fragment:
        raise click.BadParameter("must be an http or https URL without a query or fragment")
    login = Login(
        None if parts.username is None else unquote(parts.username),
        None if parts.password is None else unquote(parts.password),
    )
    plain = parts._replace(
        netloc=parts.netloc.rpartition("@")[2], path=f"{parts.path.rstrip('/')}/"
    )
    return Address(plain.geturl(), login)


def target_logins(given: Login, target: Address, upload: Address | None) -> tuple[Login, Login]:
    """Return the login for reading TARGET_INDEX and the login for uploads.

    Options take precedence over credentials in the addresses. Uploads use the credentials in
    TARGET_INDEX if --upload-url contains none. Reading uses the credentials in --upload-url only if
    TARGET_INDEX contains none, the host is the same and the connection is at least as secure.

    Raises:
        click.UsageError: TARGET_INDEX uses https, but --upload-url uses http.
    """
    if upload is None:
        upload = target
    reading, uploading = urlsplit(target.url), urlsplit(upload.url)
    if (reading.scheme, uploading.scheme) == ("https", "http"):
        raise click.UsageError("--upload-url must be https, as TARGET_INDEX is")
    empty = Login()
    shared = uploading.netloc == reading.netloc and reading.scheme in {"https", uploading.scheme}
    reader = upload.login if target.login == empty and shared else target.login
    uploader = target.login if upload.login == empty else upload.login
    return given.over(reader), given.over(uploader)
