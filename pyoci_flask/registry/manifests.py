"""Manifests over HTTP, and the lists of tags and repositories.

Distribution specification, sections Pulling manifests, Pushing Manifests, Deleting tags, Deleting
Manifests, Listing Tags and Listing Referrers.
"""

import json
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from werkzeug.http import parse_options_header
from werkzeug.wrappers import Request, Response

from pyoci_flask.common.grammar import IMAGE_INDEX, MOST_VALUES, has_too_many_values
from pyoci_flask.registry.body import chunks
from pyoci_flask.registry.documents import Descriptor, parse_manifest
from pyoci_flask.registry.errors import (
    digest_invalid,
    manifest_invalid,
    manifest_unknown,
    name_unknown,
    unsupported,
)
from pyoci_flask.registry.files import read_file, regular_file
from pyoci_flask.registry.layout import ImageLayout
from pyoci_flask.registry.names import Digest, Tag, parse_tag
from pyoci_flask.registry.storage import Storage

MANIFEST_SIZE = 4 * 1024 * 1024
"""Bytes. The specification asks registries to accept manifests of at least this size."""


def get_manifest(request: Request, layout: ImageLayout, reference: str) -> Response:
    """`GET`, `HEAD /v2/<name>/manifests/<reference>`. The Accept header is ignored."""
    descriptor = layout.resolve(_parse(reference))
    found = None if descriptor is None else regular_file(layout.blob(descriptor.digest))
    if descriptor is None or found is None:
        raise manifest_unknown(reference)
    headers = {
        "Docker-Content-Digest": str(descriptor.digest),
        "ETag": f'"{descriptor.digest}"',
        "Content-Type": descriptor.media_type,
    }
    if request.if_none_match.contains_weak(str(descriptor.digest)):
        return Response(status=304, headers=headers)
    if request.method == "HEAD":
        return Response(headers={**headers, "Content-Length": str(found.st_size)})
    try:
        return Response(read_file(layout.blob(descriptor.digest)), headers=headers)
    except FileNotFoundError:
        raise manifest_unknown(reference) from None


def put_manifest(request: Request, layout: ImageLayout, reference: str) -> Response:
    """`PUT /v2/<name>/manifests/<reference>`. A digest may be followed by several `tag=`."""
    target = Digest.parse(reference) if ":" in reference else _parse_tag(reference)
    body = _body(request)
    if isinstance(target, Digest):
        digest, tags = target, [_parse_tag(tag) for tag in request.args.getlist("tag")]
        if Digest.of(body, digest.algorithm) != digest:
            raise digest_invalid(f"the content does not match {digest}")
    else:
        digest, tags = Digest.of(body), [target]
    media_type = parse_options_header(request.headers.get("Content-Type"))[0]
    manifest = parse_manifest(body, media_type or None)
    layout.put_manifest(manifest, body, digest, tags)
    headers = {
        "Location": f"{request.root_path}/v2/{layout.name}/manifests/{digest}",
        "Docker-Content-Digest": str(digest),
    }
    if manifest.subject is not None:
        headers["OCI-Subject"] = str(manifest.subject)
    if isinstance(target, Digest) and tags:
        headers["OCI-Tag"] = ", ".join(tags)
    return Response(status=201, headers=headers)


def delete_manifest(_request: Request, layout: ImageLayout, reference: str) -> Response:
    """`DELETE /v2/<name>/manifests/<reference>`: delete a tag, or a manifest and its tags."""
    target = _parse(reference)
    if isinstance(target, Digest):
        layout.delete_manifest(target)
    else:
        layout.delete_tag(target)
    return Response(status=202)


def get_referrers(request: Request, layout: ImageLayout, digest: str) -> Response:
    """`GET /v2/<name>/referrers/<digest>`. An unknown repository has an empty index."""
    wanted = request.args.get("artifactType")
    found = [_referrer(layout, one) for one in layout.referring(Digest.parse(digest))]
    manifests = [
        entry
        for entry in found
        if entry is not None and (not wanted or entry.get("artifactType") == wanted)
    ]
    document = {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": manifests}
    response = Response(json.dumps(document), content_type=IMAGE_INDEX)
    if wanted:
        response.headers["OCI-Filters-Applied"] = "artifactType"
    return response


def _referrer(layout: ImageLayout, descriptor: Descriptor) -> dict[str, object] | None:
    manifest = layout.find_manifest(descriptor)
    if manifest is None:
        return None
    entry: dict[str, object] = {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }
    if manifest.artifact_type is not None:
        entry["artifactType"] = manifest.artifact_type
    if manifest.annotations:
        entry["annotations"] = dict(manifest.annotations)
    return entry


def list_tags(request: Request, layout: ImageLayout) -> Response:
    """`GET /v2/<name>/tags/list`."""
    if not layout.exists():
        raise name_unknown(layout.name)
    return _page(request, {"name": layout.name}, "tags", sorted(layout.read_index().tags))


def list_repositories(request: Request, storage: Storage) -> Response:
    """`GET /v2/_catalog`: list the repositories in the format of Docker's registry."""
    return _page(request, {}, "repositories", sorted(storage.repositories()))


def _page(
    request: Request, document: dict[str, object], field: str, names: Sequence[str]
) -> Response:
    """Return at most `n` of the names after `last`, with a link to the next page."""
    last = request.args.get("last", "")
    rest = [name for name in names if name > last]
    text = request.args.get("n")
    if text is not None and not (text.isascii() and text.isdigit()):
        raise unsupported("n must be a number", status=400)
    page = rest if text is None else rest[: int(text[:9])]
    response = Response(json.dumps({**document, field: page}), mimetype="application/json")
    if page and len(page) < len(rest):
        query = urlencode({"n": text, "last": page[-1]})
        address = quote(request.root_path + request.path)
        response.headers["Link"] = f'<{address}?{query}>; rel="next"'
    return response


def _parse_tag(text: str) -> Tag:
    tag = parse_tag(text)
    if tag is None:
        raise manifest_invalid("a tag is 1 to 128 letters, digits, dots, dashes and underscores")
    return tag


def _parse(reference: str) -> Tag | Digest:
    # Text with a colon can only be a digest.
    target = Digest.parse(reference) if ":" in reference else parse_tag(reference)
    if target is None:
        raise manifest_unknown(reference)
    return target


def _body(request: Request) -> bytes:
    length = request.content_length
    too_large = manifest_invalid(f"a manifest can have at most {MANIFEST_SIZE} bytes", status=413)
    if length is not None and length > MANIFEST_SIZE:
        raise too_large
    body = bytearray()
    for chunk in chunks(request):
        body += chunk
        if len(body) > MANIFEST_SIZE:
            raise too_large
    if has_too_many_values(body):
        raise manifest_invalid(f"a manifest has over {MOST_VALUES} JSON values", status=413)
    return bytes(body)
