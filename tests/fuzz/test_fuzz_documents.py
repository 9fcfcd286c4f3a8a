"""Bodies: the documents of registries, the upload form, and the requested part of a file."""

import io
import json
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pyoci_flask.common.ranges import requested_range
from pyoci_flask.errors import InvalidRequestError, PayloadTooLargeError
from pyoci_flask.index.names import ProjectName
from pyoci_flask.index.project import files_of, parse_time
from pyoci_flask.oci.model import (
    INDEX_TYPE,
    MANIFEST_TYPE,
    ImageIndex,
    ImageManifest,
    MalformedDocumentError,
    parse_object,
)
from pyoci_flask.web.api.body import RequestBody
from pyoci_flask.web.api.form import read_form
from tests.fuzz.strategies import documents, fuzzed, near

_DIGEST = f"sha256:{'0' * 64}"
_ENTRY = {
    "mediaType": MANIFEST_TYPE,
    "digest": _DIGEST,
    "size": 7,
    "platform": {"architecture": "py3-none-any.whl", "os": "any"},
    "annotations": {"org.opencontainers.image.title": "foo-1.0-py3-none-any.whl"},
}
_INDEX = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [_ENTRY], "annotations": {}}
_MANIFEST = {"schemaVersion": 2, "config": _ENTRY, "layers": [_ENTRY]}


@st.composite
def _spoiled(draw: st.DrawFn, sample: object) -> object:
    """Return the sample with one of its members, at any depth, replaced by anything."""
    if isinstance(sample, dict) and sample and draw(st.integers(0, 4)):
        name = draw(st.sampled_from(sorted(sample)))
        return sample | {name: draw(_spoiled(sample[name]))}
    if isinstance(sample, list) and sample and draw(st.integers(0, 4)):
        return [draw(_spoiled(sample[0])), *sample[1:]]
    return draw(documents)


@fuzzed
@given(st.binary(max_size=200) | documents.map(lambda value: json.dumps(value).encode()))
def test_any_document_is_an_object_or_malformed(document: bytes) -> None:
    for parse in (parse_object, ImageIndex.parse, ImageManifest.parse):
        try:
            parse(document)
        except MalformedDocumentError:
            continue


@fuzzed
@given(_spoiled(_INDEX))
def test_an_index_that_parses_can_be_listed_and_written_again(value: object) -> None:
    try:
        index = ImageIndex.parse(json.dumps(value).encode())
    except MalformedDocumentError:
        return
    listed, faults = files_of(index, "1.0", ProjectName("foo"), "foo")
    assert len(listed) + len(faults) == len(index.manifests)
    assert ImageIndex.parse(index.serialize()) == index or "NaN" in json.dumps(value)


@fuzzed
@given(_spoiled(_MANIFEST))
def test_a_manifest_that_parses_names_its_layers_by_digest(value: object) -> None:
    try:
        manifest = ImageManifest.parse(json.dumps(value).encode())
    except MalformedDocumentError:
        return
    assert all(len(layer.digest.hex) == 64 and layer.size >= 0 for layer in manifest.layers)


@fuzzed
@given(near("2024-05-06T07:08:09.123456789Z", "0001-01-01T00:00:00+23:59", alphabet="0123T:.+-Z"))
def test_any_time_is_read_as_utc_or_not_at_all(text: str) -> None:
    time = parse_time(text)
    assert time is None or (time.utcoffset() is not None and not time.utcoffset())


_FORM = (
    b'--B\r\nContent-Disposition: form-data; name="name"\r\n\r\nfoo\r\n'
    b'--B\r\nContent-Disposition: form-data; name="content"; filename="a.whl"\r\n\r\nabc\r\n'
    b"--B--\r\n"
)


@st.composite
def _spoiled_forms(draw: st.DrawFn) -> bytes:
    start = draw(st.integers(0, len(_FORM)))
    stop = draw(st.integers(start, min(len(_FORM), start + 12)))
    piece = draw(st.binary(max_size=6) | st.sampled_from([b"\r\n", b"--B", b"--B--", b'"', b";"]))
    return _FORM[:start] + piece + _FORM[stop:]


@fuzzed
@given(_spoiled_forms(), st.booleans())
def test_any_form_is_read_or_refused(content: bytes, chunked: bool) -> None:
    length = (
        {"HTTP_TRANSFER_ENCODING": "chunked"} if chunked else {"CONTENT_LENGTH": str(len(content))}
    )
    body = RequestBody({"wsgi.input": io.BytesIO(content), **length}, 10_000)
    spool = Path(tempfile.gettempdir())
    try:
        with read_form(body, "multipart/form-data; boundary=B", spool) as form:
            form.file.content.seek(0)
            assert len(form.file.content.read()) == form.file.size <= len(content)
    except (InvalidRequestError, PayloadTooLargeError):
        return


@fuzzed
@given(
    near("bytes=0-99", "bytes=-5", "bytes=7-", "bytes=0-1,3-4", alphabet="bytes=-,0123456789 "),
    st.integers(0, 1000),
)
def test_the_part_asked_for_lies_within_the_file(header: str, size: int) -> None:
    wanted = requested_range(header, None, "etag")
    span = None if wanted is None else wanted.of(size)
    if span is not None:
        assert 0 <= span[0] < span[1] <= size
