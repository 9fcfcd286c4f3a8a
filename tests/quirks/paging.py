"""Lists of tags, paged in the ways that registries use."""

import json
from collections.abc import Sequence
from urllib.parse import urlencode

from werkzeug.wrappers import Request, Response

from tests.quirks.switches import Paging
from tests.quirks.tokens import refusal


def list_tags(request: Request, known: Sequence[str], paging: Paging, *, unknown: bool) -> Response:
    """Answer `tags/list`; `known` has the oldest first."""
    if paging.refuses_manifest_accept and "manifest" in request.headers.get("Accept", ""):
        return refusal(406, "UNSUPPORTED", "not a type of this list")
    if unknown:
        return refusal(404, paging.unknown, "repository name not known to registry")
    asked = None if paging.ignores_n else request.args.get("n", type=int)
    if asked is not None and paging.most is not None and asked > paging.most:
        return refusal(paging.over_most, "UNSUPPORTED", "n is too large")
    tags = list(known)
    if paging.order == "sorted":
        tags.sort()
    elif paging.order == "unsorted":
        tags.sort(key=lambda tag: tag[::-1])
    last = request.args.get("last")
    if last in tags:
        tags = tags[tags.index(last) + 1 :]
    size = asked or paging.size
    page = tags if size is None else tags[:size]
    # Some list untagged manifests by their digests.
    listed: list[str] | None = [*page, f"sha256:{'0' * 64}"] if paging.digests else list(page)
    if not known and paging.emptied == "null":
        listed = None
    answer = Response(
        json.dumps({"name": "a/name", "tags": listed}), content_type="application/json"
    )
    if page and len(page) < len(tags) and paging.link != "none":
        path = "/artifactory/api" if paging.link == "other path" else request.path
        origin = request.host_url.rstrip("/") if paging.link == "absolute" else ""
        query = urlencode({"last": page[-1], "n": len(page)})
        answer.headers["Link"] = f'<{origin}{path}?{query}>; rel="next"'
    return answer
