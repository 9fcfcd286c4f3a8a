"""What goes wrong, in the words of the distribution specification (section Error Codes)."""

import json
from collections.abc import Mapping

from werkzeug.wrappers import Response

from pyoci_flask.common.redaction import field


class RegistryError(Exception):
    """An answer that is an error: HTTP status, code of the specification, text for people."""

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

    def response(self) -> Response:
        """Return the error as the specification wants it to be written."""
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.detail is not None:
            error["detail"] = self.detail
        return Response(
            json.dumps({"errors": [error]}),
            status=self.status,
            mimetype="application/json",
            headers=self.headers,
        )


def name_invalid(name: str) -> RegistryError:
    """Return the answer to a name that the specification does not allow."""
    return RegistryError(400, "NAME_INVALID", "invalid repository name", {"name": field(name)})


def name_unknown(name: str) -> RegistryError:
    """Return the answer to a repository that nothing was pushed to."""
    return RegistryError(404, "NAME_UNKNOWN", "no such repository", {"name": name})


def digest_invalid(message: str) -> RegistryError:
    """Return the answer to a digest that is malformed or not the content's."""
    return RegistryError(400, "DIGEST_INVALID", message)


def size_invalid(message: str) -> RegistryError:
    """Return the answer to a body of another length than it should have."""
    return RegistryError(400, "SIZE_INVALID", message)


def manifest_invalid(message: str, status: int = 400) -> RegistryError:
    """Return the answer to a document that is not a manifest."""
    return RegistryError(status, "MANIFEST_INVALID", message)


def manifest_unknown(reference: str) -> RegistryError:
    """Return the answer to a tag or digest that names no manifest."""
    return RegistryError(
        404, "MANIFEST_UNKNOWN", "no such manifest", {"reference": field(reference)}
    )


def manifest_blob_unknown(digest: str) -> RegistryError:
    """Return the answer to a manifest whose parts are not there."""
    return RegistryError(
        400,
        "MANIFEST_BLOB_UNKNOWN",
        "the manifest refers to a blob or manifest that this repository does not have",
        {"digest": digest},
    )


def blob_unknown(digest: str) -> RegistryError:
    """Return the answer to a digest that names no blob."""
    return RegistryError(404, "BLOB_UNKNOWN", "no such blob", {"digest": digest})


def blob_upload_unknown() -> RegistryError:
    """Return the answer to an upload that was never begun, or is over."""
    return RegistryError(404, "BLOB_UPLOAD_UNKNOWN", "no such upload")


def unsupported(message: str, status: int = 405) -> RegistryError:
    """Return the answer to what this registry does not do."""
    return RegistryError(status, "UNSUPPORTED", message)


def denied(message: str) -> RegistryError:
    """Return the answer to a request that is not allowed."""
    return RegistryError(403, "DENIED", message)


def unforeseen(message: str, status: int = 500) -> RegistryError:
    """Return a fault of the server's own, for which the specification has no code."""
    return RegistryError(status, "UNKNOWN", message)
