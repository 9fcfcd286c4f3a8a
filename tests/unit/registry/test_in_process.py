import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pytest
import requests
from urllib3.exceptions import ProtocolError

from pyoci_flask.common.outlet import FilePart
from pyoci_flask.registry import create_registry
from pyoci_flask.registry.call import Answer, Call
from pyoci_flask.registry.files import open_file
from pyoci_flask.registry.in_process import InProcessAdapter, LocalResponse
from tests.patience import PATIENCE
from tests.unit.registry.client import ORIGIN, RegistryClient, Streamed, in_process

CONTENT = b"0123456789"
ZEROS = "72abf2ca8f36943ebe2e49ca3a51d409ca5f0bfcffab6c9d25643c17c32889da"
"""The sha256 of as many zero bytes as the last test sends."""


class Double:
    """Answers every call with `made`, after it has read the body; remembers the call."""

    def __init__(self, made: Answer, *, reads: bool = True) -> None:
        self.call: Call
        self.received = b""
        self._made = made
        self._reads = reads

    def answer(self, call: Call, /) -> Answer:
        self.call = call
        if self._reads:
            self.received = b"".join(iter(lambda: call.body.read(64), b""))
        return self._made


def connected(double: Double) -> RegistryClient:
    session = requests.Session()
    session.trust_env = False
    session.mount(ORIGIN, InProcessAdapter(double))
    return RegistryClient(session)


@pytest.fixture
def part(tmp_path: Path) -> Iterator[FilePart]:
    """The third to the eighth byte of a file."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    with open_file(path) as file:
        yield FilePart(file, 2, 6)


def received(part: FilePart) -> LocalResponse:
    headers = {"Content-Length": str(part.length)}
    client = connected(Double(Answer(200, headers, part)))
    return cast("LocalResponse", client.request("GET", "/x", stream=True))


def test_the_call_says_what_the_request_said() -> None:
    double = Double(Answer())

    connected(double).request(
        "POST", "/a%2Fb/%C3%BC?x=%2F&y", b"body", {"Content-Type": "text/x", "X-Some": "1"}
    )

    call = double.call
    assert (call.method, call.path, call.root, call.scheme) == ("POST", "/a/b/ü", "", "http")
    assert (call.argument("x"), call.argument("y"), call.argument("z")) == ("/", "", None)
    assert (call.headers.get("content-type"), call.headers.get("X-SOME")) == ("text/x", "1")
    assert (call.length, double.received) == (4, b"body")


def test_the_response_says_what_the_registry_said() -> None:
    headers = {"Content-Type": "text/plain", "X-Some": "1"}

    response = connected(Double(Answer(404, headers, "grün".encode()))).get("/x")

    assert (response.status_code, response.reason, response.ok) == (404, "Not Found", False)
    assert (response.text, response.headers["x-some"]) == ("grün", "1")
    assert response.url == f"{ORIGIN}/x"
    assert response.raw.closed


BODIES: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "bytes": lambda: b"body",
    "text": lambda: "body",
    "a file": lambda: io.BytesIO(b"body"),
    "a file of unknown length": lambda: Streamed([b"bo", b"dy"]),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_every_kind_of_body_arrives(body: Callable[[], object]) -> None:
    double = Double(Answer())
    sent = body()

    connected(double).request("PUT", "/x", sent)  # type: ignore[arg-type]

    assert double.received == (b"" if sent is None else b"body")
    unknown = isinstance(sent, Streamed)
    assert double.call.length == (None if unknown else len(double.received))


def test_a_file_is_read_from_where_it_stands_and_left_open() -> None:
    double = Double(Answer())
    file = io.BytesIO(CONTENT)
    file.seek(2)

    connected(double).request("PUT", "/x", file)

    assert (double.received, double.call.length) == (CONTENT[2:], 8)
    assert not file.closed


def test_an_answer_may_come_before_the_body_was_read() -> None:
    file = io.BytesIO(CONTENT)
    double = Double(Answer(413, {}, b"too large"), reads=False)

    response = connected(double).request("PUT", "/x", file)

    assert (response.status_code, response.text) == (413, "too large")
    assert file.tell() == 0


def test_the_response_says_where_in_a_file_its_body_is(part: FilePart) -> None:
    response = received(part)

    assert response.file_part == part
    assert not part.file.closed
    response.close()
    assert part.file.closed


def test_a_body_in_memory_is_in_no_file() -> None:
    response = connected(Double(Answer(200, {}, b"text"))).get("/x")

    assert cast("LocalResponse", response).file_part is None


def test_a_part_of_a_file_is_read_piece_by_piece(part: FilePart) -> None:
    response = received(part)

    assert response.raw.read(4) == b"2345"
    assert not part.file.closed
    assert list(response.iter_content(1)) == [b"6", b"7"]
    assert part.file.closed
    assert response.raw.read(1) == b""


@pytest.mark.parametrize("size", [None, -1])
def test_a_whole_part_of_a_file_is_read_at_once(part: FilePart, size: int | None) -> None:
    assert received(part).raw.read(size) == b"234567"


def test_a_part_of_a_file_is_read_into_a_buffer(part: FilePart) -> None:
    buffer = bytearray(4)
    raw = received(part).raw

    assert (raw.readinto(buffer), bytes(buffer)) == (4, b"2345")
    assert (raw.readinto(buffer), bytes(buffer)) == (2, b"6745")
    assert raw.readinto(buffer) == 0


def test_bytes_are_read_piece_by_piece() -> None:
    client = connected(Double(Answer(200, {}, b"abc")))
    raw = client.request("GET", "/x", stream=True).raw

    assert [raw.read(2), raw.read(2), raw.read(2)] == [b"ab", b"c", b""]


def test_a_file_that_has_become_shorter_breaks_the_response(part: FilePart) -> None:
    response = received(part._replace(length=9))

    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="ended after 8 bytes"):
        assert response.content


def test_a_file_that_cannot_be_read_breaks_the_response(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with path.open("wb") as unreadable:
        response = received(FilePart(cast("BinaryIO", unreadable), 0, 5))

        with pytest.raises(ProtocolError, match="cannot be read"):
            response.raw.read(1)


def test_a_page_of_the_registrys_own_address_may_write(storage: Path) -> None:
    client = in_process(create_registry(storage))

    response = client.request("POST", "/v2/a/blobs/uploads/", headers={"Origin": ORIGIN})

    assert response.status_code == 202
    assert "Host" not in response.request.headers


STREAM = """
import resource, sys
from pathlib import Path
from pyoci_flask.registry import create_registry
from tests.unit.registry.client import Streamed, in_process

CHUNK, COUNT = 262_144, 800
client = in_process(create_registry(Path(sys.argv[1])))
location = client.begin_upload("a")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
client.request("PATCH", location, Streamed(bytes(CHUNK) for _ in range(COUNT)))
digest = sys.argv[2]
assert client.request("PUT", f"{location}?digest={digest}").status_code == 201
response = client.request("GET", f"/v2/a/blobs/{digest}", stream=True)
received = sum(len(chunk) for chunk in response.iter_content(CHUNK))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(received == CHUNK * COUNT, (after - before) // 1024 < 16)
"""


def test_large_bodies_take_no_memory(tmp_path: Path) -> None:
    digest = "sha256:" + ZEROS
    command = [sys.executable, "-c", STREAM, str(tmp_path), digest]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)

    assert done.stdout == "True True\n"
