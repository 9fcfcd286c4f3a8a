"""The indexes that a project's own files name with the fixed address of `run`."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from pyoci_flask.cli.run.addresses import HOST
from pyoci_flask.settings import PinnedIndex

_DOCUMENTS = ("pyproject.toml", "uv.toml", "pdm.toml", "poetry.toml", "Pipfile")
_REQUIREMENTS = "requirements*.txt"
_LIMIT = 1024 * 1024
_START = f"http://{HOST}/"
_URL = re.compile(rf"{re.escape(_START)}\S{{1,500}}")


def named_indexes(folder: Path) -> list[PinnedIndex]:
    """Return the indexes that the files of a project in `folder` name, in the order of the files.

    A file that cannot be parsed names none; the tool that it belongs to reports it.
    """
    found: dict[PinnedIndex, None] = {}
    for text in _texts(folder):
        place = unquote(text.removeprefix(_START)).removesuffix("/").removesuffix("/+simple")
        try:
            found.setdefault(PinnedIndex.parse(place))
        except ValueError:
            continue
    return list(found)


def _texts(folder: Path) -> Iterator[str]:
    for name in _DOCUMENTS:
        try:
            yield from _strings(tomllib.loads(_read(folder / name)))
        except (tomllib.TOMLDecodeError, RecursionError):
            continue
    for path in sorted(folder.glob(_REQUIREMENTS)):
        yield from _URL.findall(_read(path))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        if value.startswith(_START):
            yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from _strings(member)
    elif isinstance(value, list):
        for member in value:
            yield from _strings(member)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LIMIT + 1)
    except OSError:
        return ""
    return "" if len(content) > _LIMIT else content.decode("utf-8", "replace")
