"""The check of words finds what is not plain English, and only in text that people read."""

from pathlib import Path

import pytest

from scripts.check_words import faults_in, main


def _faults(text: str, name: str = "module.py") -> list[tuple[int, str]]:
    return [(line, fault.partition(":")[0]) for line, fault in faults_in(Path(name), text)]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("# It is made anew.\n", "'anew'"),
        ('x = f"{x} beside the {y}"\n', "'beside'"),
        ('"""Is told the bytes."""\n', "'is told'"),
        ('"""Compare what is held\nagainst it."""\n', "'held against'"),
        ('raise ValueError("nobody knows")\n', "'nobody'"),
        ("# Whoever comes\n", "'whoever'"),
    ],
)
def test_words_are_found_in_comments_and_strings(text: str, word: str) -> None:
    assert [fault for _, fault in _faults(text)] == [word]


@pytest.mark.parametrize("verb", ["Give", "Gives", "Tell", "Tells"])
def test_docstrings_begin_with_a_plain_verb(verb: str) -> None:
    [(line, fault)] = _faults(f'def f():\n    """{verb} it."""\n')
    assert (line, fault) == (2, f'"""{verb}')


def test_names_in_code_and_plain_words_are_free() -> None:
    assert _faults("with beside(nobody) as anew:\n    tell(anew)  # besides, a cell\n") == []
    assert _faults('"""Tellers, and Given."""\n') == []


def test_the_line_is_that_of_the_word() -> None:
    assert _faults("fine\n\nmade anew\n", "page.md") == [(3, "'anew'")]


def test_a_plain_file_ends_with_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scripts/run"]) == 0
    assert capsys.readouterr().out == ""
