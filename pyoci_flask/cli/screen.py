"""The output of the commands: colours on a terminal, plain lines elsewhere, never a secret."""

import contextlib
import io
import sys
from collections.abc import Iterator, Sequence
from enum import Enum

import click
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from pyoci_flask.common.redaction import REDACTED, redact
from pyoci_flask.errors import PyOCIError
from pyoci_flask.logs import one_line

_SHORTEST_SECRET = 4
"""Characters. Shorter secrets are not redacted, because they also occur in ordinary words."""
_STEP_WIDTH = 10
FEW = 5
"""Number of items that are shown of a long list."""


def few(texts: Sequence[str], most: int = FEW) -> str:
    """Return the first `most` texts, separated by commas, and dots if there are more."""
    return ", ".join(texts[:most]) + (", ..." if len(texts) > most else "")


class Mark(Enum):
    """The result of a step: its sign on a terminal, its word elsewhere, and its colour."""

    OK = ("✓", "ok  ", "green")
    NOTE = ("–", "note", "yellow")  # noqa: RUF001 - the dash is intended
    FAILED = ("✗", "FAIL", "red")


class Screen:
    """Writes to standard output; no text is trusted."""

    def __init__(self, *secrets: str) -> None:
        """Replace `secrets` in all output, because a server might quote what it received."""
        self._secrets = tuple(one for one in secrets if len(one) >= _SHORTEST_SECRET)
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A filename that LANG=C cannot encode must not end the program.
            sys.stdout.reconfigure(errors="backslashreplace")
        self.console = Console(highlight=False, markup=False, emoji=False)

    def say(self, text: str = "", style: str = "") -> None:
        """Write one line."""
        self._write(Text(self.clean(text), style))

    def mark(self, mark: Mark, step: str, text: str, hint: str | None = None) -> None:
        """Write the result of a step and, below it, a hint about what to do."""
        sign, word, colour = mark.value
        utf8 = self.console.encoding.startswith("utf")
        line = Text(sign if self.console.is_terminal and utf8 else word, colour)
        line.append(f" {step:<{_STEP_WIDTH}} ", "bold")
        indent = len(line)
        line.append(self.clean(text), "")
        self._write(line)
        if hint is not None:
            self._write(Text(self.clean(hint), "yellow"), indent)

    @contextlib.contextmanager
    def working(self, step: str) -> Iterator[None]:
        """Show on a terminal that a step is running."""
        shown = self.console.status(step) if self.console.is_terminal else contextlib.nullcontext()
        with shown:
            yield

    @contextlib.contextmanager
    def failing(self) -> Iterator[None]:
        """Turn an expected error of the block into one line without secrets, and exit status 1."""
        try:
            yield
        except PyOCIError as error:
            raise click.ClickException(self.clean(error.text)) from error

    def clean(self, text: str) -> str:
        """Return `text` without secrets, line breaks and control sequences."""
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return one_line(redact(text))

    def _write(self, line: Text, indent: int = 0) -> None:
        if self.console.is_terminal:
            self.console.print(Padding(line, (0, 0, 0, indent)))
        else:
            # In a file or a pipe, long lines are not wrapped.
            self.console.print(Text(" " * indent) + line, soft_wrap=True)
