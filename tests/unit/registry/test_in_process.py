import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pytest
import requests

from pyoci_flask.common.outlet import FilePart
from pyoci_flask.errors import OversizedError, TransferBrokenError
from pyoci_flask.registry import call as registry_call
from pyoci_flask.registry import create_registry
from pyoci_flask.registry.call import Answer
from pyoci_flask.registry.files import open_file
from pyoci_flask.registry.in_process import InProcess
from pyoci_flask.transport.auth import Authenticator
from pyoci_flask.transport.local import LocalReply
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.observe import Call
from pyoci_flask.transport.request import BasicCredentials, Request
from pyoci_flask.transport.session import Transport
from tests.local_adapter import LocalAdapter
from tests.patience import PATIENCE
from tests.unit.registry.client import ORIGIN, RegistryClient, Streamed, in_process

CONTENT = b"0123456789"
ZEROS = "72abf2ca8f36943ebe2e49ca3a51d409ca5f0bfcffab6c9d25643c17c32889da"
"""The sha256 of as many zero bytes as the last test sends."""


class Double:
    """Answers every call with `made`, after it has read the body; remembers the call."""

    def __init__(self, made: Answer, *, reads: bool = True) -> None:
        self.call: registry_call.Call
        self.received = b""
        self._made = made
        self._reads = reads

    def answer(self, call: registry_call.Call, /) -> Answer:
        self.call = call
        if self._reads:
            self.received = b"".join(iter(lambda: call.body.read(64), b""))
        return self._made


class Counting(Double):
    """The same, and counts the calls."""

    calls = 0

    def answer(self, call: registry_call.Call, /) -> Answer:
        self.calls += 1
        return super().answer(call)


def connected(double: Double) -> RegistryClient:
    session = requests.Session()
    session.trust_env = False
    session.mount(ORIGIN, LocalAdapter(double))
    return RegistryClient(session)


@pytest.fixture
def part(tmp_path: Path) -> Iterator[FilePart]:
    """The third to the eighth byte of a file."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    with open_file(path) as file:
        yield FilePart(file, 2, 6)


def received(body: bytes | FilePart) -> LocalReply:
    """The reply to a call that the registry answers with this body."""
    size = len(body) if isinstance(body, bytes) else body.length
    local = InProcess(Double(Answer(200, {"Content-Length": str(size)}, body)))
    answer = local.exchange("GET", f"{ORIGIN}/x", {}, None, None)
    return LocalReply(answer, Call(Request("GET", f"{ORIGIN}/x", ORIGIN), ()))


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

    assert (response.status_code, response.ok) == (404, False)
    assert (response.text, response.headers["x-some"]) == ("grün", "1")
    assert response.url == f"{ORIGIN}/x"


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


def test_the_reply_says_where_in_a_file_its_body_is(part: FilePart) -> None:
    reply = received(part)

    assert (reply.file, reply.length) == (part, 6)
    assert not part.file.closed
    reply.close()
    assert part.file.closed


def test_a_body_in_memory_is_in_no_file() -> None:
    reply = received(b"text")

    assert (reply.file, list(reply.chunks()), reply.received) == (None, [b"text"], 4)


def test_a_body_of_nothing_has_no_chunks() -> None:
    assert list(received(b"").chunks()) == []


def test_a_part_of_a_file_is_streamed(part: FilePart) -> None:
    reply = received(part)

    assert b"".join(reply.chunks()) == b"234567"
    assert (reply.received, part.file.closed) == (6, True)


@pytest.mark.parametrize("where", ["memory", "file"])
def test_a_whole_body_is_read_at_once(part: FilePart, where: str) -> None:
    reply = received(part if where == "file" else b"234567")

    assert (reply.read(6), reply.received) == (b"234567", 6)
    assert reply.file is None or part.file.closed


@pytest.mark.parametrize("where", ["memory", "file"])
def test_a_body_over_the_limit_is_not_read(part: FilePart, where: str) -> None:
    reply = received(part if where == "file" else b"234567")

    with pytest.raises(OversizedError, match="more than 5 bytes"):
        reply.read(5)
    assert reply.file is None or part.file.closed


@pytest.mark.parametrize(("size", "told"), [(65_536, 0), (65_537, 1)])
def test_a_large_body_is_announced(size: int, told: int) -> None:
    seen: list[int] = []

    received(bytes(size)).read(1_000_000, lambda: seen.append(1))

    assert len(seen) == told


@pytest.mark.parametrize("whole", [True, False])
def test_a_file_that_has_become_shorter_breaks_the_response(part: FilePart, *, whole: bool) -> None:
    reply = received(part._replace(length=9))

    with pytest.raises(TransferBrokenError):
        reply.read(100) if whole else list(reply.chunks())
    assert part.file.closed


def test_a_file_that_cannot_be_read_breaks_the_response(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with path.open("wb") as unreadable:
        reply = received(FilePart(cast("BinaryIO", unreadable), 0, 5))

        with pytest.raises(TransferBrokenError):
            reply.read(100)


class Observer:
    """Keeps what it receives."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def call_started(self, method: str, url: str) -> "Observer":
        self.told.append((method, url))
        return self

    def finished(
        self, *, status: int | None, error: BaseException | None, sent: int, received: int
    ) -> None:
        self.told.append((status, error, sent, received))


def test_observers_learn_of_each_call_once(part: FilePart) -> None:
    observer = Observer()
    transport = Transport(network=Network.from_env({}), pool_size=1, observers=[observer])
    transport.mount(ORIGIN, InProcess(Double(Answer(200, {}, part))))
    request = Request("PUT", f"{ORIGIN}/x", ORIGIN, body=b"body")
    with transport.send(request) as reply:
        assert reply.read(100) == b"234567"

    assert observer.told == [("PUT", f"{ORIGIN}/x"), (200, None, 4, 6)]


@pytest.mark.parametrize(
    ("credentials", "sent"), [(None, None), (BasicCredentials("u", "p"), "Basic dTpw")]
)
def test_credentials_are_sent_at_once_and_a_refusal_is_final(
    credentials: BasicCredentials | None, sent: str | None
) -> None:
    double = Counting(Answer(401, {"WWW-Authenticate": 'Basic realm="x"'}))
    transport = Transport(network=Network.from_env({}), pool_size=1)
    transport.mount(ORIGIN, InProcess(double))
    authenticator = Authenticator(transport)
    request = Request("GET", f"{ORIGIN}/x", ORIGIN, credentials=credentials)

    reply = authenticator.send(request)
    again = authenticator.send(request, refused=reply)

    assert (reply.status, again, double.calls) == (401, reply, 1)
    assert double.call.headers.get("Authorization") == sent
    assert authenticator.probe(ORIGIN)


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
