"""Manifests over HTTP.

Distribution specification, sections Pulling manifests, Pushing Manifests, Deleting tags, Deleting
Manifests and Listing Referrers.
"""

import json

from werkzeug.http import parse_options_header
from werkzeug.wrappers import Request, Response

from pyoci_flask.registry.body import chunks
from pyoci_flask.registry.documents import IMAGE_INDEX, Descriptor, parse_manifest
from pyoci_flask.registry.errors import (
    RegistryError,
    digest_invalid,
    manifest_invalid,
    manifest_unknown,
)
from pyoci_flask.registry.files import read_file, regular_file
from pyoci_flask.registry.layout import Repository
from pyoci_flask.registry.names import Digest, Tag, parse_reference, parse_tag

# The specification asks for support of manifests up to this size, in bytes.
MANIFEST_SIZE = 4 * 1024 * 1024
_MOST_VALUES = 250_000
"""JSON values of a manifest: each takes up to a hundred bytes while it is parsed."""


def get_manifest(request: Request, repository: Repository, reference: str) -> Response:
    """`GET`, `HEAD /v2/<name>/manifests/<reference>`. It is served whatever the client accepts."""
    descriptor = _resolve(repository, reference)
    headers = {
        "Docker-Content-Digest": str(descriptor.digest),
        "ETag": f'"{descriptor.digest}"',
        "Content-Type": descriptor.media_type,
    }
    path = repository.blob(descriptor.digest)
    found = regular_file(path)
    if found is None:
        raise manifest_unknown(reference)
    if request.if_none_match.contains_weak(str(descriptor.digest)):
        return Response(status=304, headers=headers)
    if request.method == "HEAD":
        return Response(headers={**headers, "Content-Length": str(found.st_size)})
    try:
        return Response(read_file(path), headers=headers)
    except FileNotFoundError:
        raise manifest_unknown(reference) from None


def put_manifest(request: Request, repository: Repository, reference: str) -> Response:
    """`PUT /v2/<name>/manifests/<reference>`; a digest may come with any number of `tag=`."""
    target = Digest.parse(reference) if ":" in reference else _parse_tag(reference)
    body = _body(request)
    if isinstance(target, Digest):
        digest, tags = target, [_parse_tag(tag) for tag in request.args.getlist("tag")]
        if Digest.of(body, digest.algorithm) != digest:
            raise digest_invalid(f"the content is not {digest}")
    else:
        digest, tags = Digest.of(body), [target]
    media_type = parse_options_header(request.headers.get("Content-Type"))[0]
    manifest = parse_manifest(body, media_type or None)
    repository.put_manifest(manifest, body, digest, tags)
    response = Response(status=201)
    response.headers["Location"] = f"{request.root_path}/v2/{repository.name}/manifests/{digest}"
    response.headers["Docker-Content-Digest"] = str(digest)
    if manifest.subject is not None:
        response.headers["OCI-Subject"] = str(manifest.subject)
    if isinstance(target, Digest) and tags:
        response.headers["OCI-Tag"] = ", ".join(tags)
    return response


def delete_manifest(_request: Request, repository: Repository, reference: str) -> Response:
    """`DELETE /v2/<name>/manifests/<reference>`: a tag alone, or a manifest with its tags."""
    target = _parse(reference)
    if isinstance(target, Digest):
        repository.delete_manifest(target)
    else:
        repository.delete_tag(target)
    return Response(status=202)


def get_referrers(request: Request, repository: Repository, digest: str) -> Response:
    """`GET /v2/<name>/referrers/<digest>`, for an unknown repository too: an empty index."""
    subject = Digest.parse(digest)
    wanted = request.args.get("artifactType")
    found = [_referrer(repository, descriptor) for descriptor in repository.referring(subject)]
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


def _referrer(repository: Repository, descriptor: Descriptor) -> dict[str, object] | None:
    try:
        manifest = repository.manifest(descriptor)
    except (FileNotFoundError, RegistryError):
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


def _parse_tag(text: str) -> Tag:
    tag = parse_tag(text)
    if tag is None:
        raise manifest_invalid("a tag has 1 to 128 letters, digits, dots, dashes and underscores")
    return tag


def _parse(reference: str) -> Tag | Digest:
    target = parse_reference(reference)
    if target is None:
        raise manifest_unknown(reference)
    return target


def _resolve(repository: Repository, reference: str) -> Descriptor:
    descriptor = repository.resolve(_parse(reference))
    if descriptor is None:
        raise manifest_unknown(reference)
    return descriptor


def _body(request: Request) -> bytes:
    length = request.content_length
    too_large = manifest_invalid(f"a manifest has at most {MANIFEST_SIZE} bytes", status=413)
    if length is not None and length > MANIFEST_SIZE:
        raise too_large
    body = bytearray()
    for chunk in chunks(request):
        body += chunk
        if len(body) > MANIFEST_SIZE:
            raise too_large
    if sum(body.count(mark) for mark in (b",", b"[", b"{")) > _MOST_VALUES:
        raise manifest_invalid(f"a manifest has at most {_MOST_VALUES} JSON values", status=413)
    return bytes(body)
