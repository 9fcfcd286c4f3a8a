"""The commands `yank` and `delete`, and their options."""

import sys
from collections.abc import Callable
from typing import Any

import click

from pyoci_flask.cli import arguments
from pyoci_flask.cli.arguments import Address
from pyoci_flask.cli.change.place import parse, place_of
from pyoci_flask.cli.options import begin
from pyoci_flask.index.names import ProjectName
from pyoci_flask.settings import PinnedIndex

_Command = Callable[..., Any]


def _in_index(command: _Command) -> _Command:
    """Add the arguments that both commands have."""
    command = click.argument("project", callback=arguments.project)(command)
    return click.argument("index", metavar="INDEX", callback=parse)(command)


def _with_login(command: _Command) -> _Command:
    """Add the options that both commands have."""
    command = click.option(
        "--verbose", "-v", is_flag=True, help="Log each call to standard error."
    )(command)
    command = click.option(
        "--password-stdin",
        is_flag=True,
        help="Read the password, or token, from standard input.  [or: env var: PYOCI_PASSWORD]",
    )(command)
    return click.option("--username", envvar="PYOCI_USERNAME", show_envvar=True, help="User name.")(
        command
    )


def _version_or_file(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    """Refuse a path, which could lead to another project. The rest is checked with the project."""
    if text is not None and (not text or "/" in text):
        raise click.BadParameter("must be a version such as 1.0, or the name of a file")
    return text


@click.command("yank")
@_in_index
@click.argument("what", metavar="VERSION|FILE", callback=_version_or_file)
@click.option(
    "--reason", default="", metavar="TEXT", help="Reason, which installers show to users."
)
@click.option("--undo", is_flag=True, help="Undo the yank.")
@_with_login
def yank(
    index: PinnedIndex | Address,
    project: ProjectName,
    what: str,
    reason: str,
    username: str | None,
    *,
    undo: bool,
    password_stdin: bool,
    verbose: bool,
) -> None:
    """Yank a version, or one file of it.

    Installers skip yanked files unless a requirement pins exactly that version. INDEX is a
    registry and a namespace in it, such as ghcr.io/acme, or the URL of an index on a server.
    Without credentials in options or variables, those of `docker login`, `podman login` or ~/.netrc
    are used.
    """
    if undo and reason:
        raise click.UsageError("use --reason or --undo: undoing a yank needs no reason")
    from pyoci_flask.cli.screen import Screen

    begin(verbose=verbose)
    place = place_of(index, username, stdin=password_stdin)
    screen = Screen(*place.secrets)
    with screen.failing():
        screen.say(place.open().yank(project, what, None if undo else reason))


@click.command("delete")
@_in_index
@click.argument("what", metavar="[VERSION|FILE]", required=False, callback=_version_or_file)
@click.option("--blobs", is_flag=True, help="Also delete the bytes that nothing else refers to.")
@click.option("--yes", is_flag=True, help="Delete a whole project without asking.")
@_with_login
def delete(
    index: PinnedIndex | Address,
    project: ProjectName,
    what: str | None,
    username: str | None,
    *,
    blobs: bool,
    yes: bool,
    password_stdin: bool,
    verbose: bool,
) -> None:
    """Delete a version, one file of it, or a whole project.

    Without VERSION or FILE, all versions of PROJECT are shown, and deleted once you have typed the
    project's name. INDEX is a registry and a namespace in it, such as ghcr.io/acme, or the URL of
    an index on a server. Without credentials in options or variables, those of `docker login`,
    `podman login` or ~/.netrc are used.
    """
    from pyoci_flask.cli.change.delete import delete_project
    from pyoci_flask.cli.screen import Screen

    begin(verbose=verbose)
    place = place_of(index, username, stdin=password_stdin)
    screen = Screen(*place.secrets)
    with screen.failing():
        if what is None:
            done = delete_project(screen, place, project, blobs=blobs, confirmed=yes)
            sys.exit(0 if done else 1)
        screen.say(place.open().delete(project, what, blobs=blobs))
