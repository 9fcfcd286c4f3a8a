"""One repository's end of the distribution API: authenticated calls, redirects, locations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urljoin, urlsplit

from pyoci_flask.errors import PyOCIError, RegistryError
from pyoci_flask.oci.answers import ErrorBody, refusal
from pyoci_flask.oci.reference import DEFAULT_PORTS, Repository
from pyoci_flask.transport.auth import Authenticator, Scope
from pyoci_flask.transport.credentials import Credentials
from pyoci_flask.transport.reply import Reply
from pyoci_flask.transport.session import Body, Transport

REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOSTREDIRECTS = 5


@dataclass(frozen=True, slots=True)
class RepositoryCaller:
    """Makes calls below `/v2/{name}/` with one caller's credentials."""

    transport: Transport
    authenticator: Authenticator
    repository: Repository
    credentials: Credentials | None
    writing: bool = False
    """Whether to read with the right to push, too: some registries (Quay, Docker Hub) deny the
    reading of a repository that does not exist to all but those who may make it."""

    @property
    def base(self) -> str:
        """URL of the repository, with a trailing slash."""
        return f"{self.repository.registry.origin}/v2/{self.repository.name}/"

    def call(
        self,
        method: str,
        path: str,
        access: Literal["pull", "push", "delete", "catalog"],
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        idempotent: bool = False,
        follow: bool = True,
    ) -> Reply:
        """Call `path` below the repository. GET and HEAD follow redirects, nothing else does.

        Unless `follow` is False: then a redirect is what is returned.
        """
        reading = method in {"GET", "HEAD"}
        if self.writing and access == "pull":
            access = "push"
        reply = self.authenticator.send(
            method,
            urljoin(self.base, path),
            registry=self.repository.registry.origin,
            credentials=self.credentials,
            scope=Scope(self.repository.name, access),
            headers=headers or {},
            body=body,
            idempotent=idempotent or reading,
        )
        return self._follow(reply, method, headers or {}) if reading and follow else reply

    def followed(self, reply: Reply, headers: Mapping[str, str]) -> Reply:
        """Follow the redirects of a GET that was called with `follow=False` and these headers."""
        return self._follow(reply, "GET", headers)

    def is_own(self, url: str) -> bool:
        """Tell whether a URL is of the registry itself, where calls need an Authorization."""
        return _origin(url) == _origin(self.base)

    def put_at(self, location: str, answered: Reply, body: Body, length: int) -> Reply:
        """PUT an upload to where the registry's answer to the POST said.

        The POST's authorization is used again, so that no 401 comes amid the body; if it does
        (the token expired on the way), the body is sent once more. Another origin gets none.
        """
        headers = {"Content-Type": "application/octet-stream"}
        sent = _authorization(location, answered)
        reply = self.transport.send(
            "PUT",
            location,
            registry=self.repository.registry.origin,
            headers=headers | sent,
            body=body,
            length=length,
            patience=_UPLOAD_PATIENCE,
        )
        if reply.status != 401 or not sent:
            return reply
        return self.authenticator.send(
            "PUT",
            location,
            registry=self.repository.registry.origin,
            credentials=self.credentials,
            scope=Scope(self.repository.name, "push"),
            headers=headers,
            body=body,
            length=length,
            patience=_UPLOAD_PATIENCE,
            refused=reply,
        )

    def cancel_at(self, location: str, answered: Reply) -> bool:
        """DELETE an upload at the Location of the POST; return whether the registry did it."""
        with self.transport.send(
            "DELETE",
            location,
            registry=self.repository.registry.origin,
            headers=_authorization(location, answered),
        ) as reply:
            return reply.status < 300

    def resolve(self, reply: Reply, location: str) -> str:
        """Make a Location absolute and check it.

        Raises:
            RegistryError: it is no http(s) URL, holds credentials or leads from https to http.
        """
        here = urlsplit(reply.url)
        try:
            url = urljoin(reply.url, location)
            there = urlsplit(url)
            usable = there.scheme in {"http", "https"} and bool(there.hostname)
            usable = usable and there.port != 0
        except ValueError:
            usable = False
        if not usable or there.username is not None or not (url.isascii() and url.isprintable()):
            raise RegistryError(f"{here.netloc} sent a Location that is no address")
        if here.scheme == "https" and there.scheme == "http":
            if there.hostname != here.hostname:
                raise RegistryError(f"{here.netloc} sent a Location that leaves https")
            # Behind a TLS proxy, registries that do not know of it answer with http.
            there = there._replace(scheme="https", netloc=here.netloc)
        return there._replace(fragment="").geturl()

    def refused(
        self, reply: Reply, doing: str, error: ErrorBody | None = None, *, probing: bool = False
    ) -> PyOCIError:
        """Say what an unexpected answer means, for `raise`.

        Where it may take no call more, as it is `probing`, a registry counts as one that asks for
        credentials.
        """
        doing = f"{doing} in {self.repository}"
        error = error or ErrorBody.read(reply)
        authenticated = self.credentials is not None
        asks = (
            authenticated
            or probing
            or reply.status != 403
            or self.authenticator.asks(self.repository.registry.origin)
        )
        return refusal(reply, doing, authenticated=authenticated, asks=asks, error=error)

    def _follow(self, reply: Reply, method: str, headers: Mapping[str, str]) -> Reply:
        for followed in range(_MOSTREDIRECTS + 1):
            location = reply.headers.get("Location")
            if reply.status not in REDIRECTS or location is None:
                return reply
            reply.close()
            if followed == _MOSTREDIRECTS:
                break
            url = self.resolve(reply, location)
            sent = {**headers, **_authorization(url, reply)}
            # Storage services answer 400 to a signed URL that comes with an Authorization.
            reply = self.transport.send(
                method,
                url,
                registry=self.repository.registry.origin,
                headers=sent,
                idempotent=True,
            )
        raise RegistryError(f"{self.repository.registry.netloc} redirects in circles")


_UPLOAD_PATIENCE = 300.0
"""Seconds for the answer to an upload: registries hash and move the blob before they answer."""


def _authorization(url: str, answered: Reply) -> dict[str, str]:
    """Return the header that an answer's request had; none for a URL of another origin."""
    if answered.authorization and _origin(url) == _origin(answered.url):
        return {"Authorization": answered.authorization}
    return {}


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Tell origins apart (RFC 6454, section 5): a registry may or may not write its own port."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme)
