"""The only list of how individual registries deviate from the specifications, by registry.

The tables at the end of this module are data on which this package bases its decisions. To
support another registry's host or error code, add an entry there. Deviations that need code are
handled where the response is interpreted. This table lists those places:

| registry | what it does | handled in |
|---|---|---|
| AWS ECR, zot, distribution with htpasswd | require Basic credentials | `transport/auth.py` |
| Azure ACR | calls its token `access_token`; logins are identity tokens | `transport/tokens.py` |
| Harbor | sends a Basic challenge for an expired Bearer token | `transport/auth.py` |
| Quay | refuses a token for the action `delete` | `transport/request.py` |
| container-registry | sends its challenge only at the root of the API | `transport/auth.py` |
| zuul-registry | refuses the scope of its own challenge | `transport/auth.py` |
| Docker Hub, Quay | deny access to missing repositories without push access | `oci/client.py` |
| AWS ECR | redirects to storage that refuses a second Authorization | `transport/request.py` |
| Artifactory | omits part of the path in its links to the next page | `oci/tags.py` |
| Artifactory | lists digests as tags | `oci/tags.py` |
| distribution 2.8 | lists the tags of an emptied repository as `null` | `oci/tags.py` |
| AWS ECR, distribution 3.1, Gitea | fail or page wrongly with a page size | `oci/tags.py` |
| AWS ECR, ghcr.io, Google | fail with one of the other ways to upload a blob | `oci/uploads.py` |
| AWS ECR | requires a repository to be made before the first upload | `oci/uploads.py` |
| distribution | reports blobs whose bytes garbage collection has removed | `oci/blobs.py` |
| distribution 2.8, Harbor | return 400 for the deletion of a tag | `oci/manifests.py` |
| Harbor, zot | keep a manifest that an index refers to (412, 405) | `oci/manifests.py` |
| ghcr.io | deletes nothing | `index/delete.py` |
| Google | deletes a manifest only after its tags | `index/delete.py` |
| Pulp | deletes a moment after it responds | `index/delete.py` |
| Pulp | accepts only JSON as the config of a manifest | `index/artifact.py` |
| gitlab.com | refuses the media types of packages | `index/artifact.py` |
| ghcr.io | may return the content from before the last write | `index/rewrite.py` |

`cli/check/report.py` lists the names of users, tokens and permissions of each host.
"""

from collections.abc import Mapping

_SPECIFICATION = "OCI distribution specification"

API_HOSTS: Mapping[str, str] = {"docker.io": "registry-1.docker.io"}
"""Maps the host that people write to the host to call (Docker Hub)."""

SAME_REGISTRY: Mapping[str, str] = {
    "index.docker.io": "docker.io",
    "registry-1.docker.io": "docker.io",
}
"""Maps other hosts of the same registry to the host that people write (Docker Hub)."""

CHERRYPY_PAGE = "CherryPy page"
"""Used as a code for the error page of zuul-registry's web framework, which no proxy sends."""
CHERRYPY_MARK = b'">CherryPy '

MISSING_REPOSITORY: Mapping[str, frozenset[str]] = {
    _SPECIFICATION: frozenset({"NAME_UNKNOWN"}),
    "Harbor": frozenset({"NOT_FOUND"}),
}
"""The codes of a 404 that mean that a repository does not exist, by registry.

`docs/registries.md` contains the same table. No other code counts, because if a private project's
repository seemed to be missing, clients might install a public package of the same name.
"""

MISSING_CONTENT: Mapping[str, frozenset[str]] = {
    _SPECIFICATION: frozenset({"MANIFEST_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN"}),
    "Quay": frozenset({"TAG_EXPIRED"}),
    "zuul-registry": frozenset({CHERRYPY_PAGE}),
}
"""The codes of a 404 that mean that a manifest, tag or blob does not exist, by registry.

`docs/registries.md` contains the same table.
"""

MISSING_PART: Mapping[str, frozenset[str]] = {
    _SPECIFICATION: frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"}),
    "zot": frozenset({"MANIFEST_INVALID"}),
    "distribution 2.8": frozenset({"DIGEST_INVALID"}),
}
"""The codes that refuse a manifest because content it refers to is missing, by registry.

distribution 2.8 sends its code while another upload links the same blob.
"""

IMMUTABLE_TAG: Mapping[str, frozenset[str]] = {"AWS ECR": frozenset({"TAG_INVALID"})}
"""The codes that refuse to overwrite a tag, by registry. 409 and 412 do so on any registry."""

IMMUTABLE_TAG_WORDS: Mapping[str, str] = {"ocimem": "cannot overwrite tag"}
"""The words of a message that refuses to overwrite a tag, by registry."""

STILL_TAGGED: Mapping[str, str] = {"Google": "GOOGLE_MANIFEST_DANGLING"}
"""The start of codes that refuse to delete what a tag or index still refers to, by registry."""


def codes(table: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Return the codes of all registries in a table."""
    return frozenset[str]().union(*table.values())
