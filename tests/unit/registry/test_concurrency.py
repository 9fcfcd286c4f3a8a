import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pyoci_flask.registry import create_registry
from tests.patience import PATIENCE
from tests.unit.registry.client import digest_of, in_process, index

PUSH_TAGS = """
import sys
from pathlib import Path
from pyoci_flask.registry import create_registry
from tests.unit.registry.client import in_process

client = in_process(create_registry(Path(sys.argv[1])))
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    client.push_image("acme/app", f"{sys.argv[2]}-{number}", b"shared", sys.argv[2].encode())
"""


def start_pusher(storage: Path, name: str, count: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", PUSH_TAGS, str(storage), name, str(count)]
    return subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def let_go(*pushers: subprocess.Popen[str]) -> None:
    """Let them push once all of them have started."""
    for pusher in pushers:
        assert pusher.stdout is not None
        assert pusher.stdout.readline() == "ready\n"
    for pusher in pushers:
        assert pusher.stdin is not None
        pusher.stdin.write("go\n")
        pusher.stdin.flush()


def test_processes_that_push_at_once_lose_no_tag(storage: Path) -> None:
    count = 15
    names = ("a", "b", "c")
    pushers = [start_pusher(storage, name, count) for name in names]
    let_go(*pushers)
    for pusher in pushers:
        _, errors = pusher.communicate(timeout=PATIENCE)
        assert (pusher.returncode, errors) == (0, "")

    tags = in_process(create_registry(storage)).tags("acme/app")

    assert tags == sorted(f"{name}-{number}" for name in names for number in range(count))


def test_threads_that_push_at_once_lose_no_tag(storage: Path) -> None:
    app = create_registry(storage)
    together = threading.Barrier(8)

    def push(worker: int) -> None:
        client = in_process(app)
        together.wait(PATIENCE)
        for number in range(10):
            content = index(annotations={"by": str(worker)})
            client.push_manifest("acme/app", content, f"{worker}-{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(push, range(8)))

    expected = sorted(f"{worker}-{number}" for worker in range(8) for number in range(10))
    assert in_process(app).tags("acme/app") == expected


def test_one_blob_pushed_by_many_at_once_is_stored_once(storage: Path) -> None:
    app = create_registry(storage)
    together = threading.Barrier(8)
    content = b"x" * 1_000_000

    def push(_: int) -> str:
        client = in_process(app)
        together.wait(PATIENCE)
        return client.push_blob("acme/app", content)

    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(push, range(8)))

    assert digests == {digest_of(content)}
    assert len(list((storage / "acme" / "app" / "blobs" / "sha256").iterdir())) == 1
    assert list((storage / ".uploads").iterdir()) == []


def test_readers_never_see_a_repository_half_written(storage: Path) -> None:
    app = create_registry(storage)
    in_process(app).push_manifest("acme/app", index(), "moving")
    done = threading.Event()

    def read() -> set[int]:
        client, seen = in_process(app), set()
        while not done.is_set():
            seen.add(client.get("/v2/acme/app/manifests/moving").status_code)
            seen.add(client.get("/v2/acme/app/tags/list").status_code)
        return seen

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        writer = in_process(app)
        for number in range(40):
            writer.push_manifest("acme/app", index(annotations={"n": str(number)}), "moving")
        done.set()

    assert [reader.result() for reader in readers] == [{200}, {200}]


@pytest.mark.parametrize("tags_first", [1, 6])
def test_a_killed_writer_leaves_a_store_that_can_be_read(storage: Path, tags_first: int) -> None:
    reader = in_process(create_registry(storage))
    pusher = start_pusher(storage, "a", 10_000)
    let_go(pusher)

    deadline = time.monotonic() + PATIENCE
    address = "/v2/acme/app/tags/list"
    while time.monotonic() < deadline:
        listed = reader.get(address)
        if listed.status_code == 200 and len(listed.json()["tags"]) >= tags_first:
            break
    os.kill(pusher.pid, signal.SIGKILL)
    pusher.communicate(timeout=PATIENCE)

    tags = reader.tags("acme/app")
    assert len(tags) >= tags_first
    assert sorted(tags, key=lambda tag: int(tag[2:])) == [f"a-{n}" for n in range(len(tags))]
    for tag in tags:
        manifest = reader.get(f"/v2/acme/app/manifests/{tag}").json()
        for blob in (manifest["config"], *manifest["layers"]):
            found = reader.get(f"/v2/acme/app/blobs/{blob['digest']}")
            assert digest_of(found.content) == blob["digest"]
    reader.push_image("acme/app", "after", b"the lock is free")
    assert set(reader.tags("acme/app")) == {*tags, "after"}


KILL_AT_EVERY_WRITE = """
import os, signal, sys
from pathlib import Path
from pyoci_flask.registry import create_registry
from tests.unit.registry.client import in_process, index

survived, step = int(sys.argv[2]), 0

def count(event, arguments):
    # Every change of the file system is announced to the audit hooks before it is made.
    global step
    if event in ("os.rename", "os.remove", "os.mkdir", "os.link"):
        step += 1
        if step > survived:
            os.kill(os.getpid(), signal.SIGKILL)

client = in_process(create_registry(Path(sys.argv[1])))
sys.addaudithook(count)
client.push_image("acme/app", "1.0", b"layer")
client.push_manifest("acme/app", index(), "1.0")
client.request("DELETE", "/v2/acme/app/manifests/1.0")
print("done")
"""


@pytest.mark.acceptance
@pytest.mark.slow
def test_a_writer_may_be_killed_between_any_two_of_its_steps(storage: Path) -> None:
    for survived in range(1, 60, 3):
        folder = storage / str(survived)
        folder.mkdir(parents=True)
        done = subprocess.run(
            [sys.executable, "-c", KILL_AT_EVERY_WRITE, str(folder), str(survived)],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        client = in_process(create_registry(folder))

        listed = client.get("/v2/acme/app/tags/list")
        assert listed.status_code in {200, 404}
        if listed.status_code == 200:
            for tag in listed.json()["tags"]:
                assert client.get(f"/v2/acme/app/manifests/{tag}").status_code == 200
        client.push_image("acme/app", "after", b"layer")
        assert "after" in client.tags("acme/app")
        if done.stdout == "done\n":
            return
        assert done.returncode == -signal.SIGKILL
    pytest.fail("the writer has more steps than were tried")
