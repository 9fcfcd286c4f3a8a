#!/usr/bin/env python3
"""Find constructions in texts, comments and docstrings that are not plain English.

If there are any, print a line for each and exit with status 1. In Python files, only comments and
strings are checked, so names in code are free.
"""

import io
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_PLACES = (
    *("pyoci_flask", "templates", "docs", "tests", "scripts", "benchmarks", "deploy"),
    *(
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Makefile",
        "gunicorn.conf.py",
        "wsgi.py",
        "pyproject.toml",
    ),
)
_SUFFIXES = frozenset({".py", ".md", ".html", ".txt", ".toml", ".yaml", ".yml", ".j2", ""})
_INSTEAD = {
    "anew": "again",
    "beside": "besides, next to or at the same time as",
    "is told": "gets, or is called with",
    "are told": "get, or are called with",
    "held against": "compared with",
    "nobody": "no one, or say what is not done",
    "whoever": "anyone who, or name the person",
}
_ANY = "|".join(_INSTEAD).replace(" ", r"\s+")
_WORDS = re.compile(rf"\b({_ANY})\b(?!\()", re.IGNORECASE)
_DOCSTRING = re.compile(r"[rR]?\"\"\"(Give|Gives|Tell|Tells)\b")
_TEXT = frozenset(
    {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
)


def faults_in(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """Yield the line number of each fault, and what to write instead."""
    pieces = _prose(text) if path.suffix == ".py" else [(1, text)]
    for first, piece in pieces:
        for match in _WORDS.finditer(piece):
            word = " ".join(match[1].lower().split())
            yield _line(first, piece, match.start()), f"{word!r}: write {_INSTEAD[word]}"
        docstring = _DOCSTRING.match(piece) if path.suffix == ".py" else None
        if docstring is not None:
            yield first, f'"""{docstring[1]}: begin with Return, Raise, Read or another plain verb'


def _prose(code: str) -> Iterator[tuple[int, str]]:
    """Yield comments and strings with the number of their first line."""
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type in _TEXT:
            yield token.start[0], token.string


def _line(first: int, piece: str, position: int) -> int:
    return first + piece.count("\n", 0, position)


def _files(places: Sequence[str]) -> Iterator[Path]:
    for place in places:
        path = _ROOT / place
        if path.is_dir():
            yield from sorted(one for one in path.rglob("*") if one.is_file())
        else:
            yield path


def main(places: Sequence[str]) -> int:
    """Check the files at `places`, or all of the project; return the exit status."""
    found = 0
    for path in _files(places or _PLACES):
        # This file and its test contain the words.
        if path.suffix not in _SUFFIXES or "check_words" in path.name:
            continue
        for line, fault in faults_in(path, path.read_text(encoding="utf-8")):
            print(f"{path.relative_to(_ROOT)}:{line}: {fault}")  # noqa: T201 - it is a command
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
