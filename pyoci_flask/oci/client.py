"""Calls to one repository in the distribution API: authentication, redirects and locations."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from pyoci_flask.common.url import usable_url
from pyoci_flask.errors import PyOCIError, RegistryError
from pyoci_flask.oci.answers import ODD_ANSWER, ErrorBody, refusal
from pyoci_flask.oci.reference import Repository
from pyoci_flask.transport.auth import Authenticator
from pyoci_flask.transport.reply import Reply
from pyoci_flask.transport.request import Access, Body, Credentials, Request, Scope, origin_of
from pyoci_flask.transport.session import Transport

REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_QUICK = 3.0
"""Seconds for the response to a call that may not wait."""


@dataclass(frozen=True, slots=True)
class RepositoryCaller:
    """Makes calls below `/v2/{name}/` with one caller's credentials."""

    transport: Transport
    authenticator: Authenticator
    repository: Repository
    credentials: Credentials | None
    writing: bool = False
    """Whether to request push access for reads as well. Some registries (Quay, Docker Hub) reveal
    only to callers who may create a repository that it does not exist."""
    may_wait: bool = True
    """Whether calls may pause and try again where the registry is busy, or respond slowly. Work in
    the background may not wait."""

    @property
    def base(self) -> str:
        """URL of the repository, with a trailing slash."""
        return f"{self.repository.registry.origin}/v2/{self.repository.name}/"

    def call(
        self,
        method: str,
        path: str,
        access: Access,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        idempotent: bool = False,
        follow: bool = True,
    ) -> Reply:
        """Call `path` below the repository. With `follow`, a GET or HEAD follows redirects."""
        reading = method in {"GET", "HEAD"}
        if self.writing and access == "pull":
            access = "push"
        request = Request(
            method,
            urljoin(self.base, path) if path.startswith("/") else f"{self.base}{path}",
            self.repository.registry.origin,
            headers or {},
            body,
            credentials=self.credentials,
            scope=Scope(self.repository.name, access),
            idempotent=idempotent or reading,
            may_wait=self.may_wait,
            patience=None if self.may_wait else _QUICK,
        )
        reply = self.authenticator.send(request)
        return self.followed(reply) if reading and follow else reply

    def followed(self, reply: Reply) -> Reply:
        """Follow the redirects of a GET or HEAD, and return the last response."""
        for followed in range(_MOST_REDIRECTS + 1):
            location = reply.headers.get("Location")
            if reply.status not in REDIRECTS or location is None:
                return reply
            reply.close()
            if followed == _MOST_REDIRECTS:
                break
            url = self.resolve(reply, location)
            reply = self.transport.send(reply.request.moved(url))
        raise RegistryError(
            f"{self.repository.registry.netloc} redirects in circles",
            advice=ODD_ANSWER,
        )

    def is_own(self, url: str) -> bool:
        """Return whether a URL belongs to the registry itself, which needs an Authorization."""
        return origin_of(url) == origin_of(self.base)

    def resolve(self, reply: Reply, location: str) -> str:
        """Make a Location absolute and check it.

        Raises:
            RegistryError: it is not an http(s) URL, has credentials or leads from https to http.
        """
        here = urlsplit(reply.url)
        # Some servers do not encode the spaces in a path.
        there = usable_url(location.replace(" ", "%20"), reply.url)
        if there is None or there.username is not None:
            raise RegistryError(
                f"{here.netloc} sent a Location that is no address",
                advice=ODD_ANSWER,
            )
        if here.scheme == "https" and there.scheme == "http":
            if there.hostname != here.hostname:
                raise RegistryError(
                    f"{here.netloc} redirects from https to http",
                    advice="Check the proxy in front of the registry: it has to pass on "
                    "that clients use https",
                )
            # A registry that does not know of the TLS proxy in front of it sends http URLs.
            there = there._replace(scheme="https", netloc=here.netloc)
        return there._replace(fragment="").geturl()

    def refused(
        self, reply: Reply, doing: str, error: ErrorBody | None = None, *, probing: bool = False
    ) -> PyOCIError:
        """Return the error to raise for an unexpected response.

        A 403 without credentials may need one more call, to find out whether the registry asks
        for credentials. If `probing` is true, no call is made, and the registry counts as asking.
        """
        doing = f"{doing} in {self.repository}"
        error = error or ErrorBody.read(reply)
        authenticated = self.credentials is not None
        asks = (
            authenticated
            or probing
            or reply.status != 403
            or self.authenticator.probe(self.repository.registry.origin, may_wait=self.may_wait)
        )
        return refusal(reply, doing, error, authenticated=authenticated, asks=asks)
