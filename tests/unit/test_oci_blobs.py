import contextlib
import io
import json
from collections.abc import Callable

import pytest

from pyoci_flask.errors import DeniedError, NotFoundError, PyOCIError, RegistryError
from pyoci_flask.oci.blobs import blob_size, locate_blob, open_blob
from pyoci_flask.oci.reference import Digest
from pyoci_flask.oci.uploads import holds_blob, push_blob
from pyoci_flask.transport.auth import Authenticator
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.observe import CallLog
from pyoci_flask.transport.request import BearerCredentials
from pyoci_flask.transport.session import Transport
from tests.proxy_answers import PROXY_BODIES
from tests.unit.conftest import Callers
from tests.unit.doubles import Answer, Received, http_double

CONTENT = b"0123456789"
DIGEST = Digest.of(CONTENT)
BLOB = f"/v2/acme/hello/blobs/{DIGEST}"
UPLOADS = "/v2/acme/hello/blobs/uploads/"
TOKEN = BearerCredentials("t0ken")


def uploading(
    location: Callable[[Received], str | None],
    *,
    head: int = 404,
    begun: int = 202,
    get: Answer = Answer(404),  # noqa: B008 - frozen
    put: Answer = Answer(201),  # noqa: B008 - frozen
) -> Callable[[Received], Answer]:
    def handler(received: Received) -> Answer:
        match received.method:
            case "HEAD":
                return Answer(head)
            case "GET":
                return get
            case "POST":
                where = location(received)
                return Answer(begun, headers={} if where is None else {"Location": where})
            case _:
                return put

    return handler


@pytest.mark.parametrize(
    ("location", "target"),
    [
        (lambda _: "/v2/acme/hello/blobs/uploads/1", f"{UPLOADS}1?digest={DIGEST}"),
        (lambda _: "1", f"{UPLOADS}1?digest={DIGEST}"),
        (lambda _: "/other/1?_state=a%2Fb%3D&x", f"/other/1?_state=a%2Fb%3D&x&digest={DIGEST}"),
        (lambda one: f"http://{one.headers['Host']}/abs?s=1", f"/abs?s=1&digest={DIGEST}"),
        (lambda one: f"//{one.headers['Host']}/abs", f"/abs?digest={DIGEST}"),
        (lambda _: "/x#fragment", f"/x?digest={DIGEST}"),
    ],
)
@pytest.mark.parametrize("body", [CONTENT, io.BytesIO(CONTENT)])
def test_blob_is_uploaded_by_one_post_and_one_put(
    caller_of: Callers,
    location: Callable[[Received], str],
    target: str,
    body: bytes | io.BytesIO,
) -> None:
    with http_double(uploading(location)) as server:
        push_blob(caller_of(server.url, credentials=TOKEN), DIGEST, body, len(CONTENT))
        head, post, put = server.received
    assert (head.method, head.target) == ("HEAD", BLOB)
    assert (post.method, post.target, post.body) == ("POST", UPLOADS, b"")
    assert post.headers["Content-Length"] == "0"
    assert (put.method, put.target, put.body) == ("PUT", target, CONTENT)
    assert put.headers["Content-Length"] == "10"
    assert put.headers["Content-Type"] == "application/octet-stream"
    assert put.headers["Transfer-Encoding"] is None
    assert [one.authorization for one in (head, post, put)] == [TOKEN.header] * 3


def test_upload_to_another_origin_goes_without_authorization(caller_of: Callers) -> None:
    with (
        http_double(lambda _: Answer(201)) as storage,
        http_double(uploading(lambda _: f"{storage.url}/put?sig=1")) as server,
    ):
        push_blob(caller_of(server.url, credentials=TOKEN), DIGEST, CONTENT, len(CONTENT))
        (put,) = storage.received
        assert (put.target, put.authorization) == (f"/put?sig=1&digest={DIGEST}", None)
        assert put.body == CONTENT


