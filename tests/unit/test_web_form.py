import io
import os
import subprocess
import sys
import tempfile
import tracemalloc
from contextlib import suppress
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from pyoci_flask.errors import InvalidRequestError, PayloadTooLargeError
from pyoci_flask.oci.reference import Digest
from pyoci_flask.web.api.body import RequestBody
from pyoci_flask.web.api.form import UploadForm, read_form

TYPE = "multipart/form-data; boundary=B"
CONTENT = b"\r\n--A no delimiter\r\n--\r\n-\r\n\x00\xff"
Part = tuple[str, bytes]
FILE: Part = ('name="content"; filename="hello-1.0.tar.gz"', CONTENT)


def encode(*parts: Part, end: bytes = b"--B--\r\n") -> bytes:
    return (
        b"".join(
            b"--B\r\nContent-Disposition: form-data; "
            + head.encode()
            + b"\r\n\r\n"
            + body
            + b"\r\n"
            for head, body in parts
        )
        + end
    )


def field(name: str, value: str = "v") -> Part:
    return f'name="{name}"', value.encode()


def parse(content: bytes, content_type: str = TYPE, *, chunked: bool = False) -> UploadForm:
    """The form, with the file's bytes read before the spooled file is gone."""
    length = (
        {"HTTP_TRANSFER_ENCODING": "chunked"} if chunked else {"CONTENT_LENGTH": str(len(content))}
    )
    stream = io.BytesIO(content)
    body = RequestBody({"wsgi.input": stream, **length}, 50_000_000)
    with read_form(body, content_type, Path(tempfile.gettempdir())) as form:
        form.file.content.seek(0)
        assert Digest.of(form.file.content.read()) == form.file.digest
        assert body.read() == b""
        return form


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_fields_are_read_in_any_order(position: int, chunked: bool) -> None:
    parts = [field(":action", "file_upload"), field("name", "hello")]
    parts.insert(position, FILE)
    form = parse(encode(*parts), chunked=chunked)
    assert (form.one(":action"), form.one("name")) == ("file_upload", "hello")
    assert form.file.filename == "hello-1.0.tar.gz"
    assert (form.file.size, form.file.digest) == (len(CONTENT), Digest.of(CONTENT))


def test_unknown_parts_pass_by_however_large() -> None:
    form = parse(
        encode(
            field("description", "d" * 5_000_000),
            FILE,
            ('name="attestations"; filename="a.json"', b"[" * 5_000_000),
            ('name="gpg_signature"; filename="x.asc"', b"x"),
            field("other"),
        )
    )
    assert form.fields == {}


def test_repeated_fields_keep_their_order_and_empty_ones_count_as_none() -> None:
    form = parse(
        encode(
            field("classifiers", "b"),
            field("classifiers", "a"),
            field("version", ""),
            field("version", "  "),
            field("version", "1.0"),
            field("name", ""),
            FILE,
        )
    )
    assert form.all("classifiers") == ("b", "a")
    assert form.one("version") == "1.0"
    assert form.one("name") is None
    assert form.one("filetype") is None
    assert form.all("filetype") == ()


def test_two_thousand_classifiers_are_accepted() -> None:
    form = parse(encode(*(field("classifiers", str(number)) for number in range(2000)), FILE))
    assert len(form.all("classifiers")) == 2000


def test_headers_of_a_part_may_be_written_in_any_case_and_more() -> None:
    body = (
        b'--B\r\ncontent-disposition: form-data; name="content"; filename="a b.whl"\r\n'
        b"content-type: application/octet-stream\r\nX-Other: y\r\n\r\nx\r\n--B--"
    )
    assert parse(body).file.filename == "a b.whl"


@pytest.mark.parametrize(
    "content_type",
    [
        'multipart/form-data; boundary="B"',
        "Multipart/Form-Data; Boundary=B",
        "multipart/form-data; charset=utf-8; boundary=B",
    ],
)
def test_content_type_is_read_as_clients_write_it(content_type: str) -> None:
    assert parse(encode(FILE), content_type).file.size == len(CONTENT)


@pytest.mark.parametrize("end", [b"--B--", b"--B--\r\n", b"--B--\r\nepilogue" * 3])
def test_what_follows_the_form_is_read_and_ignored(end: bytes) -> None:
    assert parse(encode(FILE, end=end)).file.digest == Digest.of(CONTENT)


