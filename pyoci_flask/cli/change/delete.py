"""Delete a whole project, after a confirmation; a version or a file without one."""

import sys
from collections.abc import Sequence

import click
from rich.filesize import decimal

from pyoci_flask.cli.change.index import ChangeError, Index, Listed
from pyoci_flask.cli.change.place import Place
from pyoci_flask.cli.screen import Screen, few
from pyoci_flask.errors import ConfigurationError, PyOCIError
from pyoci_flask.index.names import ProjectName

_GIVE_UP = frozenset({401, 403, 405, 429})
"""Statuses that would be the same for every version."""
_MOST_FAILURES = 3
"""Versions in a row that may fail before the command stops."""


def delete_project(
    screen: Screen, place: Place, project: ProjectName, *, blobs: bool, confirmed: bool
) -> bool:
    """Show the versions of a project and delete them all; return whether all are deleted.

    Unless it is `confirmed`, the user has to type the project's name.

    Raises:
        ChangeError: the project does not exist or cannot be listed.
        ConfigurationError: a setting cannot be used, or the project's name was not typed, or there
            is no terminal to type it.
        PyOCIError: the index cannot be reached.
        click.Abort: the user ended the program.
    """
    index = place.open()
    versions = index.versions(project)
    if not versions:
        screen.say(f"{project.normalized} has no versions, so there is nothing to delete")
        return True
    _show(screen, place, project, versions)
    if not confirmed:
        _ask(project)
    failed = _delete(screen, index, project, versions, blobs=blobs)
    if failed:
        done = len(versions) - len(failed)
        screen.say("fix the cause, then run the same command again to delete what is left")
        screen.say(f"deleted {done} of {_count(len(versions), 'version')}; left: {few(failed)}")
        return False
    screen.say(
        f"deleted {project.normalized} with {_count(len(versions), 'version')}; the registry may "
        "keep an empty repository, which you can remove in its own interface"
    )
    return True


def _show(screen: Screen, place: Place, project: ProjectName, versions: Sequence[Listed]) -> None:
    """Show each version with its files and their sizes."""
    sizes = [size or 0 for one in versions for size in one.files.values()]
    screen.say(
        f"{project.normalized} in {place.text} has {_count(len(versions), 'version')} and "
        f"{_count(len(sizes), 'file')} ({decimal(sum(sizes))}):",
        "bold",
    )
    for one in versions:
        files = [
            f"{name} ({'unknown size' if size is None else decimal(size)})"
            for name, size in one.files.items()
        ]
        screen.say(f"  {one.version}: {', '.join(files) or 'its files are not listed'}")


def _ask(project: ProjectName) -> None:
    if not sys.stdin.isatty():
        raise ConfigurationError(
            f"add --yes to delete the whole project {project.normalized}: there is no terminal on "
            "which to ask for a confirmation, and nothing was deleted"
        )
    typed = click.prompt(
        f"This cannot be undone. Type {project.normalized} to delete all of it",
        default="",
        show_default=False,
        err=True,
    )
    if typed.strip() not in {project.text, project.normalized}:
        raise ConfigurationError(
            "nothing was deleted, because you typed something other than the "
            "project's name: run the command again"
        )


def _delete(
    screen: Screen,
    index: Index,
    project: ProjectName,
    versions: Sequence[Listed],
    *,
    blobs: bool,
) -> list[str]:
    """Delete the versions one by one; return those that are left."""
    failed: list[str] = []
    in_a_row = 0
    for number, one in enumerate(versions):
        try:
            screen.say(index.delete(project, one.version, blobs=blobs))
        except PyOCIError as error:
            status = error.status if isinstance(error, ChangeError) else 0
            if status == 404:
                screen.say(f"{project.normalized} {one.version} was deleted in the meantime")
                continue
            screen.say(f"{error.text} ({project.normalized} {one.version} is not deleted)", "red")
            failed.append(one.version)
            in_a_row += 1
            if status in _GIVE_UP or in_a_row == _MOST_FAILURES:
                return [*failed, *(rest.version for rest in versions[number + 1 :])]
        else:
            in_a_row = 0
    return failed


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