@pytest.mark.parametrize(
    "get",
    [Answer(206, b"0", {"Content-Range": "bytes 0-0/10"}), Answer(200, CONTENT)],
    ids=["range", "whole"],
)
def test_blob_of_which_a_byte_comes_is_not_uploaded(caller_of: Callers, get: Answer) -> None:
    with http_double(uploading(lambda _: "/x", head=200, get=get)) as server:
        push_blob(caller_of(server.url), DIGEST, CONTENT, len(CONTENT))
        assert server.calls == [("HEAD", BLOB), ("GET", BLOB)]
        assert server.received[1].headers["Range"] == "bytes=0-0"


@pytest.mark.parametrize(
    "get",
    [
        Answer(206, b"", {"Content-Range": "bytes 0-0/10"}),
        Answer(206, b"0", {"Content-Range": "bytes 0-0/10"}, sent=0),
        Answer(200, CONTENT, sent=0),
        Answer(404),
        Answer(404, b'{"errors":[{"code":"BLOB_UNKNOWN"}]}'),
        Answer(416),
    ],
    ids=["empty", "broken", "whole broken", "not found", "unknown", "no such range"],
)
def test_blob_of_which_only_head_knows_is_uploaded(caller_of: Callers, get: Answer) -> None:
    with http_double(uploading(lambda _: "/x", head=200, get=get)) as server:
        push_blob(caller_of(server.url), DIGEST, CONTENT, len(CONTENT))
        assert [one.method for one in server.received] == ["HEAD", "GET", "POST", "PUT"]


@pytest.mark.parametrize("head", [403, 404, 405])
def test_blob_of_which_nothing_is_known_is_uploaded(caller_of: Callers, head: int) -> None:
    with http_double(uploading(lambda _: "/x", head=head)) as server:
        push_blob(caller_of(server.url, credentials=TOKEN), DIGEST, CONTENT, len(CONTENT))
        assert [one.method for one in server.received] == ["HEAD", "POST", "PUT"]


def test_blob_that_is_missing_is_uploaded_without_a_look_also_at_the_second_try(
    caller_of: Callers,
) -> None:
    left = [Answer(503), Answer(201)]
    handler = uploading(lambda _: "/x", head=200, get=Answer(200, CONTENT))

    def failing_once(received: Received) -> Answer:
        return left.pop(0) if received.method == "PUT" else handler(received)

    with http_double(failing_once) as server:
        push_blob(caller_of(server.url), DIGEST, CONTENT, len(CONTENT), missing=True)
        sent = [one.method for one in server.received]
        assert [method for method in sent if method != "DELETE"] == ["POST", "PUT"] * 2


@pytest.mark.parametrize("put", [201, 204])
def test_upload_ends_with_either_answer(caller_of: Callers, put: int) -> None:
    stored = Answer(put, headers={"Docker-Content-Digest": str(DIGEST)})
    with http_double(uploading(lambda _: "/x", put=stored)) as server:
        push_blob(caller_of(server.url), DIGEST, CONTENT, len(CONTENT))


@pytest.mark.parametrize(
    ("double", "kind", "methods"),
    [
        (uploading(lambda _: "/x", head=401), DeniedError, 1),
        (uploading(lambda _: "/x", head=400), RegistryError, 1),
        (uploading(lambda _: "/x", begun=404), RegistryError, 2),
        (uploading(lambda _: "/x", begun=403), DeniedError, 2),
        (uploading(lambda _: "/x", begun=201), RegistryError, 2),
        (uploading(lambda _: None), RegistryError, 2),
        (uploading(lambda _: "http://user@127.0.0.1/"), RegistryError, 2),
        (uploading(lambda _: "ftp://127.0.0.1/"), RegistryError, 2),
        (uploading(lambda _: "/x", put=Answer(401)), DeniedError, 4),
        (uploading(lambda _: "/x", put=Answer(200)), RegistryError, 4),
        (uploading(lambda _: "/x", put=Answer(202)), RegistryError, 4),
        (uploading(lambda _: "/x", put=Answer(416)), RegistryError, 4),
        (uploading(lambda _: "/x", put=Answer(307, headers={"Location": "/y"})), RegistryError, 4),
        (
            uploading(
                lambda _: "/x",
                put=Answer(201, headers={"Docker-Content-Digest": str(Digest.of(b"x"))}),
            ),
            RegistryError,
            3,
        ),
    ],
)
def test_upload_that_is_not_taken_is_an_error(
    caller_of: Callers, double: Callable[[Received], Answer], kind: type[PyOCIError], methods: int
) -> None:
    with http_double(double) as server:
        with pytest.raises(kind) as caught:
            push_blob(caller_of(server.url, credentials=TOKEN), DIGEST, CONTENT, len(CONTENT))
        assert type(caught.value) is kind
        sent = [received.method for received in server.received]
        # What was begun is cancelled.
        assert sent == ["HEAD", "POST", "PUT", "DELETE"][:methods]


