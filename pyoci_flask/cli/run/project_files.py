"""The indexes that a project's own files name with the fixed address of `run`."""

import re
import tomllib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

from pyoci_flask.cli.run.addresses import HOST, WITH_FALLBACK
from pyoci_flask.common.files import read_bounded
from pyoci_flask.settings import PinnedIndex

_DOCUMENTS = ("pyproject.toml", "uv.toml", "pdm.toml", "poetry.toml", "Pipfile")
_REQUIREMENTS = "requirements*.txt"
_MOST_FILES = 50
_MOST_INDEXES = 20
_LIMIT = 256 * 1024
_MOST_DOTS = 1000
"""In one line. The time that tomllib needs for a dotted key is quadratic in its parts."""
_START = f"http://{HOST}/"
_COMMENT = re.compile(r"(^|\s)#.*")
_URL = re.compile(rf"{re.escape(_START)}[^\s\"'#]{{1,500}}")


def named_indexes(folder: Path) -> list[PinnedIndex]:
    """Return the indexes that the files of a project in `folder` name, in the order of the files.

    A file that is too large or cannot be parsed names none; the tool that it belongs to reports it.
    """
    found: dict[PinnedIndex, None] = {}
    for text in _texts(folder):
        place = unquote(text.removeprefix(_START))
        place = f"{place.rstrip('/')}/".removesuffix(f"/{WITH_FALLBACK}")
        try:
            found.setdefault(PinnedIndex.parse(place))
        except ValueError:
            continue
        if len(found) == _MOST_INDEXES:
            break
    return list(found)


def _texts(folder: Path) -> Iterator[str]:
    for name in _DOCUMENTS:
        text = _read(folder / name)
        if any(line.count(".") > _MOST_DOTS for line in text.splitlines()):
            continue
        try:
            yield from _strings(tomllib.loads(text))
        except (tomllib.TOMLDecodeError, RecursionError):
            continue
    for path in sorted(islice(folder.glob(_REQUIREMENTS), _MOST_FILES)):
        for line in _read(path).splitlines():
            yield from _URL.findall(_COMMENT.sub("", line))


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
    """Return the text of a file; empty if it names no index, or if there is no such file."""
    try:
        content = read_bounded(path, _LIMIT) or b""
    except (OSError, ValueError):
        return ""
    return content.decode("utf-8", "replace") if HOST.encode() in content else ""
