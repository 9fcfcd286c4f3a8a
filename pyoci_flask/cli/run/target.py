"""The target of a request to the server of `run` (RFC 9112, section 3.2).

It is parsed once, before anything else reads the request, so there are no two opinions on what it
names.
"""

import re
from dataclasses import dataclass

TARGET = "pyoci.run.target"
"""Key in the WSGI environ of the request's `Target`."""
HEADERS = "pyoci.run.headers"
"""Key in the WSGI environ of all headers as pairs, in the order in which they were sent."""

_FORM = re.compile(r"(?:(http://)([^/?#]*))?(/[^?#]*)?(?:\?([^#]*))?", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::([0-9]{0,5}))?")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_DEFAULT_PORT = 80


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is for. It is one to a proxy if it names a host."""

    host: str | None = None
    """In lower case, without a final dot; IPv6 addresses are in brackets."""
    port: int = _DEFAULT_PORT
    path: str = ""
    """As it was sent. It is empty or begins with a slash."""
    query: str | None = None
    """As it was sent, without the question mark; None if there is no question mark."""

    @property
    def netloc(self) -> str:
        """The host, and the port unless it is that of http."""
        return f"{self.host}" if self.port == _DEFAULT_PORT else f"{self.host}:{self.port}"

    def origin_form(self, method: str) -> str:
        """Return the target in the form for the server itself (RFC 9112, sections 3.2.1, 3.2.4)."""
        if not self.path and self.query is None and method == "OPTIONS":
            return "*"
        return f"{self.path or '/'}{'' if self.query is None else f'?{self.query}'}"


def parse_target(method: str, text: str) -> Target:
    """Parse the target of a request; that of CONNECT is not read, because it is always refused.

    Raises:
        ValueError: it is neither a path nor an http URL. The text is for people.
    """
    if method == "CONNECT":
        return Target("")
    if not _PRINTABLE.fullmatch(text):
        raise ValueError("the address contains spaces, or characters that are not ASCII")
    if text[:8].lower() == "https://":
        raise ValueError("this proxy forwards plain http only; https goes without it")
    form = _FORM.fullmatch(text)
    if form is None or not (form[1] or form[3]):
        raise ValueError("the address is neither a path nor an http URL")
    if not form[1]:
        return Target(path=form[3], query=form[4])
    authority = _AUTHORITY.fullmatch(form[2])
    port = int((authority and authority[2]) or _DEFAULT_PORT)
    if authority is None or not 0 < port < 65536:
        raise ValueError("the URL must contain a host, and no user name and password")
    host = authority[1].lower()
    return Target(host.removesuffix("."), port, form[3] or "", form[4])
