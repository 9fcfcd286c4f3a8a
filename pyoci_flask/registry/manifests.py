"""Manifests over HTTP, and the lists of tags and repositories.

Distribution specification, sections Pulling manifests, Pushing Manifests, Deleting tags, Deleting
Manifests, Listing Tags and Listing Referrers.
"""

import json
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from werkzeug.http import parse_options_header

from pyoci_flask.common.grammar import IMAGE_INDEX, MOST_VALUES, has_too_many_values
from pyoci_flask.registry.body import chunks
from pyoci_flask.registry.call import Answer, Call
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


def get_manifest(call: Call, layout: ImageLayout, reference: str) -> Answer:
    """`GET`, `HEAD /v2/<name>/manifests/<reference>`. The Accept header is ignored."""
    descriptor = layout.resolve(_parse(reference))
    if descriptor is None:
        raise manifest_unknown(reference)
    path = layout.blob_name(descriptor.digest)
    headers = {
        "Docker-Content-Digest": str(descriptor.digest),
        "ETag": f'"{descriptor.digest}"',
        "Content-Type": descriptor.media_type,
    }
    is_known = call.knows(str(descriptor.digest))
    if is_known or call.method == "HEAD":
        found = regular_file(path)
        if found is None:
            raise manifest_unknown(reference)
        if is_known:
            return Answer(304, headers)
        return Answer(200, {**headers, "Content-Length": str(found.st_size)})
    try:
        return Answer(200, headers, read_file(path))
    except FileNotFoundError:
        raise manifest_unknown(reference) from None


def put_manifest(call: Call, layout: ImageLayout, reference: str) -> Answer:
    """`PUT /v2/<name>/manifests/<reference>`. A digest may be followed by several `tag=`."""
    target = Digest.parse(reference) if ":" in reference else _parse_tag(reference)
    body = _body(call)
    if isinstance(target, Digest):
        digest, tags = target, [_parse_tag(tag) for tag in call.arguments.get("tag", ())]
        if Digest.of(body, digest.algorithm) != digest:
            raise digest_invalid(f"the content does not match {digest}")
    else:
        digest, tags = Digest.of(body), [target]
    media_type = parse_options_header(call.headers.get("Content-Type"))[0]
    manifest = parse_manifest(body, media_type or None)
    layout.put_manifest(manifest, body, digest, tags)
    headers = {
        "Location": f"{call.root}/v2/{layout.name}/manifests/{digest}",
        "Docker-Content-Digest": str(digest),
    }
    if manifest.subject is not None:
        headers["OCI-Subject"] = str(manifest.subject)
    if isinstance(target, Digest) and tags:
        headers["OCI-Tag"] = ", ".join(tags)
    return Answer(201, headers)


def delete_manifest(_call: Call, layout: ImageLayout, reference: str) -> Answer:
    """`DELETE /v2/<name>/manifests/<reference>`: delete a tag, or a manifest and its tags."""
    target = _parse(reference)
    if isinstance(target, Digest):
        layout.delete_manifest(target)
    else:
        layout.delete_tag(target)
    return Answer(202)


def get_referrers(call: Call, layout: ImageLayout, digest: str) -> Answer:
    """`GET /v2/<name>/referrers/<digest>`. An unknown repository has an empty index."""
    wanted = call.argument("artifactType")
    found = [_referrer(layout, one) for one in layout.referring(Digest.parse(digest))]
    manifests = [
        entry
        for entry in found
        if entry is not None and (not wanted or entry.get("artifactType") == wanted)
    ]
    document = {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": manifests}
    headers = {"Content-Type": IMAGE_INDEX}
    if wanted:
        headers["OCI-Filters-Applied"] = "artifactType"
    return Answer(200, headers, json.dumps(document).encode())


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


def list_tags(call: Call, layout: ImageLayout) -> Answer:
    """`GET /v2/<name>/tags/list`."""
    if not layout.exists():
        raise name_unknown(layout.name)
    return _page(call, {"name": layout.name}, "tags", sorted(layout.read_index().tags))


def list_repositories(call: Call, storage: Storage) -> Answer:
    """`GET /v2/_catalog`: list the repositories in the format of Docker's registry."""
    return _page(call, {}, "repositories", sorted(storage.repositories()))


def _page(call: Call, document: dict[str, object], field: str, names: Sequence[str]) -> Answer:
    """Return at most `n` of the names after `last`, with a link to the next page."""
    last = call.argument("last") or ""
    rest = [name for name in names if name > last]
    text = call.argument("n")
    if text is not None and not (text.isascii() and text.isdigit()):
        raise unsupported("n must be a number", status=400)
    page = rest if text is None else rest[: int(text[:9])]
    headers = {"Content-Type": "application/json"}
    if page and len(page) < len(rest):
        query = urlencode({"n": text, "last": page[-1]})
        address = quote(call.root + call.path)
        headers["Link"] = f'<{address}?{query}>; rel="next"'
    return Answer(200, headers, json.dumps({**document, field: page}).encode())


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


def _body(call: Call) -> bytes:
    length = call.length
    too_large = manifest_invalid(f"a manifest can have at most {MANIFEST_SIZE} bytes", status=413)
    if length is not None and length > MANIFEST_SIZE:
        raise too_large
    body = bytearray()
    for chunk in chunks(call):
        body += chunk
        if len(body) > MANIFEST_SIZE:
            raise too_large
    if has_too_many_values(body):
        raise manifest_invalid(f"a manifest has over {MOST_VALUES} JSON values", status=413)
    return bytes(body)
