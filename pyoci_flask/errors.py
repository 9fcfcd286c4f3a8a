"""The exceptions. Each is raised once, where the fault is understood.

The text of an exception is for the person who sent the request. `advice` says what to do, and the
message says what happened. The table in `web/error_answers.py` maps exceptions to HTTP.
"""

from collections.abc import Sequence

_BEFORE_A_NAME = frozenset({"a", "an", "no", "nothing", "the", "this"})


class PyOCIError(Exception):
    """Base of all errors that the program expects. `str` returns only what happened."""

    def __init__(self, message: str = "", *, advice: str = "") -> None:
        """Create an error. `advice` is a sentence without its full stop, or empty."""
        super().__init__(message)
        self.advice = advice

    @property
    def text(self) -> str:
        """What to do, and then what happened."""
        return advised(self.advice, str(self))


def advised(advice: str, message: str) -> str:
    """Return what to do and what happened as two sentences; only the latter without advice."""
    if not advice:
        return message
    # Names of hosts and files, with which most messages begin, keep their spelling.
    if message.partition(" ")[0] in _BEFORE_A_NAME:
        message = message[:1].upper() + message[1:]
    return f"{advice}{'' if advice.endswith('?') else '.'} {message}"


class ConfigurationError(PyOCIError):
    """A setting cannot be used; the text names the variable and the expected value."""


class LoginError(PyOCIError):
    """A login for a registry that the user has cannot be read; the text names file or helper."""


# What the client sent


class InvalidRequestError(PyOCIError):
    """A name, filename, form field or header is not valid."""


class GoneError(PyOCIError):
    """The request is for a part of the legacy API that indexes no longer serve."""


class PayloadTooLargeError(PyOCIError):
    """The upload exceeds `PYOCI_MAX_BODY`, or is too large for a manifest or for the registry."""


class ClientTimeoutError(PyOCIError):
    """The client stopped sending in the middle of its request."""


class RefusedError(PyOCIError):
    """This run of `pyoci-flask run` does not serve such a request."""


class CrossSiteError(PyOCIError):
    """A browser sent a state-changing request from another site's page."""


class PreconditionFailedError(PyOCIError):
    """The condition of the request (If-Match) is not met."""


class NotAcceptableError(PyOCIError):
    """None of the media types that the client accepts can be produced."""


# What the index contains


class NotFoundError(PyOCIError):
    """The project, version or file does not exist."""


class VersionNotFoundError(NotFoundError):
    """The project exists, but has no version `wanted`. `versions` are those that it has."""

    def __init__(
        self, message: str, wanted: str, versions: Sequence[str], *, advice: str = ""
    ) -> None:
        """Keep the versions, of which the error page names some."""
        super().__init__(message, advice=advice)
        self.wanted = wanted
        self.versions = versions


class AlreadyExistsError(PyOCIError):
    """The file already exists, or the registry does not allow tags to change."""


class BusyError(PyOCIError):
    """A resource was in use by other requests for too long; try again later."""


# How the registry responded


class AuthenticationRequiredError(PyOCIError):
    """The registry denied a request that had no credentials."""


class DeniedError(PyOCIError):
    """The registry denied a request that had credentials, or denied it without asking for any.

    `status` is the status that the registry returned, 401 or 403.
    """

    def __init__(self, message: str, status: int, *, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.status = status


class EgressError(PyOCIError):
    """The server is not allowed to connect to that host or address."""


class UnsupportedError(PyOCIError):
    """The registry does not support the operation; nothing was changed."""


class RateLimitedError(PyOCIError):
    """The registry received too many requests. `retry_after` is its Retry-After header, if any.

    `status` is the status that the registry returned: 429, or 503 with a Retry-After header.
    """

    def __init__(
        self, message: str, retry_after: str | None, status: int = 429, *, advice: str = ""
    ) -> None:
        super().__init__(message, advice=advice)
        self.retry_after = retry_after
        self.status = status


class RegistryError(PyOCIError):
    """The registry failed, or its response is not valid."""


class OversizedError(RegistryError):
    """The registry sent a document that is too large for this server."""


class RegistryUnreachableError(PyOCIError):
    """The registry cannot be reached."""


class RegistryTimeoutError(PyOCIError):
    """The registry did not respond in time."""


class TransferBrokenError(PyOCIError):
    """A blob ended early, or its bytes do not match its digest."""


# This server


class SpoolFullError(PyOCIError):
    """The spool folder cannot store the upload, usually because it is full; nothing was pushed."""
