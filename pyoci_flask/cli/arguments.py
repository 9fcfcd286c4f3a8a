"""The commands' arguments, read and checked before anything is done; and their credentials."""

import sys
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import click
from requests.utils import get_netrc_auth

from pyoci_flask.common.url import usable_url
from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.index.names import ProjectName
from pyoci_flask.settings import PinnedIndex
from pyoci_flask.transport.request import BasicCredentials


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and a password; each may be missing."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def over(self, other: "Login") -> "Login":
        """Return this login, with a missing half taken from `other`."""
        return Login(
            other.username if self.username is None else self.username,
            other.password if self.password is None else self.password,
        )

    def credentials(self, url: str, whose: str) -> BasicCredentials | None:
        """Return credentials for `url`; None if none were given and `.netrc` has none.

        On a terminal, ask for a missing password.

        Raises:
            click.UsageError: one half is missing.
        """
        if self.username is None and self.password is None:
            found = get_netrc_auth(url)
            return None if found is None else BasicCredentials(*found)
        if self.username is None:
            raise click.UsageError(f"there is a password for {whose}, but no user name")
        password = self.password
        if password is None:
            if not sys.stdin.isatty():
                raise click.UsageError(f"there is a user name for {whose}, but no password")
            password = click.prompt(f"Password for {whose}", hide_input=True, err=True)
        return BasicCredentials(self.username, str(password))


def password_from_stdin() -> str:
    """Read one line of standard input, without its line break.

    Raises:
        click.UsageError: the line is empty or missing.
    """
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise click.UsageError("no password came on standard input")
    return line


@dataclass(frozen=True, slots=True)
class Address:
    """The address of an index, with a slash at its end, and the credentials that it contained."""

    url: str
    login: Login


def project(_: click.Context, __: click.Parameter, text: str | None) -> ProjectName | None:
    """Read a project's name."""
    try:
        return None if text is None else ProjectName(text)
    except InvalidRequestError as error:
        raise click.BadParameter(str(error)) from error


def projects(
    context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> tuple[ProjectName, ...]:
    """Read names of projects; two spellings of one name count once."""
    names = (project(context, parameter, text) for text in texts)
    return tuple({name.normalized: name for name in names if name is not None}.values())


def registry_index(_: click.Context, __: click.Parameter, text: str) -> PinnedIndex:
    """Read a registry and a namespace, also percent-encoded as in the address of an index."""
    plain = unquote(text)
    if "@" in plain:
        raise click.BadParameter("credentials do not belong here: --username, --password-stdin")
    try:
        return PinnedIndex.parse(plain)
    except ValueError as error:
        raise click.BadParameter(f"must be {error}") from error


def address(_: click.Context, __: click.Parameter, text: str | None) -> Address | None:
    """Read the address of an index, which may contain a user name and a password."""
    if text is None:
        return None
    parts = usable_url(text)
    # The error does not quote it, because it may contain a password.
    if parts is None or parts.query or parts.fragment:
        raise click.BadParameter("must be an http or https URL without query and fragment")
    login = Login(
        None if parts.username is None else unquote(parts.username),
        None if parts.password is None else unquote(parts.password),
    )
    plain = parts._replace(
        netloc=parts.netloc.rpartition("@")[2], path=f"{parts.path.rstrip('/')}/"
    )
    return Address(plain.geturl(), login)


def target_logins(given: Login, target: Address, upload: Address | None) -> tuple[Login, Login]:
    """Return the login that reads TARGET_INDEX and the one that uploads.

    Options come before the credentials in the addresses. Each address has its own. Uploads use the
    target's if --upload-url has none; reading uses those of --upload-url only if the host is the
    same and the connection is as secure.

    Raises:
        click.UsageError: TARGET_INDEX is https, and the uploads would go over http.
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
