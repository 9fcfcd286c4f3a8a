"""What registries do in their own ways: one switch for each, all independent.

The defaults are a registry that follows the distribution specification and asks nobody who they
are. Every switch turns on one thing that some registry was seen to do.
"""

from dataclasses import dataclass, field
from typing import Literal

Status = int


@dataclass(frozen=True, slots=True)
class Auth:
    """How the registry and its token service ask who is there, and how they refuse."""

    scheme: Literal["none", "basic", "bearer"] = "none"
    bearer: str = "Bearer"
    basic: str = 'Basic realm="registry"'
    """How the challenges are written."""
    mute: bool = False
    """401 comes with an empty WWW-Authenticate."""
    public: bool = False
    """Everybody may pull."""
    quoted: bool = True
    service: str | None = "registry.test"
    scope: Literal["repository", "two", "none", "opaque", "level"] = "repository"
    """What the challenge names: `repository:name:pull` (and a second one), nothing, `aws`, or
    `read` and `write`."""
    refuses_challenge_scope: bool = False
    """The token service refuses the scope of the registry's own challenge."""
    realm: Literal["absolute", "relative", "elsewhere"] = "absolute"
    realm_query: str = ""
    """A query that the realm has already; the token service insists on it."""
    second: Literal["none", "same header", "own header"] = "none"
    """Basic is offered besides, and not taken."""
    members: tuple[str, ...] = ("token", "access_token")
    """Under which names the token is answered."""
    expires_in: int | None = 300
    knows_delete: bool = True
    """Otherwise the token service answers 400 to a scope with `delete`."""
    delete_scope: bool = False
    """A token that may push does not delete; one for `delete` does."""
    nothing_granted: Status = 200
    """What the token service answers where it grants nothing: a token that opens nothing, or a
    refusal that does not tell private from missing."""
    denied: Status = 401
    basic_when_denied: bool = False
    """A refused token is answered with a challenge for Basic, which is not taken."""
    missing: Status = 404
    """For a repository that does not exist, unless the token is one that may push there."""


@dataclass(frozen=True, slots=True)
class Paging:
    """How tags are listed."""

    size: int | None = None
    """Names a page where `n` is not asked for; None = all. Real ones are larger."""
    most: int | None = None
    """A larger `n` is answered `over_most`."""
    over_most: Status = 400
    link: Literal["relative", "absolute", "other path", "none"] = "relative"
    ignores_n: bool = False
    order: Literal["sorted", "oldest first", "unsorted"] = "sorted"
    emptied: Literal["list", "null"] = "list"
    digests: bool = False
    """Digests stand among the tags."""
    unknown: str = "NAME_UNKNOWN"
    """Code of the 404 for a repository that does not exist."""
    refuses_manifest_accept: bool = False
    """406 where the manifests' Accept is sent."""


@dataclass(frozen=True, slots=True)
class Blobs:
    """How blobs are sent and taken."""

    redirect: Status | None = None
    """GET leads to a storage on another origin, which answers 400 to any Authorization."""
    location: Literal["relative", "absolute", "elsewhere"] = "relative"
    """Where the upload's bytes are to go; `elsewhere` is that storage."""
    state: str = ""
    """A query of the Location, which has to come back letter by letter."""
    finished: Status = 201
    premade: bool = False
    """Repositories are not made by the first upload."""
    head: Literal["yes", "405", "403"] = "yes"
    tokens_expire: int = 0
    """So often all tokens expire between the POST and the PUT of an upload."""
    failing: int = 0
    """So many uploads end in 503, and are forgotten."""


@dataclass(frozen=True, slots=True)
class Manifests:
    """How manifests and tags are stored and read."""

    accept_required: bool = False
    """404 for a document whose type the request does not name."""
    missing_tag: Status = 404
    missing_child: str = "MANIFEST_BLOB_UNKNOWN"
    """Code of the 400 to an index whose child is not there."""
    refuses_artifacts: bool = False
    immutable: Status | None = None
    """Of the answer to a tag that is put again; 400 has the code TAG_INVALID."""
    lag: int = 0
    """So many reads of a tag that was put still show what was there before."""
    type_parameter: bool = False
    """Content-Type comes with a parameter."""
    failing: Literal["no", "written", "not written"] = "no"
    """The first PUT of a tag is answered 503, after it was done or instead."""
    loses_children: int = 0
    """So many manifests are lost right after they were put by digest."""


@dataclass(frozen=True, slots=True)
class Deleting:
    """What can be deleted, and what is answered where it cannot."""

    tag: Status = 202
    digest: Status = 202
    referenced: Status | None = None
    """To the deletion of a manifest that an index still names."""
    dangling_tag: bool = False
    """400 GOOGLE_MANIFEST_DANGLING_TAG to the deletion of a manifest that a tag still names."""
    cascades: bool = False
    """The children of a deleted index go with it."""


@dataclass(frozen=True, slots=True)
class Quirks:
    """A registry's ways."""

    auth: Auth = field(default_factory=Auth)
    paging: Paging = field(default_factory=Paging)
    blobs: Blobs = field(default_factory=Blobs)
    manifests: Manifests = field(default_factory=Manifests)
    deleting: Deleting = field(default_factory=Deleting)
    digest_header: bool = True
    """Docker-Content-Digest is sent."""
    html_errors: bool = False
    """Denials come as a page for people instead of an error object."""
    throttled: int = 0
    """So many calls are answered 429, in plain text."""
    retry_after: str = "0"
    cookie: bool = False
    """Every answer sets a cookie, and a call that brings one is refused."""
