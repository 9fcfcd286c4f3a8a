"""Downloads whose bytes go straight to the client's socket."""

import contextlib
import hashlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pyoci_flask.common.outlet import FilePart
from pyoci_flask.errors import PyOCIError, RegistryTimeoutError, TransferBrokenError
from pyoci_flask.index.download import verified
from pyoci_flask.oci.blobs import open_blob
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.reference import EMBEDDED, Digest, Repository
from pyoci_flask.registry import call as registry_call
from pyoci_flask.registry import create_registry
from pyoci_flask.registry.in_process import InProcess
from pyoci_flask.transport import shortcut
from pyoci_flask.transport.auth import Authenticator
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.session import Transport
from tests.patience import PATIENCE
from tests.unit.conftest import Callers
from tests.unit.doubles import Answer, Received, http_double
from tests.unit.outlet_lab import Client, connected

CONTENT = bytes(range(256)) * 12_000
DIGEST = Digest.of(CONTENT)
SIZE = len(CONTENT)
CHANGED = b"x" + CONTENT[1:]


def in_chunks(content: bytes) -> Answer:
    """An answer without a usable Content-Length."""
    half = len(content) // 2
    parts = (content[:half], content[half:], b"")
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return Answer(body=body, headers=[("Transfer-Encoding", "chunked"), ("Content-Length", "x")])


