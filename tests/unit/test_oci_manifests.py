import pytest

from pyoci_flask.errors import (
    AlreadyExistsError,
    DeniedError,
    PayloadTooLargeError,
    PyOCIError,
    RegistryError,
    UnsupportedError,
)
from pyoci_flask.oci.manifests import (
    Deletion,
    MissingContentError,
    delete_manifest,
    get_manifest,
    put_manifest,
)
from pyoci_flask.oci.model import (
    DOCUMENT_LIMIT,
    INDEX_TYPE,
    MANIFEST_TYPE,
    ImageIndex,
    MalformedDocumentError,
)
from pyoci_flask.oci.reference import Digest, Tag
from pyoci_flask.transport.request import BearerCredentials
from tests.proxy_answers import PROXY_BODIES
from tests.unit.conftest import Callers
from tests.unit.doubles import Answer, Received, http_double, in_turn
from tests.unit.oci_answers import error, page

TAG = Tag("1.0")
DOCUMENT = b'{"schemaVersion": 2, "mediaType": "' + INDEX_TYPE.encode() + b'", "manifests": []}'
DIGEST = Digest.of(DOCUMENT)
TOKEN = BearerCredentials("t0ken")


def overwriting() -> Answer:
    """What ocimem answers for a tag that is there."""
    body = b'{"errors":[{"code":"DENIED","message":"denied: cannot overwrite tag"}]}'
    return Answer(403, body)


@pytest.mark.parametrize("headers", [{}, {"Docker-Content-Digest": str(Digest.of(b"other"))}])
@pytest.mark.parametrize("reference", [TAG, DIGEST])
def test_digest_of_a_manifest_is_computed_and_not_believed(
    caller_of: Callers, headers: dict[str, str], reference: Tag | Digest
) -> None:
    with http_double(lambda _: Answer(body=DOCUMENT, headers=headers)) as server:
        manifest = get_manifest(caller_of(server.url), reference)
        assert manifest is not None
        assert (manifest.document, manifest.digest) == (DOCUMENT, DIGEST)
        assert manifest.media_type == INDEX_TYPE
        assert server.received[0].path == f"/v2/acme/hello/manifests/{reference}"
        accepted = server.received[0].headers["Accept"].split(", ")
        assert accepted[:2] == [INDEX_TYPE, MANIFEST_TYPE]


@pytest.mark.parametrize(
    ("document", "content_type", "media_type"),
    [
        (DOCUMENT, "text/plain", INDEX_TYPE),
        (b"{}", f"{MANIFEST_TYPE}; charset=utf-8", MANIFEST_TYPE),
        (b"{}", MANIFEST_TYPE.upper(), MANIFEST_TYPE),
        (b'{"mediaType": 7}', MANIFEST_TYPE, MANIFEST_TYPE),
        (b"{}", "", ""),
    ],
)
def test_media_type_is_that_of_the_body_or_else_of_the_header(
    caller_of: Callers, document: bytes, content_type: str, media_type: str
) -> None:
    answer = Answer(body=document, headers={"Content-Type": content_type})
    with http_double(lambda _: answer) as server:
        manifest = get_manifest(caller_of(server.url), TAG)
        assert manifest is not None
        assert manifest.media_type == media_type


@pytest.mark.parametrize("code", ["MANIFEST_UNKNOWN", "NAME_UNKNOWN", "TAG_EXPIRED", "NOT_FOUND"])
def test_missing_manifest_is_none(caller_of: Callers, code: str) -> None:
    with http_double(lambda _: error(404, code)) as server:
        assert get_manifest(caller_of(server.url), TAG) is None
        assert get_manifest(caller_of(server.url), DIGEST) is None
        assert len(server.received) == 2


@pytest.mark.parametrize("body", PROXY_BODIES.values(), ids=PROXY_BODIES)
def test_404_of_a_proxy_is_no_missing_manifest(caller_of: Callers, body: bytes) -> None:
    with http_double(lambda _: Answer(404, body)) as server:
        for reference in (TAG, DIGEST):
            with pytest.raises(RegistryError, match="answered 404"):
                get_manifest(caller_of(server.url), reference)


