"""What commands write, on a terminal and elsewhere."""

import contextlib
import io
import os
import pty
import re
import sys
from collections.abc import Iterator

import click
import pytest

from pyoci_flask.cli.screen import Mark, Screen
from pyoci_flask.errors import RegistryError


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


@contextlib.contextmanager
def _terminal() -> Iterator[list[str]]:
    """A terminal as standard output; at the end of the block the list has what was written."""
    reading, writing = pty.openpty()
    written: list[str] = []
    output = os.fdopen(writing, "w", encoding="utf-8")
    with output, contextlib.redirect_stdout(output):
        yield written
    # What was written stays there to be read; after it, reading is an error.
    data = b""
    with open(reading, "rb", buffering=0) as terminal, contextlib.suppress(OSError):  # noqa: PTH123
        while more := terminal.read(65536):
            data += more
    written.append(data.decode())


def test_on_a_terminal_there_are_ticks_colours_and_folded_lines() -> None:
    with _terminal() as written:
        screen = Screen()
        screen.mark(Mark.OK, "pull", "allowed")
        screen.mark(Mark.FAILED, "push", "denied", "a hint that is longer than the line " * 3)
    assert "✓" in written[0]
    assert "✗" in written[0]
    assert "\x1b[32m" in written[0]
    plain = re.sub(r"\x1b\[[0-9;]*m", "", written[0])
    assert max(len(line) for line in plain.splitlines()) == 60
    assert {line[:13] for line in plain.splitlines()[2:]} == {" " * 13}


def test_on_a_terminal_something_under_way_is_shown() -> None:
    with _terminal() as written, Screen().working("pulling"):
        pass
    assert "pulling" in written[0]


def test_elsewhere_there_are_words_and_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    with screen.working("pulling"):
        screen.mark(Mark.NOTE, "catalog", "long " * 50, "do this")
    assert capsys.readouterr().out == f"note catalog    {'long ' * 50}\n{'':>16}do this\n"


def test_text_of_others_neither_steers_the_terminal_nor_forges_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Screen().say("a\x1b[2J\nok   push [bold red]x[/] :smile: \u202e")
    assert capsys.readouterr().out == "a\\x1b[2J\\nok   push [bold red]x[/] :smile: \\u202e\n"


def test_secrets_are_taken_out_in_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    Screen("s3cret-word", "abc").say(
        "s3cret-word, Basic YWxpY2U6czNjcmV0LXdvcmQ=, https://alice:pw@example.com/ and abc"
    )
    written = capsys.readouterr().out
    for secret in ("s3cret-word", "YWxpY2U6czNjcmV0LXdvcmQ", "alice:pw"):
        assert secret not in written
    assert written.endswith("and abc\n")


def test_a_name_of_another_language_does_not_end_the_program_under_ascii(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    Screen().say("größer")
    sys.stdout.flush()
    assert raw.getvalue() == b"gr\\xf6\\xdfer\n"


def test_an_error_that_ends_a_command_says_first_what_to_do_and_no_secret() -> None:
    error = RegistryError("the registry refused hunter2-x", advice="Check the address")
    with pytest.raises(click.ClickException) as ended, Screen("hunter2-x").failing():
        raise error
    assert ended.value.message.startswith("Check the address. The registry refused ")
    assert "hunter2" not in ended.value.message
