"""The mixed load of a soak test: publishers, installers, and clients that disconnect halfway."""

import contextlib
import hashlib
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import requests

from tests.integration.index_client import IndexClient
from tests.packages import make_wheel
from tests.patience import PATIENCE

_VERSIONS = 10
"""Versions that each client keeps: the oldest is deleted, so that a page always costs the same."""
_SIZES = (0, 0, 40_000, 1_500_000)


class Pauses:
    """Lets requests through, or holds them back until the current ones have ended."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held = False
        self._busy = 0

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Wait until requests may pass, and count one."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held)
            self._busy += 1
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Run the block while no request is in progress."""
        with self._changed:
            self._held = True
            if not self._changed.wait_for(lambda: not self._busy, PATIENCE):
                raise TimeoutError(f"{self._busy} requests did not end")
        try:
            yield
        finally:
            with self._changed:
                self._held = False
                self._changed.notify_all()


@dataclass(slots=True)
class Tally:
    """The responses so far; shared by all clients."""

    statuses: Counter[int] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, response: requests.Response) -> requests.Response:
        """Count a response."""
        with self.lock:
            self.statuses[response.status_code] += 1
        return response

    def complain(self, text: str) -> None:
        """Note something that should not have happened."""
        with self.lock:
            self.complaints.append(text)

    @property
    def failures(self) -> int:
        """Return the responses of 500 and above."""
        with self.lock:
            return sum(count for status, count in self.statuses.items() if status >= 500)


@dataclass(slots=True)
class Client:
    """Publishes to its own project and compares what it gets with what it published."""

    index: IndexClient
    project: str
    folder: Path
    tally: Tally
    chance: random.Random
    published: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    """Version to filename, sha256 and bytes."""
    count: int = 0

    def step(self) -> None:
        """Make one request, or a few related ones."""
        if len(self.published) < 2:
            self.publish()
            return
        steps: list[tuple[Callable[[], None], int]] = [
            (self.publish, 2),
            (self.list_html, 4),
            (self.list_json, 4),
            (self.download, 4),
            (self.download_part, 2),
            (self.metadata, 3),
            (self.yank, 1),
            (self.missing, 2),
            (self.go_away, 1),
        ]
        chosen = self.chance.choices([step for step, _ in steps], [weight for _, weight in steps])
        chosen[0]()

    def publish(self) -> None:
        """Publish a new version and delete the oldest."""
        self.count += 1
        version = f"1.{self.count}"
        size = self.chance.choice(_SIZES)
        wheel = make_wheel(self.folder, self.project, version, size=size)
        content = wheel.read_bytes()
        if self._expect(self.index.publish(wheel, self.project, version), 200):
            digest = hashlib.sha256(content).hexdigest()
            self.published[version] = (wheel.name, digest, len(content))
        wheel.unlink()
        if len(self.published) > _VERSIONS:
            oldest = next(iter(self.published))
            response = self.index.request("DELETE", f"/{self.project}/{oldest}")
            if self._expect(response, 200):
                del self.published[oldest]

    def list_html(self) -> None:
        """Read the page as pip does."""
        response = self.index.get(f"/{self.project}/", headers={"Accept": "text/html"})
        if self._expect(response, 200):
            self._complete(response.text)

    def list_json(self) -> None:
        """Read the page as uv does."""
        accept = "application/vnd.pypi.simple.v1+json"
        response = self.index.get(f"/{self.project}/", headers={"Accept": accept})
        if self._expect(response, 200):
            self._complete(response.text)

    def download(self) -> None:
        """Download a whole file."""
        filename, digest, _ = self._one()
        response = self.index.get(f"/{self.project}/{filename}")
        if self._expect(response, 200) and hashlib.sha256(response.content).hexdigest() != digest:
            self.tally.complain(f"{filename} came with other bytes")

    def download_part(self) -> None:
        """Download the end of a file."""
        filename, _, size = self._one()
        wanted = {"Range": f"bytes={size // 2}-"}
        response = self.index.get(f"/{self.project}/{filename}", headers=wanted)
        if self._expect(response, 206) and len(response.content) != size - size // 2:
            self.tally.complain(f"{filename}: {len(response.content)} bytes of a part")

    def metadata(self) -> None:
        """Read the core metadata, as resolvers do."""
        filename, _, _ = self._one()
        self._expect(self.index.get(f"/{self.project}/{filename}.metadata"), 200)

    def yank(self) -> None:
        """Yank a version, or take that back."""
        version = self.chance.choice(list(self.published))
        body = {"yanked": self.chance.random() < 0.5}
        self._expect(self.index.request("PATCH", f"/{self.project}/{version}", json=body), 200)

    def missing(self) -> None:
        """Ask for a project that does not exist."""
        self._expect(self.index.get(f"/{self.project}-missing/"), 404)

    def go_away(self) -> None:
        """Disconnect in the middle of a download."""
        filename, _, _ = max(self.published.values(), key=lambda one: one[2])
        with self.index.get(f"/{self.project}/{filename}", stream=True) as response:
            self._expect(response, 200)
            next(response.iter_content(1000))

    def _one(self) -> tuple[str, str, int]:
        return self.chance.choice(list(self.published.values()))

    def _expect(self, response: requests.Response, status: int) -> bool:
        if self.tally.take(response).status_code == status:
            return True
        request = response.request
        self.tally.complain(
            f"{request.method} {request.path_url}: {response.status_code} {response.text[:200]!r}"
        )
        return False

    def _complete(self, page: str) -> None:
        lacking = [name for name, _, _ in self.published.values() if name not in page]
        if lacking:
            self.tally.complain(f"the page of {self.project} lacks {lacking}")


@contextlib.contextmanager
def mixed_load(base: str, folder: Path, clients: int, seed: int) -> Iterator[tuple[Pauses, Tally]]:
    """Run this many clients of the index at `base` until the block ends."""
    pauses, tally, stop = Pauses(), Tally(), threading.Event()

    def run(number: int) -> None:
        own = folder / f"client-{number}"
        own.mkdir()
        with requests.Session() as session:
            session.trust_env = False
            index = IndexClient(base, None, session)
            client = Client(index, f"soak-{number}", own, tally, random.Random(f"{seed}/{number}"))
            while not stop.is_set():
                with pauses.request():
                    try:
                        client.step()
                    except requests.RequestException as error:
                        tally.complain(f"{client.project}: {error!r}")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield pauses, tally
    finally:
        stop.set()
        for thread in threads:
            thread.join()
