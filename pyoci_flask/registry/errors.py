"""The errors of the distribution specification, section Error Codes."""

import json
from collections.abc import Mapping

from pyoci_flask.common.redaction import field
from pyoci_flask.registry.call import Answer


class DistributionError(Exception):
    """An error response: an HTTP status, a code of the specification and a readable message."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        detail: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail
        self.headers = dict(headers or {})

    def answer(self) -> Answer:
        """Return the response in the form that the specification defines."""
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.detail is not None:
            error["detail"] = self.detail
        return Answer(
            self.status,
            {"Content-Type": "application/json", **self.headers},
            json.dumps({"errors": [error]}).encode(),
        )


def name_unknown(name: str) -> DistributionError:
    """Return the error for a repository to which nothing has been pushed."""
    return DistributionError(404, "NAME_UNKNOWN", "no such repository", {"name": name})


def digest_invalid(message: str) -> DistributionError:
    """Return the error for a digest that is malformed or does not match the content."""
    return DistributionError(400, "DIGEST_INVALID", message)


def size_invalid(message: str) -> DistributionError:
    """Return the error for a body of the wrong length."""
    return DistributionError(400, "SIZE_INVALID", message)


def manifest_invalid(message: str, status: int = 400) -> DistributionError:
    """Return the error for a document that is not a manifest."""
    return DistributionError(status, "MANIFEST_INVALID", message)


def manifest_unknown(reference: str) -> DistributionError:
    """Return the error for a tag or digest of a manifest that does not exist."""
    return DistributionError(
        404, "MANIFEST_UNKNOWN", "no such manifest", {"reference": field(reference)}
    )


def blob_unknown(digest: str) -> DistributionError:
    """Return the error for the digest of a blob that does not exist."""
    return DistributionError(404, "BLOB_UNKNOWN", "no such blob", {"digest": digest})


def blob_upload_unknown() -> DistributionError:
    """Return the error for an upload that was never begun or has ended."""
    return DistributionError(404, "BLOB_UPLOAD_UNKNOWN", "no such upload")


def unsupported(message: str, status: int = 405) -> DistributionError:
    """Return the error for something that this registry does not support."""
    return DistributionError(status, "UNSUPPORTED", message)


def denied(message: str) -> DistributionError:
    """Return the error for a request that is not allowed."""
    return DistributionError(403, "DENIED", message)


def unforeseen(message: str, status: int = 500) -> DistributionError:
    """Return an internal error, for which the specification has no code."""
    return DistributionError(status, "UNKNOWN", message)
