"""Every error that a person meets says first what to do: a check of the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci_flask import errors
from pyoci_flask.errors import advised

PACKAGE = Path(errors.__file__).parent
MET_BY_PEOPLE = {
    errors.AlreadyExistsError,
    errors.AuthenticationRequiredError,
    errors.DeniedError,
    errors.EgressError,
    errors.NotFoundError,
    errors.OversizedError,
    errors.PayloadTooLargeError,
    errors.RateLimitedError,
    errors.RegistryError,
    errors.RegistryTimeoutError,
    errors.RegistryUnreachableError,
    errors.SpoolFullError,
    errors.TransferBrokenError,
    errors.UnsupportedError,
}
LONGEST = 160
"""Characters: two lines of a terminal, and less than twine shows of a status line."""


def _raised() -> Iterator[tuple[str, ast.Call]]:
    for layer in ("transport", "oci", "index", "web"):
        for file in sorted((PACKAGE / layer).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    yield f"{file.relative_to(PACKAGE)}:{node.lineno}", node


def test_each_error_that_a_person_meets_says_what_to_do() -> None:
    names = {one.__name__ for one in MET_BY_PEOPLE}
    made = [
        (where, {keyword.arg for keyword in call.keywords})
        for where, call in _raised()
        if isinstance(call.func, ast.Name) and call.func.id in names
    ]

    assert len(made) > 50
    assert [where for where, named in made if "advice" not in named] == []


def test_advice_is_one_short_sentence_without_its_full_stop() -> None:
    texts = [
        (where, "".join(_constants(keyword.value)))
        for where, call in _raised()
        for keyword in call.keywords
        if keyword.arg == "advice"
    ]

    assert len(texts) > 80
    for where, text in texts:
        if text:
            assert text[:1].isupper(), where
            assert not text.endswith("."), where
            assert ". " not in text, where
            assert len(text) <= LONGEST, where


def _constants(node: ast.expr) -> Iterator[str]:
    """Yield the constant parts of a text, with a short name in the place of each value."""
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.JoinedStr):
        for part in node.values:
            yield from _constants(part) if isinstance(part, ast.Constant) else ("ghcr.io",)


@pytest.mark.parametrize(
    ("advice", "message", "whole"),
    [
        ("", "the file is gone", "the file is gone"),
        ("Look again", "the file is gone", "Look again. The file is gone"),
        ("Look again", "a.whl is gone", "Look again. a.whl is gone"),
        ("Is it there?", "ghcr.io says no", "Is it there? ghcr.io says no"),
    ],
)
def test_what_to_do_comes_first_and_names_keep_their_spelling(
    advice: str, message: str, whole: str
) -> None:
    assert advised(advice, message) == whole
    error = errors.NotFoundError(message, advice=advice)
    assert (str(error), error.text) == (message, whole)
