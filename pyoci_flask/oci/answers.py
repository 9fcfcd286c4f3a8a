"""What a registry's answer means: the one place where a status becomes an exception."""

from dataclasses import dataclass

from pyoci_flask.errors import (
    AuthenticationRequiredError,
    DeniedError,
    PyOCIError,
    RateLimitedError,
    RegistryError,
    RegistryTimeoutError,
    TransferBrokenError,
    UnsupportedError,
)
from pyoci_flask.oci.model import MalformedDocumentError, parse_object
from pyoci_flask.redaction import shortened
from pyoci_flask.transport.reply import Reply

ERROR_LIMIT = 64 * 1024
"""Bytes of an error body that are read."""


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """The first error of an OCI error object (distribution-spec, Error Codes), if there was one."""

    code: str = ""
    message: str = ""

    @classmethod
    def read(cls, reply: Reply) -> "ErrorBody":
        """Read the body, as far as it is an error object, and close the reply."""
        with reply:
            try:
                errors = parse_object(reply.read(ERROR_LIMIT)).get("errors")
            except (
                MalformedDocumentError,
                RegistryError,
                RegistryTimeoutError,
                TransferBrokenError,
            ):
                return cls()
        if not isinstance(errors, list) or not errors or not isinstance(errors[0], dict):
            return cls()
        return cls(_printable(errors[0].get("code")), _printable(errors[0].get("message")))

    def __str__(self) -> str:
        words = " ".join(part for part in (self.code, self.message) if part)
        return f": {words}" if words else ""


def refusal(
    reply: Reply, doing: str, *, authenticated: bool, error: ErrorBody | None = None
) -> PyOCIError:
    """Say what an answer that nobody expected means.

    `doing` completes the sentence "while ...". `error` is the body, if it was read before;
    otherwise it is read here. Only its code and message are quoted.
    """
    host = reply.url.split("/", 3)[2]
    detail = ErrorBody.read(reply) if error is None else error
    text = f"{host} answered {reply.status}{detail} while {doing}"
    match reply.status:
        case 401 | 403 if not authenticated:
            return AuthenticationRequiredError(
                f"{host} asks for credentials while {doing}, and none were sent{detail}"
            )
        case 401 | 403:
            return DeniedError(
                f"{host} denied the request ({reply.status}{detail}) while {doing}: check that "
                "these credentials are right and may do this there",
                reply.status,
            )
        case 405:
            return UnsupportedError(f"{host} does not support {doing} ({reply.status}{detail})")
        case 429:
            return RateLimitedError(text, _header_text(reply.headers.get("Retry-After")))
        case _:
            return RegistryError(text)


def _printable(value: object) -> str:
    if not isinstance(value, str):
        return ""
    return "".join(char if char.isprintable() else " " for char in shortened(value))


def _header_text(value: str | None) -> str | None:
    """Pass a header on only if it is one short line of printable ASCII."""
    if value is None or len(value) > 64 or not (value.isascii() and value.isprintable()):
        return None
    return value
