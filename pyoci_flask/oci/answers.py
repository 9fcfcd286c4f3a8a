"""What a registry's response means: the only place where a status becomes an exception."""

from dataclasses import dataclass

from pyoci_flask.common.redaction import shortened
from pyoci_flask.errors import (
    AuthenticationRequiredError,
    DeniedError,
    PayloadTooLargeError,
    PyOCIError,
    RateLimitedError,
    RegistryError,
    RegistryTimeoutError,
    RegistryUnreachableError,
    TransferBrokenError,
    UnsupportedError,
)
from pyoci_flask.oci.model import MalformedDocumentError, parse_object
from pyoci_flask.oci.peculiarities import (
    CHERRYPY_MARK,
    CHERRYPY_PAGE,
    IMMUTABLE_TAG,
    IMMUTABLE_TAG_WORDS,
    MISSING_CONTENT,
    MISSING_PART,
    MISSING_REPOSITORY,
    STILL_TAGGED,
    codes,
)
from pyoci_flask.transport.failures import LATER, PROXY_LOGIN, SLOW_DOWN
from pyoci_flask.transport.reply import Reply
from pyoci_flask.transport.session import is_rate_limited, retry_after

ODD_ANSWER = "Check the address of the registry, and the proxy in front of it"
"""Advice for an answer that no registry sends."""
ERROR_LIMIT = 64 * 1024
"""Bytes of an error body that are read."""

_PAGE_QUOTED = 60
_PAGE_SEARCHED = 4096

_NO_REPOSITORY = codes(MISSING_REPOSITORY)
_NO_CONTENT = _NO_REPOSITORY | codes(MISSING_CONTENT)
_MISSING_PART = codes(MISSING_PART)
_IMMUTABLE_TAG = codes(IMMUTABLE_TAG)


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """The first error of an OCI error object (distribution-spec, Error Codes), if there was one."""

    code: str = ""
    message: str = ""
    page: str = ""
    """The title or first words of a body that is not an error object, perhaps a proxy's."""

    @classmethod
    def read(cls, reply: Reply) -> "ErrorBody":
        """Read the body and close the reply. A body that is not an error object has no code."""
        with reply:
            try:
                document = reply.read(ERROR_LIMIT)
            except (RegistryError, RegistryTimeoutError, TransferBrokenError):
                return cls()
        try:
            errors = parse_object(document).get("errors")
        except MalformedDocumentError:
            words = _first_words(document)
            if reply.status == 404 and CHERRYPY_MARK in document:
                return cls(CHERRYPY_PAGE, words)
            return cls(page=words)
        if not isinstance(errors, list) or not errors or not isinstance(errors[0], dict):
            return cls()
        return cls(_printable(errors[0].get("code")), _printable(errors[0].get("message")))

    @property
    def no_repository(self) -> bool:
        """Whether a 404 with this body says that the repository does not exist."""
        return self.code in _NO_REPOSITORY

    @property
    def no_content(self) -> bool:
        """Whether a 404 with this body says that a manifest or blob does not exist.

        If its repository does not exist, neither does the content.
        """
        return self.code in _NO_CONTENT

    @property
    def missing_part(self) -> bool:
        """Whether a manifest was refused because the registry lacks content that it refers to."""
        return self.code in _MISSING_PART

    @property
    def immutable_tag(self) -> bool:
        """Whether a manifest was refused because its tag exists and cannot be changed."""
        words = IMMUTABLE_TAG_WORDS.values()
        return self.code in _IMMUTABLE_TAG or any(one in self.message for one in words)

    @property
    def still_tagged(self) -> bool:
        """Whether a deletion was refused because a tag or an index refers to the manifest."""
        return self.code.startswith(tuple(STILL_TAGGED.values()))

    def __str__(self) -> str:
        words = " ".join(part for part in (self.code, self.message) if part)
        return f": {words}" if words else ""


def refusal(
    reply: Reply, doing: str, detail: ErrorBody, *, authenticated: bool, asks: bool
) -> PyOCIError:
    """Return the error for an unexpected response.

    `doing` completes the sentence "while ...". `detail` is the body, of which only the code and
    message are quoted, or the page if there is no code. `asks` says whether the registry asks for
    credentials at all.
    """
    host = reply.request.host
    text = f"{host} answered {reply.status}{detail} while {doing}"
    match reply.status:
        case 403 if not authenticated and not asks:
            return DeniedError(
                f"{host} denied the request (403{detail}) while {doing}; it does not ask for "
                "credentials",
                reply.status,
                advice=f"Ask the administrator of {host} who may do this; credentials do not help",
            )
        case 401 | 403 if not authenticated:
            return AuthenticationRequiredError(
                f"{host} asks for credentials while {doing}, and none were sent{detail}",
                advice=f"Sign in with your user name and a token for {host}",
            )
        case 401:
            return DeniedError(
                f"{host} denied the request (401{detail}) while {doing}: check that these "
                "credentials are valid and allow this there",
                reply.status,
                advice=f"Check your user name and token for {host}: is the token complete and "
                "still valid?",
            )
        case 403:
            return DeniedError(
                f"{host} denied the request (403{detail}) while {doing}: check that these "
                "credentials are valid and allow this there",
                reply.status,
                advice=f"Use a token that permits this, or ask the administrator of {host} for "
                "the permission",
            )
        case 404 if not detail.code:
            shown = f" ({detail.page!r})" if detail.page else ""
            return RegistryError(
                f"{host} answered 404{shown} while {doing}, but not with a registry's error "
                "document. A proxy or load balancer in front of the registry probably sent this "
                "response, which does not mean that anything is missing. Check where the proxy "
                "sends /v2/",
                advice="Check the address of the registry, and where a proxy in front "
                f"of {host} sends /v2/",
            )
        case 405:
            return UnsupportedError(
                f"{host} does not support {doing} ({reply.status}{detail})",
                advice=f"Do this in {host} itself, or use a registry that supports it",
            )
        case 407:
            return RegistryUnreachableError(
                f"the proxy could not connect to {host}: it requires a user name and a "
                "password (407)",
                advice=PROXY_LOGIN,
            )
        case 400 if reply.request.url.startswith("http:") and "HTTPS" in detail.page:
            return RegistryError(
                f"{text}: it accepts only TLS connections ({detail.page!r})",
                advice=f"Use TLS: write the registry as https://{host} or {host}",
            )
        case 413:
            return PayloadTooLargeError(
                f"{text}: the limit is the registry's, or that of a proxy in front of it "
                "(client_max_body_size in nginx). An administrator there can raise it; this server "
                "accepts more",
                advice=f"Make the file smaller, or ask the administrator of {host} to raise its "
                "limit for one upload",
            )
        case _ if is_rate_limited(reply):
            return RateLimitedError(text, retry_after(reply), reply.status, advice=SLOW_DOWN)
        case _:
            return RegistryError(text, advice=LATER.format(host=host))


def _printable(value: object) -> str:
    if not isinstance(value, str):
        return ""
    return "".join(char if char.isprintable() else " " for char in shortened(value))


def _first_words(document: bytes) -> str:
    """Return the title of an HTML page, or the first line of other text."""
    text = document[:_PAGE_SEARCHED].decode("utf-8", "replace").strip()
    title = text.lower().find("<title>")
    if title >= 0:
        text = text[title + len("<title>") :].partition("<")[0].strip()
    elif text.startswith("<"):
        return ""
    return _printable(text.partition("\n")[0])[:_PAGE_QUOTED].strip()
