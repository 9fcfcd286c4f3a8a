"""The commands `yank` and `delete`, and their options."""

import sys
from collections.abc import Callable
from typing import Any

import click

from pyoci_flask.cli import arguments
from pyoci_flask.cli.options import begin, login_of
from pyoci_flask.index.names import ProjectName
from pyoci_flask.settings import PinnedIndex


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments and options that both commands have."""
    for decorate in (
        click.option("--verbose", "-v", is_flag=True, help="Log each call to standard error."),
        click.option(
            "--password-stdin",
            is_flag=True,
            help="Read the password, or token, from standard input.  [or: env var: PYOCI_PASSWORD]",
        ),
        click.option("--username", envvar="PYOCI_USERNAME", show_envvar=True, help="User name."),
        click.argument("project", callback=arguments.project),
        click.argument("index", metavar="REGISTRY/NAMESPACE", callback=arguments.registry_index),
    ):
        command = decorate(command)
    return command


def _version_or_file(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    """Refuse a path, which could lead to another project. The rest is checked with the project."""
    if text is not None and (not text or "/" in text):
        raise click.BadParameter("must be a version such as 1.0, or the name of a file")
    return text


@click.command("yank")
@_common
@click.argument("what", metavar="VERSION|FILE", callback=_version_or_file)
@click.option(
    "--reason", default="", metavar="TEXT", help="Why; installers show it to their users."
)
@click.option("--undo", is_flag=True, help="Take the yank back.")
def yank(
    index: PinnedIndex,
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

    Installers skip what is yanked unless a requirement pins exactly that version. The change is
    made in the registry itself, without a server. Without credentials in options or variables,
    those of `docker login`, `podman login` or ~/.netrc are used.
    """
    if undo and reason:
        raise click.UsageError("use --reason or --undo: a yank that is taken back has no reason")
    from pyoci_flask.cli.change.errors import advised
    from pyoci_flask.cli.change.index import Index
    from pyoci_flask.cli.screen import Screen

    begin(verbose=verbose)
    login = login_of(index, username, stdin=password_stdin)
    screen = Screen(*login.secrets)
    changed = Index(index, login.credentials)
    with screen.failing(), advised(index, login):
        screen.say(changed.yank(project, what, None if undo else reason))


@click.command("delete")
@_common
@click.argument("what", metavar="[VERSION|FILE]", required=False, callback=_version_or_file)
@click.option("--blobs", is_flag=True, help="Also delete the bytes that nothing else refers to.")
@click.option("--yes", is_flag=True, help="Delete a whole project without asking.")
def delete(
    index: PinnedIndex,
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
    project's name. The change is made in the registry itself, without a server. Without credentials
    in options or variables, those of `docker login`, `podman login` or ~/.netrc are used.
    """
    from pyoci_flask.cli.change.delete import delete_project
    from pyoci_flask.cli.change.errors import advised
    from pyoci_flask.cli.change.index import Index
    from pyoci_flask.cli.screen import Screen

    begin(verbose=verbose)
    login = login_of(index, username, stdin=password_stdin)
    screen = Screen(*login.secrets)
    with screen.failing():
        if what is None:
            done = delete_project(screen, index, login, project, blobs=blobs, confirmed=yes)
            sys.exit(0 if done else 1)
        changed = Index(index, login.credentials)
        with advised(index, login):
            screen.say(changed.delete(project, what, blobs=blobs))
