"""The steps of a check as they are written, and whether all of them went well."""

from collections.abc import Iterator
from contextlib import contextmanager

from pyoci_flask.cli.check.hints import hint_for
from pyoci_flask.cli.screen import Mark, Screen
from pyoci_flask.errors import PyOCIError
from pyoci_flask.oci.reference import Registry


class StopError(Exception):
    """What follows cannot be tried after this step failed; its reason is written already."""


class Report:
    """Writes one line for each step."""

    def __init__(self, screen: Screen, registry: Registry) -> None:
        """Write to `screen`; `registry` decides which hints fit."""
        self.screen = screen
        self.passed = True
        """Whether no step has failed so far."""
        self._registry = registry

    def ok(self, step: str, text: str) -> None:
        """Write what went well."""
        self.screen.mark(Mark.OK, step, text)

    def note(self, step: str, text: str, hint: str | None = None) -> None:
        """Write what is not there, or was not tried, and need not be."""
        self.screen.mark(Mark.NOTE, step, text, hint)

    def failed(self, step: str, text: str, hint: str | None = None) -> None:
        """Write what went wrong, and what to do."""
        self.passed = False
        self.screen.mark(Mark.FAILED, step, text, hint)

    @contextmanager
    def step(self, name: str, repository: str = "") -> Iterator[None]:
        """Write the reason, with a hint, where the block raises a foreseen error.

        `repository` is the name of the one that the block writes to.

        Raises:
            StopError: it did.
        """
        try:
            with self.screen.working(name):
                yield
        except PyOCIError as error:
            self.failed(name, str(error), hint_for(error, name, self._registry, repository))
            raise StopError from error