def test_long_epilogue_is_read_to_its_end() -> None:
    assert parse(encode(FILE) + b"x" * 1_000_000).file.size == len(CONTENT)


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/mixed; boundary=B",
        "multipart/form-data; boundary",
        ";",
    ],
)
def test_another_content_type_is_refused(content_type: str) -> None:
    with pytest.raises(InvalidRequestError, match="multipart/form-data"):
        parse(encode(FILE), content_type)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (encode(), "'content' contains no file"),
        (encode(field("name")), "'content' contains no file"),
        (encode(field("content")), "'content' contains no file"),
        (encode(('name="content"; filename=""', b"x")), "'content' contains no file"),
        (encode(('name="file"; filename="a.whl"', b"x")), "'content' contains no file"),
        (encode(FILE, FILE), "more than one file"),
        (encode(FILE, field("content")), "more than one file"),
        (encode(FILE, ('name="version"', b"\xff")), "the form field 'version' is not UTF-8"),
        (b"", "not valid multipart"),
        (b"x", "not valid multipart"),
        (encode(FILE, end=b""), "not valid multipart"),
        (encode(FILE)[:-5], "not valid multipart"),
        (encode(FILE)[:60], "not valid multipart"),
        (encode(FILE).replace(b"\r\n", b"\n"), "not valid multipart"),
        (b"--B\r\n\r\nx\r\n--B--", "not valid multipart"),
        (b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--", "'content' contains no file"),
        (b"--B\r\nnonsense\r\n\r\nx\r\n--B--", "not valid multipart"),
        (b"--C\r\n" + encode(FILE)[5:].replace(b"--B", b"--C"), "not valid multipart"),
    ],
    ids=range(18),
)
def test_broken_form_is_refused_and_says_why(content: bytes, text: str) -> None:
    with pytest.raises(InvalidRequestError, match=text):
        parse(content)


def test_fields_over_the_limit_are_refused() -> None:
    fits = encode(field("classifiers", "x" * (1024 * 1024 - 100)), FILE)
    assert parse(fits).file.size == len(CONTENT)
    with pytest.raises(PayloadTooLargeError, match="fields exceed"):
        parse(encode(field("classifiers", "x" * (1024 * 1024 - 100)), field("name", "y"), FILE))
    with pytest.raises(PayloadTooLargeError, match="fields exceed"):
        parse(encode(*[field("classifiers", "")] * 11_000, FILE))


def test_too_many_parts_and_too_long_headers_are_refused() -> None:
    with pytest.raises(PayloadTooLargeError, match="exceeds a limit"):
        parse(encode(field("x" * 20_000), FILE))
    with pytest.raises(PayloadTooLargeError, match="exceeds a limit"):
        parse(encode(*[field("x")] * 100_001, FILE))


def test_spooled_file_is_gone_afterwards(tmp_path: Path) -> None:
    content = encode(FILE)
    body = RequestBody(
        {"wsgi.input": io.BytesIO(content), "CONTENT_LENGTH": str(len(content))}, 10**6
    )
    with read_form(body, TYPE, tmp_path) as form:
        spooled = form.file.content
    assert spooled.closed
    assert list(tmp_path.iterdir()) == []


_FILL = """
import io, resource, signal, sys
from pathlib import Path
from pyoci_flask.errors import SpoolFullError
from pyoci_flask.web.api.body import RequestBody
from pyoci_flask.web.api.form import read_form

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
content = sys.stdin.buffer.read()
body = RequestBody({"wsgi.input": io.BytesIO(content), "CONTENT_LENGTH": str(len(content))}, 10**7)
try:
    with read_form(body, "multipart/form-data; boundary=B", Path(sys.argv[1])):
        print("taken")
except SpoolFullError as error:
    print("full:", error)
"""


@pytest.mark.parametrize(("size", "outcome"), [(50_000, "taken"), (200_000, "full:")])
def test_spool_without_room_is_said_to_be_full(tmp_path: Path, size: int, outcome: str) -> None:
    content = encode(('name="content"; filename="a.whl"', os.urandom(size)))
    done = subprocess.run(
        [sys.executable, "-c", _FILL, str(tmp_path)],
        input=content,
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().startswith(outcome)
    assert b"PYOCI_SPOOL" in done.stdout or outcome == "taken"


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    content = encode(('name="content"; filename="a.whl"', bytes(40_000_000)))
    stream = io.BytesIO(content)
    body = RequestBody({"wsgi.input": stream, "CONTENT_LENGTH": str(len(content))}, 10**8)
    tracemalloc.start()
    try:
        with read_form(body, TYPE, tmp_path) as form:
            assert form.file.size == 40_000_000
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


_PIECES = st.sampled_from(
    [
        *(b"--B", b"--B--", b"\r\n", b"\n", b"-", b"\x00", b"\xff", b"x", b": ", b"; ", b'"', b"%"),
        *(
            b'name="content"',
            b"Content-Disposition: form-data; ",
            b'filename="a.whl"',
            b'name="name"',
        ),
    ]
)


@hypothesis.given(
    st.binary(max_size=200)
    | st.lists(_PIECES, max_size=40).map(b"".join)
    | st.lists(_PIECES, max_size=40).map(lambda pieces: b"--B\r\n" + b"".join(pieces)),
    st.just(TYPE) | st.text(st.characters(max_codepoint=255), max_size=40),
)
@hypothesis.settings(max_examples=150)
def test_random_bytes_never_give_anything_but_our_errors(content: bytes, content_type: str) -> None:
    for kind in (content_type, f"multipart/form-data; boundary={content_type}"):
        with suppress(InvalidRequestError, PayloadTooLargeError):
            parse(content, kind)