def test_repository_that_has_to_be_made_first_is_named(caller_of: Callers) -> None:
    body = b'{"errors":[{"code":"NAME_UNKNOWN","message":"make it"}]}'

    def handler(received: Received) -> Answer:
        return Answer(404, b"" if received.method == "HEAD" else body)

    with (
        http_double(handler) as server,
        pytest.raises(NotFoundError, match=r"acme/hello does not exist .*NAME_UNKNOWN make it"),
    ):
        push_blob(caller_of(server.url), DIGEST, CONTENT, len(CONTENT))


def ranges(received: Received) -> Answer:
    """A registry that can send parts."""
    wanted = received.headers.get("Range")
    if wanted is None:
        return Answer(body=CONTENT)
    first, last = wanted.removeprefix("bytes=").split("-")
    part = CONTENT[int(first) : int(last or 9) + 1]
    span = f"bytes {first}-{int(first) + len(part) - 1}/{len(CONTENT)}"
    return Answer(206, part, {"Content-Range": span})


@pytest.mark.parametrize(
    ("first", "last", "header", "content"),
    [
        (0, None, None, CONTENT),
        (3, None, "bytes=3-", b"3456789"),
        (3, 5, "bytes=3-5", b"345"),
        (0, 0, "bytes=0-0", b"0"),
        (0, 9, "bytes=0-9", CONTENT),
    ],
)
def test_part_of_a_blob_is_asked_for_as_a_range(
    caller_of: Callers, first: int, last: int | None, header: str | None, content: bytes
) -> None:
    with http_double(ranges) as server:
        with open_blob(caller_of(server.url), DIGEST, first=first, last=last) as blob:
            assert (blob.size, blob.start) == (10, first)
            assert b"".join(blob.chunks()) == content
        assert server.received[0].headers["Range"] == header
        assert server.received[0].headers["Accept-Encoding"] == "identity"


def test_registry_without_ranges_sends_the_whole(caller_of: Callers) -> None:
    with (
        http_double(lambda _: Answer(body=CONTENT)) as server,
        open_blob(caller_of(server.url), DIGEST, first=3, last=5) as blob,
    ):
        assert (blob.size, blob.start) == (10, 0)
        assert b"".join(blob.chunks()) == CONTENT


def test_part_of_a_blob_of_unknown_size(caller_of: Callers) -> None:
    answer = Answer(206, b"345", {"Content-Range": "bytes 3-5/*"})
    with (
        http_double(lambda _: answer) as server,
        open_blob(caller_of(server.url), DIGEST, first=3, last=5) as blob,
    ):
        assert (blob.size, blob.start) == (None, 3)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(206, b"345"),
        Answer(206, b"345", {"Content-Range": "bytes 2-4/10"}),
        Answer(206, b"345", {"Content-Range": "bytes */10"}),
        Answer(206, b"345", {"Content-Range": "items 3-5/10"}),
        Answer(206, b"345", {"Content-Range": "bytes 3-5"}),
        Answer(416, headers={"Content-Range": "bytes */10"}),
        Answer(204),
        Answer(418),
        Answer(302),
    ],
)
def test_another_part_than_asked_for_is_refused(caller_of: Callers, answer: Answer) -> None:
    with http_double(lambda _: answer) as server, pytest.raises(RegistryError):
        open_blob(caller_of(server.url), DIGEST, first=3, last=5)


def test_part_that_was_not_asked_for_is_refused(caller_of: Callers) -> None:
    answer = Answer(206, b"345", {"Content-Range": "bytes 3-5/10"})
    with http_double(lambda _: answer) as server, pytest.raises(RegistryError):
        open_blob(caller_of(server.url), DIGEST)