@pytest.fixture(params=["splice", "copy", "no pipe"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How bytes get from one socket to the other."""
    if request.param == "copy":
        monkeypatch.delattr(os, "splice")
    if request.param == "no pipe":

        def full() -> tuple[int, int]:
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(shortcut, "_pipes", type(shortcut._pipes)())
        monkeypatch.setattr(shortcut, "_new_pipe", full)
    return str(request.param)


def send(
    client: Client,
    caller: RepositoryCaller,
    *,
    hashed: bool,
    digest: Digest = DIGEST,
    whole: Callable[[], object] | None = None,
) -> int:
    """Send a blob as a worker does; return the bytes that went through the outlet."""
    outlet = client.outlet(SIZE)
    blob = open_blob(caller, digest)
    client.take(verified(blob, digest, SIZE, hashed=hashed, outlet=outlet, whole=whole))
    return outlet.sent


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("hashed", [True, False])
def test_the_whole_file_arrives_and_the_connection_serves_the_next_call(
    caller_of: Callers, *, hashed: bool
) -> None:
    seen: list[str] = []
    with http_double(lambda _: Answer(body=CONTENT)) as server:
        for _ in range(3):
            with connected() as client:
                straight = send(
                    client, caller_of(server.url), hashed=hashed, whole=lambda: seen.append("whole")
                )
                assert client.finish() == CONTENT
            assert straight > SIZE - 300_000
        assert [one.connection for one in server.received] == [0, 0, 0]
    assert seen == ["whole"] * 3


@pytest.mark.parametrize("hashed", [True, False])
def test_a_registry_with_tls_needs_no_other_way(
    tls_caller_of: Callers, certificate: tuple[Path, Path], *, hashed: bool
) -> None:
    with http_double(lambda _: Answer(body=CONTENT), certificate) as server, connected() as client:
        assert send(client, tls_caller_of(server.url), hashed=hashed) > SIZE - 300_000
        assert client.finish() == CONTENT


@pytest.mark.parametrize("hashed", [True, False])
def test_a_body_without_a_length_is_sent_the_usual_way(caller_of: Callers, *, hashed: bool) -> None:
    with http_double(lambda _: in_chunks(CONTENT)) as server, connected() as client:
        assert send(client, caller_of(server.url), hashed=hashed) == 0
        assert client.finish() == CONTENT


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("answer", "hashed"),
    [
        (Answer(body=CHANGED), True),
        (Answer(body=CONTENT[:-1] + b"x"), True),
        *[
            (answer, hashed)
            for answer in (
                Answer(body=CONTENT[:-1]),
                Answer(body=CONTENT + b"x"),
                Answer(body=CONTENT, sent=SIZE - 1),
                Answer(body=CONTENT, sent=SIZE // 2),
                Answer(body=CONTENT, sent=1),
                Answer(body=b""),
                in_chunks(CONTENT + b"x"),
                in_chunks(CONTENT[:-1]),
            )
            for hashed in (True, False)
        ],
    ],
)
def test_wrong_bytes_are_never_sent_completely(
    caller_of: Callers, answer: Answer, *, hashed: bool
) -> None:
    seen: list[str] = []
    with http_double(lambda _: answer) as server, connected() as client:
        with pytest.raises(TransferBrokenError):
            send(client, caller_of(server.url), hashed=hashed, whole=lambda: seen.append("whole"))
        assert len(client.finish()) < SIZE
    assert seen == []


def test_only_the_length_is_checked_if_the_blob_is_not_hashed(caller_of: Callers) -> None:
    with http_double(lambda _: Answer(body=CHANGED)) as server, connected() as client:
        send(client, caller_of(server.url), hashed=False)
        assert client.finish() == CHANGED


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("hashed", [True, False])
@pytest.mark.parametrize("broken", [1, 200_000, 1_000_000, SIZE - 1])
def test_a_broken_connection_is_resumed_at_the_next_byte(
    caller_of: Callers, broken: int, *, hashed: bool
) -> None:
    def answer(received: Received) -> Answer:
        wanted = received.headers.get("Range")
        if wanted is None:
            return Answer(body=CONTENT, sent=broken)
        first = int(wanted.removeprefix("bytes=").rstrip("-"))
        span = {"Content-Range": f"bytes {first}-{SIZE - 1}/{SIZE}"}
        return Answer(206, CONTENT[first:], span)

    with http_double(answer) as server, connected() as client:
        send(client, caller_of(server.url), hashed=hashed)
        assert client.finish() == CONTENT
    assert server.received[1].headers["Range"] == f"bytes={broken}-"


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("hashed", [True, False])
def test_a_client_that_takes_nothing_yet_keeps_no_thread(
    caller_of: Callers, *, hashed: bool
) -> None:
    """Its bytes wait in the connection, and come in the right order later."""
    with http_double(lambda _: Answer(body=CONTENT * 5)) as server, connected() as client:
        outlet = client.outlet(5 * SIZE)
        digest = Digest.of(CONTENT * 5)
        blob = open_blob(caller_of(server.url), digest)
        chunks = verified(blob, digest, 5 * SIZE, hashed=hashed, outlet=outlet)
        for chunk in chunks:
            client.peer.sendall(chunk)
            if client.peer.unsent:
                break
        assert client.peer.unsent
        client.take(chunks)
        assert client.waits
        assert client.finish() == CONTENT * 5


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("hashed", [True, False])
def test_a_client_that_goes_away_is_no_fault_of_the_registry(
    caller_of: Callers, *, hashed: bool
) -> None:
    """And the next client gets nothing that was left in a buffer or a pipe."""
    with http_double(lambda _: Answer(body=CONTENT)) as server:
        with connected() as client:
            client.end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.end.close()
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                send(client, caller_of(server.url), hashed=hashed)
        with connected() as client:
            send(client, caller_of(server.url), hashed=hashed)
            assert client.finish() == CONTENT


@pytest.mark.parametrize("hashed", [True, False])
def test_a_registry_that_stalls_is_given_up(*, hashed: bool) -> None:
    transport = Transport(
        network=Network(), pool_size=4, connect_timeout=PATIENCE, read_timeout=0.3
    )
    with contextlib.closing(transport), socket.create_server(("127.0.0.1", 0)) as listener:
        callers = Callers(transport, Authenticator(transport))
        caller = callers(f"http://127.0.0.1:{listener.getsockname()[1]}")
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE

        def serve() -> None:
            for part in (CONTENT[: SIZE // 2], b""):
                connection, _ = listener.accept()
                kept.append(connection)
                connection.recv(65536)
                if part:
                    connection.sendall(head + part)

        kept: list[socket.socket] = []
        thread = threading.Thread(target=serve)
        thread.start()
        with connected() as client:
            with pytest.raises(PyOCIError) as caught:
                send(client, caller, hashed=hashed)
            assert isinstance(caught.value, RegistryTimeoutError)
            assert client.finish() == CONTENT[: SIZE // 2]
        thread.join(PATIENCE)
        for one in kept:
            one.close()


class _WithFiles(InProcess):
    """Remembers what it opened."""

    def __init__(self, storage: Path) -> None:
        super().__init__(create_registry(storage))
        self.opened: list[FilePart] = []

    def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | registry_call.Readable | None,
        length: int | None,
    ) -> registry_call.Answer:
        answer = super().exchange(method, url, headers, body, length)
        if isinstance(answer.body, FilePart):
            self.opened.append(answer.body)
        return answer


@pytest.mark.parametrize("hashed", [True, False])
@pytest.mark.parametrize("fault", ["none", "changed", "cut"])
def test_a_file_of_this_machine_is_sent_from_it(
    transport: Transport, tmp_path: Path, fault: str, *, hashed: bool
) -> None:
    adapter = _WithFiles(tmp_path / "storage")
    transport.mount(EMBEDDED.origin, adapter)
    caller = RepositoryCaller(
        transport, Authenticator(transport), Repository(EMBEDDED, "acme/hello"), None
    )
    pushed = caller.call("POST", f"blobs/uploads/?digest={DIGEST}", "push", body=CONTENT)
    assert pushed.status == 201
    pushed.close()
    [path] = [one for one in (tmp_path / "storage").rglob(DIGEST.hex) if one.is_file()]
    path.chmod(0o600)
    if fault == "changed":
        path.write_bytes(CHANGED)
    right = fault == "none" or (fault == "changed" and not hashed)
    with connected() as client:
        blob = open_blob(caller, DIGEST)
        if fault == "cut":
            os.truncate(path, SIZE // 2)
        outlet = client.outlet(SIZE)
        chunks = verified(blob, DIGEST, SIZE, hashed=hashed, outlet=outlet)
        with contextlib.nullcontext() if right else pytest.raises(TransferBrokenError):
            client.take(chunks)
        received = client.finish()
        assert outlet.sent > SIZE // 2 - 300_000
    if right:
        assert hashlib.sha256(received).digest() == hashlib.sha256(path.read_bytes()).digest()
    else:
        assert len(received) < SIZE
    for part in adapter.opened:
        part.file.close()
