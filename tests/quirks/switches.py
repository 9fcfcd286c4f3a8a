"""The peculiarities of registries: one switch for each, all independent.

The defaults are a registry that follows the distribution specification and needs no credentials.
Every switch turns on one behaviour that some registry was seen to have.
"""

from dataclasses import dataclass, field
from typing import Literal

Status = int


@dataclass(frozen=True, slots=True)
class Auth:
    """How the registry and its token service ask for credentials, and how they refuse."""

    scheme: Literal["none", "basic", "bearer"] = "none"
    bearer: str = "Bearer"
    basic: str = 'Basic realm="registry"'
    """How the challenges are written."""
    mute: bool = False
    """401 comes with an empty WWW-Authenticate."""
    public: bool = False
    """Everyone may pull."""
    quoted: bool = True
    service: str | None = "registry.test"
    scope: Literal["repository", "two", "none", "opaque", "level"] = "repository"
    """What the challenge names: `repository:name:pull` (and a second one), nothing, `aws`, or
    `read` and `write`.
    """
    refuses_challenge_scope: bool = False
    """The token service refuses the scope in the registry's own challenge."""
    realm: Literal["absolute", "relative", "elsewhere"] = "absolute"
    realm_query: str = ""
    """A query that the realm already has; the token service requires it."""
    second: Literal["none", "same header", "own header"] = "none"
    """Basic is offered as well, but not accepted."""
    members: tuple[str, ...] = ("token", "access_token")
    """The names under which the token is returned."""
    refresh: bool = False
    """The token service also exchanges refresh tokens (OAuth 2.0)."""
    expires_in: int | None = 300
    knows_delete: bool = True
    """Otherwise the token service answers 400 to a scope with `delete`."""
    delete_scope: bool = False
    """A token that may push cannot delete; a token for `delete` can."""
    nothing_granted: Status = 200
    """What the token service answers if it grants nothing: a token without any rights, or a refusal
    that does not distinguish private from missing.
    """
    denied: Status = 401
    basic_when_denied: bool = False
    """A refused token is answered with a challenge for Basic, which is not accepted."""
    missing: Status = 404
    """For a repository that does not exist, unless the token allows pushing to it."""


@dataclass(frozen=True, slots=True)
class Paging:
    """How tags are listed."""

    size: int | None = None
    """Names per page if the client sends no `n`; None means all. Real pages are larger."""
    most: int | None = None
    """A larger `n` is answered `over_most`."""
    over_most: Status = 400
    link: Literal["relative", "absolute", "other path", "none"] = "relative"
    ignores_n: bool = False
    order: Literal["sorted", "oldest first", "unsorted"] = "sorted"
    emptied: Literal["list", "null"] = "list"
    digests: bool = False
    """Digests are among the tags."""
    unknown: str = "NAME_UNKNOWN"
    """Code of the 404 for a repository that does not exist."""
    refuses_manifest_accept: bool = False
    """406 if the request has the Accept header for manifests."""


@dataclass(frozen=True, slots=True)
class Blobs:
    """How blobs are sent and received."""

    redirect: Status | None = None
    """GET redirects to a storage on another origin, which answers 400 to any Authorization."""
    location: Literal["relative", "absolute", "elsewhere"] = "relative"
    """Where the upload's bytes have to go; `elsewhere` is that storage."""
    state: str = ""
    """A query of the Location, which the client has to return unchanged."""
    finished: Status = 201
    premade: bool = False
    """The first upload does not create a repository."""
    head: Literal["yes", "405", "403"] = "yes"
    tokens_expire: int = 0
    """How often all tokens expire between the POST and the PUT of an upload."""
    failing: int = 0
    """How many uploads end in 503 and are discarded."""


@dataclass(frozen=True, slots=True)
class Manifests:
    """How manifests and tags are stored and read."""

    accept_required: bool = False
    """404 for a document whose type is not in the request's Accept."""
    missing_tag: Status = 404
    missing_child: str = "MANIFEST_BLOB_UNKNOWN"
    """Code of the 400 for an index with a missing child."""
    refuses_artifacts: bool = False
    immutable: Status | None = None
    """Status for putting a tag again; 400 has the code TAG_INVALID."""
    lag: int = 0
    """How many reads of a tag after a put still show the previous content."""
    type_parameter: bool = False
    """Content-Type comes with a parameter."""
    failing: Literal["no", "written", "not written"] = "no"
    """The first PUT of a tag is answered with 503, after it was done or instead of it."""
    loses_children: int = 0
    """How many manifests are lost right after they were put by digest."""


@dataclass(frozen=True, slots=True)
class Deleting:
    """What can be deleted, and the status if it cannot."""

    tag: Status = 202
    digest: Status = 202
    referenced: Status | None = None
    """Status for deleting a manifest that an index still refers to."""
    dangling_tag: bool = False
    """400 GOOGLE_MANIFEST_DANGLING_TAG for deleting a manifest that a tag still refers to."""
    cascades: bool = False
    """Deleting an index also deletes its children."""


@dataclass(frozen=True, slots=True)
class Quirks:
    """The behaviour of a registry."""

    auth: Auth = field(default_factory=Auth)
    paging: Paging = field(default_factory=Paging)
    blobs: Blobs = field(default_factory=Blobs)
    manifests: Manifests = field(default_factory=Manifests)
    deleting: Deleting = field(default_factory=Deleting)
    digest_header: bool = True
    """Docker-Content-Digest is sent."""
    html_errors: bool = False
    """Denials are sent as an HTML page instead of an error object."""
    throttled: int = 0
    """How many calls are answered with 429, in plain text."""
    retry_after: str = "0"
    cookie: bool = False
    """Every response sets a cookie, and a call that sends one is refused."""
