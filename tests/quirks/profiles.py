"""The registries about which there are public facts, as sets of switches.

Pages of tags have three names here; real ones have a hundred or more.
"""

from dataclasses import replace

from tests.quirks.switches import Auth, Blobs, Deleting, Manifests, Paging, Quirks

_BEARER = Auth(scheme="bearer")
_PAGE = 3

PROFILES: dict[str, Quirks] = {
    "ghcr": Quirks(
        auth=replace(_BEARER, service="ghcr.io", members=("token",), nothing_granted=403),
        paging=Paging(size=_PAGE, order="oldest first"),
        blobs=Blobs(redirect=307),
        manifests=Manifests(lag=1),
        deleting=Deleting(tag=405, digest=405),
    ),
    "acr": Quirks(
        auth=replace(_BEARER, service="acme.azurecr.io", members=("access_token",), refresh=True),
        paging=Paging(size=_PAGE),
        blobs=Blobs(redirect=307, location="relative", state="_nouploadcache=false&_state=a%2Bb=="),
        deleting=Deleting(tag=405),
    ),
    "ecr_private": Quirks(
        auth=Auth(scheme="basic", denied=403),
        paging=Paging(size=_PAGE, most=1000, over_most=405),
        blobs=Blobs(redirect=307, premade=True, location="absolute"),
        deleting=Deleting(tag=404, digest=404),
    ),
    "ecr_public": Quirks(
        auth=replace(_BEARER, scope="opaque", service="public.ecr.aws", public=True),
        paging=Paging(size=_PAGE, most=1000),
        blobs=Blobs(redirect=307, premade=True),
        digest_header=False,
    ),
    "google": Quirks(
        auth=replace(_BEARER, quoted=False, service="gcr.io", nothing_granted=403),
        paging=Paging(),
        blobs=Blobs(location="absolute"),
        deleting=Deleting(dangling_tag=True),
        html_errors=True,
    ),
    "docker_hub": Quirks(
        auth=replace(_BEARER, realm="elsewhere", missing=401, public=True),
        paging=Paging(size=_PAGE),
        blobs=Blobs(redirect=307, location="absolute", state="_state=opaque"),
        deleting=Deleting(digest=405),
        throttled=1,
    ),
    "quay": Quirks(
        auth=replace(_BEARER, members=("token",), expires_in=None, knows_delete=False, missing=401),
        paging=Paging(size=_PAGE, link="absolute"),
        blobs=Blobs(redirect=302, location="absolute"),
    ),
    "harbor": Quirks(
        auth=replace(_BEARER, service="harbor-registry", basic_when_denied=True),
        paging=Paging(unknown="NOT_FOUND"),
        deleting=Deleting(tag=400, referenced=412, cascades=True),
        cookie=True,
    ),
    "gitlab": Quirks(
        auth=replace(
            _BEARER,
            service="container_registry",
            realm="elsewhere",
            realm_query="client=docker",
            missing=401,
        ),
        manifests=Manifests(refuses_artifacts=True),
    ),
    "jfrog": Quirks(
        auth=replace(_BEARER, second="own header"),
        paging=Paging(size=_PAGE, link="other path", digests=True, refuses_manifest_accept=True),
        manifests=Manifests(missing_tag=403),
    ),
    "gitea": Quirks(
        auth=replace(_BEARER, service=None, scope="none", second="own header"),
        paging=Paging(link="none"),
        blobs=Blobs(location="relative"),
    ),
    "zot": Quirks(
        auth=Auth(scheme="basic", denied=403),
        paging=Paging(),
        deleting=Deleting(referenced=405),
        manifests=Manifests(missing_child="MANIFEST_INVALID"),
    ),
    "distribution_2_8": Quirks(
        auth=_BEARER,
        paging=Paging(ignores_n=True, order="unsorted", emptied="null"),
        blobs=Blobs(location="absolute", state="_state=a%2Bb%3D"),
        manifests=Manifests(accept_required=True),
        deleting=Deleting(tag=400),
    ),
    "distribution_3": Quirks(
        auth=replace(_BEARER, delete_scope=True),
        paging=Paging(most=1000),
        blobs=Blobs(location="absolute", state="_state=a%2Bb%3D"),
    ),
}