def test_manifest_with_a_404_in_other_words_is_missing_if_its_tag_is_not_listed(
    caller_of: Callers,
) -> None:
    listed: list[str] = ["0.9"]

    def registry(received: Received) -> Answer:
        return page(listed) if received.path.endswith("/tags/list") else Answer(404, b"<html>")

    with http_double(registry) as server:
        assert get_manifest(caller_of(server.url), TAG) is None
        listed.append("1.0")
        for reference in (TAG, DIGEST):
            with pytest.raises(RegistryError, match="answered 404"):
                get_manifest(caller_of(server.url), reference)


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        (DIGEST, Answer(body=DOCUMENT + b"\n")),
        (DIGEST, Answer(body=b"")),
        (TAG, Answer(body=b"")),
        (TAG, Answer(body=b"<html>")),
        (TAG, Answer(body=b"[]")),
        (TAG, Answer(body=b" " * (4 * 1024 * 1024 + 1))),
        (TAG, Answer(body=DOCUMENT, sent=10)),
        (TAG, Answer(400)),
        (TAG, Answer(204)),
    ],
)
def test_wrong_manifest_is_the_registrys_fault(
    caller_of: Callers, reference: Tag | Digest, answer: Answer
) -> None:
    with http_double(lambda _: answer) as server, pytest.raises(PyOCIError) as caught:
        get_manifest(caller_of(server.url), reference)
    assert type(caught.value).__name__ in {
        "RegistryError",
        "OversizedError",
        "TransferBrokenError",
    }


@pytest.mark.parametrize("depth", [900, 100_000])
def test_manifest_that_is_nested_too_deeply_is_no_failure_of_the_registry(
    caller_of: Callers, depth: int
) -> None:
    """How deep the parser may go depends on the thread: it is no package on any."""
    odd = DOCUMENT[:-1] + b', "x": ' + b"[" * depth + b"]" * depth + b"}"
    reply = Answer(body=odd, headers={"Content-Type": INDEX_TYPE})
    with http_double(lambda _: reply) as server:
        found = get_manifest(caller_of(server.url), TAG)
    assert found is not None
    assert found.media_type == INDEX_TYPE
    with pytest.raises(MalformedDocumentError):
        ImageIndex.parse(found.document)


def test_document_that_could_not_be_read_again_is_not_put(caller_of: Callers) -> None:
    with http_double(lambda _: Answer(201)) as server:
        put_manifest(caller_of(server.url), TAG, b" " * DOCUMENT_LIMIT, INDEX_TYPE)
        with pytest.raises(PayloadTooLargeError, match="at most 4194304"):
            put_manifest(caller_of(server.url), TAG, b" " * (DOCUMENT_LIMIT + 1), INDEX_TYPE)
        assert len(server.received) == 1


@pytest.mark.parametrize("status", [200, 201, 202, 204])
@pytest.mark.parametrize("reference", [TAG, DIGEST])
def test_manifest_is_put_with_its_type_and_length(
    caller_of: Callers, status: int, reference: Tag | Digest
) -> None:
    answer = Answer(status, headers={"Docker-Content-Digest": str(DIGEST)})
    with http_double(lambda _: answer) as server:
        put_manifest(caller_of(server.url), reference, DOCUMENT, INDEX_TYPE)
        (put,) = server.received
    assert (put.method, put.path) == ("PUT", f"/v2/acme/hello/manifests/{reference}")
    assert (put.headers["Content-Type"], put.body) == (INDEX_TYPE, DOCUMENT)
    assert put.headers["Content-Length"] == str(len(DOCUMENT))


def test_manifest_by_digest_is_put_again_after_a_failure_and_a_tag_is_not(
    caller_of: Callers,
) -> None:
    with http_double(in_turn(Answer(503), Answer(201))) as server:
        put_manifest(caller_of(server.url), DIGEST, DOCUMENT, INDEX_TYPE)
        assert len(server.received) == 2
    with http_double(in_turn(Answer(503), Answer(201))) as server:
        with pytest.raises(RegistryError):
            put_manifest(caller_of(server.url), TAG, DOCUMENT, INDEX_TYPE)
        assert len(server.received) == 1