@pytest.mark.parametrize("code", ["BLOB_UNKNOWN", "NAME_UNKNOWN", "NOT_FOUND"])
def test_missing_blob_is_not_found(caller_of: Callers, code: str) -> None:
    body = json.dumps({"errors": [{"code": code}]}).encode()
    with http_double(lambda _: Answer(404, body)) as server:
        for ask in (open_blob, blob_size):
            with pytest.raises(NotFoundError, match=f"{DIGEST}"):
                ask(caller_of(server.url), DIGEST)


@pytest.mark.parametrize("body", PROXY_BODIES.values(), ids=PROXY_BODIES)
def test_404_of_a_proxy_is_no_missing_blob(caller_of: Callers, body: bytes) -> None:
    with http_double(lambda _: Answer(404, body)) as server:
        for ask in (open_blob, blob_size):
            with pytest.raises(RegistryError, match="answered 404"):
                ask(caller_of(server.url), DIGEST)
        assert not holds_blob(caller_of(server.url), DIGEST)  # uploading it again does no harm


@pytest.mark.parametrize("code", ["NAME_UNKNOWN", "NOT_FOUND"])
def test_upload_to_a_repository_that_must_be_made_first_says_so(
    caller_of: Callers, code: str
) -> None:
    body = json.dumps({"errors": [{"code": code}]}).encode()
    with (
        http_double(lambda _: Answer(404, body)) as server,
        pytest.raises(NotFoundError, match="make the repository there first"),
    ):
        push_blob(caller_of(server.url), DIGEST, CONTENT, len(CONTENT))


def test_size_of_a_blob_is_asked_for_without_its_bytes(caller_of: Callers) -> None:
    with http_double(lambda _: Answer(body=CONTENT)) as server:
        assert blob_size(caller_of(server.url), DIGEST) == 10
        assert server.calls == [("HEAD", BLOB)]


def test_size_of_a_blob_is_that_of_a_get_where_there_is_no_head(caller_of: Callers) -> None:
    def handler(received: Received) -> Answer:
        return Answer(405) if received.method == "HEAD" else Answer(body=CONTENT)

    with http_double(handler) as server:
        assert blob_size(caller_of(server.url), DIGEST) == 10
        assert server.calls == [("HEAD", BLOB), ("GET", BLOB)]


@pytest.mark.parametrize("length", ["", "x", "²", "9" * 30])
def test_registry_that_does_not_tell_the_size_is_at_fault(caller_of: Callers, length: str) -> None:
    with (
        http_double(lambda _: Answer(headers={"Content-Length": length})) as server,
        pytest.raises(RegistryError, match="does not say how large a blob is"),
    ):
        blob_size(caller_of(server.url), DIGEST)


@pytest.mark.parametrize("location", ["http://user@storage.example.com/", "http://[", "ftp://x/"])
def test_location_that_is_no_address_ends_the_call(
    caplog: pytest.LogCaptureFixture, location: str
) -> None:
    caplog.set_level("INFO", "pyoci.registry")
    transport = Transport(network=Network(), pool_size=1, observers=[CallLog()])
    with (
        contextlib.closing(transport),
        http_double(lambda _: Answer(307, headers={"Location": location})) as server,
        pytest.raises(RegistryError, match="Location that is no address"),
    ):
        locate_blob(Callers(transport, Authenticator(transport))(server.url), DIGEST)
    [line] = [line for line in caplog.messages if "/blobs/" in line]
    assert "status=307" in line


@pytest.mark.parametrize("moved", [False, True])
def test_part_of_a_blob_of_the_registry_itself_comes_at_once(
    caller_of: Callers, moved: bool
) -> None:
    def handler(received: Received) -> Answer:
        if moved and received.path == BLOB:
            return Answer(307, headers={"Location": "/elsewhere"})
        return ranges(received)

    with http_double(handler) as server:
        blob = locate_blob(caller_of(server.url), DIGEST, first=3, last=5)
        assert not isinstance(blob, str)
        with blob:
            assert (blob.start, b"".join(blob.chunks())) == (3, b"345")
        assert len(server.calls) == 1 + moved
