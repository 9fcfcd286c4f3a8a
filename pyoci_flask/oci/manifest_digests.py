"""Ask for the digest of a manifest without fetching the manifest."""

from pyoci_flask.common.grammar import DOCKER_MANIFEST, DOCKER_MANIFEST_LIST
from pyoci_flask.errors import InvalidRequestError, RegistryError
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.model import INDEX_TYPE, MANIFEST_TYPE
from pyoci_flask.oci.reference import Digest, Tag
from pyoci_flask.transport.reply import Reply

# Docker's types are included because a version's tag may point to a container image. Some
# registries convert the image, or fail, if a client accepts only OCI types.
ACCEPT = f"{INDEX_TYPE}, {MANIFEST_TYPE}, {DOCKER_MANIFEST_LIST}, {DOCKER_MANIFEST}"


class UnconfirmedMissingError(RegistryError):
    """A HEAD was answered with 404. Only the body of a GET shows whether a proxy sent it."""


def head_manifest(caller: RepositoryCaller, reference: Tag | Digest) -> Digest | None:
    """Ask for a manifest's digest by HEAD; return None if the registry does not state it.

    Raises:
        UnconfirmedMissingError: the answer is 404. Ask by GET whether the manifest is missing.
    """
    headers = {"Accept": ACCEPT}
    with caller.call("HEAD", f"manifests/{reference}", "pull", headers=headers) as reply:
        match reply.status:
            case 200:
                return stated_digest(reply)
            case 405 | 501:
                return None
            case 404:
                raise UnconfirmedMissingError(
                    f"{caller.repository} answered 404 to a HEAD of {reference}"
                )
        raise caller.refused(reply, f"reading {reference}")


def stated_digest(reply: Reply) -> Digest | None:
    """Return the digest in the headers, or None if there is none or it is not a sha256 digest."""
    try:
        return Digest(reply.headers.get("Docker-Content-Digest", ""))
    except InvalidRequestError:
        return None
