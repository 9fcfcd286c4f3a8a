"""The errors that concern an index, a project or a single file."""

from pyoci_flask.errors import PyOCIError


class CopyError(PyOCIError):
    """A project or file cannot be copied; trying again would not help."""


class PassingError(CopyError):
    """A retry might succeed. `retry_after` is how many seconds the server asked to wait."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnusableError(CopyError):
    """An index requires other credentials or is not secure; this concerns all its projects."""


class ElsewhereError(CopyError):
    """An index redirects to another one for a project that it does not have."""


class ExistsError(CopyError):
    """The target already has a file of that name."""


class StoppedError(CopyError):
    """The user stopped the program."""
