"""The exception tree. Each is raised once, where the fault is understood.

The text of every exception is for the person at the other end: it says what is wrong and,
where there is something to do, what. `web/errors.py` holds the one table to HTTP.
"""


class PyOCIError(Exception):
    """Base of every fault that the program foresees."""


class ConfigurationError(PyOCIError):
    """A setting has a value that cannot be used; names the variable and what was expected."""


# What the client sent


class InvalidRequestError(PyOCIError):
    """A name, filename, form field or header cannot be what it claims to be."""


class GoneError(PyOCIError):
    """A part of the legacy API that no index serves any more."""


class PayloadTooLargeError(PyOCIError):
    """The upload is over `PYOCI_MAX_BODY`, too large for a manifest, or for the registry."""


class ClientTimeoutError(PyOCIError):
    """The client stopped sending in the middle of its request."""


class CrossSiteError(PyOCIError):
    """A browser sent a changing request from another site's page."""


class PreconditionFailedError(PyOCIError):
    """What the client makes its request depend on (If-Match) is not so."""


class NotAcceptableError(PyOCIError):
    """None of the media types that the client accepts can be produced."""


# What the index holds


class NotFoundError(PyOCIError):
    """The project, version or file does not exist."""


class AlreadyExistsError(PyOCIError):
    """The file exists, or the registry keeps its tags immutable."""


class BusyError(PyOCIError):
    """Another writer holds the version and did not let go in time; try again."""


# What the registry answered


class AuthenticationRequiredError(PyOCIError):
    """The registry denied the request and no credentials had been given."""


class DeniedError(PyOCIError):
    """The registry denied the request in spite of the credentials given, or asks for none.

    `status` is the registry's own, 401 or 403.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class EgressError(PyOCIError):
    """The server is not allowed to connect to that host or address."""


class UnsupportedError(PyOCIError):
    """The registry has no such operation; nothing was changed."""


class RateLimitedError(PyOCIError):
    """The registry asks to slow down. `retry_after` is its Retry-After header, if any.

    `status` is the registry's own, 429, or 503 with a Retry-After.
    """

    def __init__(self, message: str, retry_after: str | None, status: int = 429) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status = status


class RegistryError(PyOCIError):
    """The registry answered nonsense or failed."""


class OversizedError(RegistryError):
    """The registry sent a larger document than this server reads."""


class RegistryUnreachableError(PyOCIError):
    """No connection to the registry."""


class RegistryTimeoutError(PyOCIError):
    """The registry did not answer in time."""


class TransferBrokenError(PyOCIError):
    """The bytes of a blob ended early or were not those that its digest names."""


# This server


class SpoolFullError(PyOCIError):
    """The spool folder cannot take the upload, most often for want of room; nothing was pushed."""
