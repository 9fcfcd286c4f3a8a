"""What the commands write: colours and ticks on a terminal, plain lines elsewhere, no secrets."""

import contextlib
import io
import sys
from collections.abc import Iterator
from enum import Enum

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from pyoci_flask.common.redaction import REDACTED, redact
from pyoci_flask.logs import one_line

_SHORTEST_SECRET = 4
"""Characters. A shorter one stands in ordinary words too, and nobody could tell it apart."""
_STEP_WIDTH = 10


class Mark(Enum):
    """How a step went: the sign on a terminal, the word elsewhere, and the colour."""

    OK = ("✓", "ok  ", "green")
    NOTE = ("–", "note", "yellow")  # noqa: RUF001 - meant to be a dash
    FAILED = ("✗", "FAIL", "red")


class Screen:
    """Writes to standard output; every text is taken for hostile."""

    def __init__(self, *secrets: str) -> None:
        """Keep `secrets` out of whatever is written: a server may quote what it was sent."""
        self._secrets = tuple(one for one in secrets if len(one) >= _SHORTEST_SECRET)
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A filename of another language must not end the program under LANG=C.
            sys.stdout.reconfigure(errors="backslashreplace")
        self.console = Console(highlight=False, markup=False, emoji=False)

    @property
    def is_terminal(self) -> bool:
        """Whether somebody looks on: bars and ticks go to a terminal only."""
        return self.console.is_terminal

    def say(self, text: str = "", style: str = "") -> None:
        """Write one line."""
        self._write(Text(self.clean(text), style))

    def mark(self, mark: Mark, step: str, text: str, hint: str | None = None) -> None:
        """Write how a step went and, below it, what to do."""
        sign, word, colour = mark.value
        utf8 = self.console.encoding.startswith("utf")
        line = Text(sign if self.is_terminal and utf8 else word, colour)
        line.append(f" {step:<{_STEP_WIDTH}} ", "bold")
        indent = len(line)
        line.append(self.clean(text), "")
        self._write(line)
        if hint is not None:
            self._write(Text(self.clean(hint), "yellow"), indent)

    @contextlib.contextmanager
    def working(self, step: str) -> Iterator[None]:
        """Show on a terminal that something is under way."""
        if self.is_terminal:
            with self.console.status(step):
                yield
        else:
            yield

    def clean(self, text: str) -> str:
        """Take out secrets, and whatever would forge a line or steer a terminal."""
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return one_line(redact(text))

    def _write(self, line: Text, indent: int = 0) -> None:
        if self.is_terminal:
            self.console.print(Padding(line, (0, 0, 0, indent)))
        else:
            # In a file or a pipe a line stays one line, however long.
            self.console.print(Text(" " * indent) + line, soft_wrap=True)