@pytest.mark.parametrize(
    ("reference", "answer", "kind"),
    [
        (TAG, error(409, "CONFLICT"), AlreadyExistsError),
        (TAG, error(412, "PRECONDITION"), AlreadyExistsError),
        (TAG, error(400, "TAG_INVALID"), AlreadyExistsError),
        (TAG, Answer(409, b"<html>"), AlreadyExistsError),
        (DIGEST, error(409, "CONFLICT"), RegistryError),
        (TAG, error(400, "MANIFEST_BLOB_UNKNOWN"), MissingContentError),
        (DIGEST, error(404, "BLOB_UNKNOWN"), MissingContentError),
        (TAG, error(404, "MANIFEST_UNKNOWN"), MissingContentError),
        (TAG, error(400, "MANIFEST_INVALID"), MissingContentError),
        (TAG, error(400, "SIZE_INVALID"), RegistryError),
        (TAG, error(403, "DENIED"), DeniedError),
        (TAG, overwriting(), AlreadyExistsError),
        (TAG, error(401, "UNAUTHORIZED"), DeniedError),
        (TAG, error(405, "UNSUPPORTED"), UnsupportedError),
        (
            TAG,
            Answer(201, headers={"Docker-Content-Digest": str(Digest.of(b"x"))}),
            RegistryError,
        ),
    ],
)
def test_manifest_that_is_not_stored_is_an_error(
    caller_of: Callers, reference: Tag | Digest, answer: Answer, kind: type[PyOCIError]
) -> None:
    with http_double(lambda _: answer) as server:
        caller = caller_of(server.url, credentials=TOKEN)
        with pytest.raises(PyOCIError) as caught:
            put_manifest(caller, reference, DOCUMENT, INDEX_TYPE)
    assert type(caught.value) is kind


def test_immutable_tag_is_named_so(caller_of: Callers) -> None:
    with (
        http_double(lambda _: error(400, "TAG_INVALID")) as server,
        pytest.raises(AlreadyExistsError, match=r"immutable: TAG_INVALID so it is.* 1\.0 "),
    ):
        put_manifest(caller_of(server.url), TAG, DOCUMENT, INDEX_TYPE)


@pytest.mark.parametrize(
    ("reference", "status", "outcome"),
    [
        (TAG, 202, Deletion.DONE),
        (DIGEST, 202, Deletion.DONE),
        (TAG, 200, Deletion.DONE),
        (DIGEST, 204, Deletion.DONE),
        (TAG, 404, Deletion.MISSING),
        (DIGEST, 404, Deletion.MISSING),
        (TAG, 405, Deletion.UNSUPPORTED),
        (DIGEST, 405, Deletion.UNSUPPORTED),
        (DIGEST, 501, Deletion.UNSUPPORTED),
        (TAG, 400, Deletion.UNSUPPORTED),
        (DIGEST, 409, Deletion.UNSUPPORTED),
        (DIGEST, 412, Deletion.UNSUPPORTED),
    ],
)
def test_deletion_ends_in_one_of_three_ways(
    caller_of: Callers, reference: Tag | Digest, status: int, outcome: Deletion
) -> None:
    code = "MANIFEST_UNKNOWN" if status == 404 else "SOME"
    with http_double(lambda _: error(status, code)) as server:
        assert delete_manifest(caller_of(server.url), reference) is outcome
        (delete,) = server.received
    assert (delete.method, delete.path) == ("DELETE", f"/v2/acme/hello/manifests/{reference}")
    assert delete.headers["Content-Length"] == "0"


@pytest.mark.parametrize("body", PROXY_BODIES.values(), ids=PROXY_BODIES)
def test_404_of_a_proxy_to_a_deletion_deletes_nothing(caller_of: Callers, body: bytes) -> None:
    with http_double(lambda _: Answer(404, body)) as server:
        for reference in (TAG, DIGEST):
            outcome = delete_manifest(caller_of(server.url), reference)
            assert outcome is Deletion.UNSUPPORTED


@pytest.mark.parametrize(
    ("reference", "status", "kind"),
    [
        (TAG, 401, DeniedError),
        (DIGEST, 403, DeniedError),
        (DIGEST, 400, RegistryError),
        (TAG, 418, RegistryError),
    ],
)
def test_deletion_that_is_refused_is_an_error(
    caller_of: Callers, reference: Tag | Digest, status: int, kind: type[PyOCIError]
) -> None:
    with http_double(lambda _: Answer(status)) as server, pytest.raises(kind):
        delete_manifest(caller_of(server.url, credentials=TOKEN), reference)


def test_tags_that_are_immutable_cannot_be_deleted_either(caller_of: Callers) -> None:
    with http_double(lambda _: error(412, "PRECONDITION")) as server:
        assert delete_manifest(caller_of(server.url), TAG) is Deletion.UNSUPPORTED
