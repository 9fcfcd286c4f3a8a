"""What single registries do differently from the specifications: the one list, by their names.

The tables below are data that this package decides by. Another registry's host or error code is
one more entry there. What needs code of its own is handled where the answer is understood; this
is the list of those places:

| registry | what it does | handled in |
|---|---|---|
| AWS ECR, zot, distribution with htpasswd | want Basic credentials | `transport/auth.py` |
| Azure ACR | calls its token `access_token` | `transport/tokens.py` |
| Harbor | answers an expired Bearer token with a Basic challenge | `transport/auth.py` |
| Quay | refuses a token for the action `delete` | `transport/request.py` |
| container-registry | names its challenge at the root of the API only | `transport/auth.py` |
| zuul-registry | refuses the scope of its own challenge | `transport/auth.py` |
| Docker Hub, Quay | deny reading a missing repository to who may not make it | `oci/client.py` |
| AWS ECR | redirects to a storage that refuses a second Authorization | `transport/request.py` |
| Artifactory | loses a part of the path in its links to the next page | `oci/tags.py` |
| Artifactory | lists digests as tags | `oci/tags.py` |
| distribution 2.8 | lists the tags of an emptied repository as `null` | `oci/tags.py` |
| AWS ECR, distribution 3.1, Gitea | fail or page wrongly for a page size | `oci/tags.py` |
| AWS ECR, ghcr.io, Google | break one of the other ways to upload a blob | `oci/uploads.py` |
| AWS ECR | wants a repository to be made before the first upload | `oci/uploads.py` |
| distribution | shows blobs whose bytes its garbage collection has removed | `oci/blobs.py` |
| distribution 2.8, Harbor | answer 400 to the deletion of a tag | `oci/manifests.py` |
| Harbor, zot | keep a manifest that an index names: 412, 405 | `oci/manifests.py` |
| ghcr.io | deletes nothing | `index/delete.py` |
| Google | deletes a manifest only after its tags | `index/delete.py` |
| Pulp | deletes a moment later than it answers | `index/delete.py` |
| Pulp | takes only JSON as the config of a manifest | `index/publish.py` |
| gitlab.com | refuses the media types of packages | `index/publish.py` |
| ghcr.io | may answer a read with what was there before the last write | `index/rewrite.py` |

`cli/check/hints.py` has the names of users, tokens and rights, by host.
"""

from collections.abc import Mapping

_SPECIFICATION = "OCI distribution specification"

API_HOSTS: Mapping[str, str] = {"docker.io": "registry-1.docker.io"}
"""By the host that people name, the host to call (Docker Hub)."""

SAME_REGISTRY: Mapping[str, str] = {
    "index.docker.io": "docker.io",
    "registry-1.docker.io": "docker.io",
}
"""By another host of the same registry, the host that people name (Docker Hub)."""

CHERRYPY_PAGE = "CherryPy page"
"""Stands for a code: the error page of zuul-registry's web framework, which no proxy sends."""
CHERRYPY_MARK = b'">CherryPy '

MISSING_REPOSITORY: Mapping[str, frozenset[str]] = {
    _SPECIFICATION: frozenset({"NAME_UNKNOWN"}),
    "Harbor": frozenset({"NOT_FOUND"}),
}
"""By registry, the codes of a 404 that say that a repository does not exist.

`docs/registries.md` has the same table. A code that is not in it decides nothing: the public
package of a private name may be installed wherever a repository is taken for missing.
"""

MISSING_CONTENT: Mapping[str, frozenset[str]] = {
    _SPECIFICATION: frozenset({"MANIFEST_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN"}),
    "Quay": frozenset({"TAG_EXPIRED"}),
    "zuul-registry": frozenset({CHERRYPY_PAGE}),
}
"""By registry, the codes of a 404 that say that a manifest, tag or blob does not exist.

`docs/registries.md` has the same table.
"""

MISSING_PART: Mapping[str, frozenset[str]] = {
    _SPECIFICATION: frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"}),
    "zot": frozenset({"MANIFEST_INVALID"}),
    "distribution 2.8": frozenset({"DIGEST_INVALID"}),
}
"""By registry, the codes that refuse a manifest because the registry lacks a part of it.

distribution 2.8 does so while another upload links the same blob.
"""

IMMUTABLE_TAG: Mapping[str, frozenset[str]] = {"AWS ECR": frozenset({"TAG_INVALID"})}
"""By registry, the codes that refuse to overwrite a tag; 409 and 412 do so on any registry."""

IMMUTABLE_TAG_WORDS: Mapping[str, str] = {"ocimem": "cannot overwrite tag"}
"""By registry, the words of a message that refuses to overwrite a tag."""

STILL_TAGGED: Mapping[str, str] = {"Google": "GOOGLE_MANIFEST_DANGLING"}
"""By registry, the start of codes that refuse to delete what a tag or an index still names."""


def codes(table: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Return the codes of all registries in a table."""
    return frozenset[str]().union(*table.values())
