"""A registry of one repository whose every answer a test chooses, and changes of its index."""

import itertools
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pyoci_flask.index.project import ARTIFACT_TYPE, CHANGED
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.rewrite import Change, rewrite_index
from pyoci_flask.index.versions import VersionIndex
from pyoci_flask.oci.model import INDEX_TYPE, MANIFEST_TYPE, Descriptor, ImageIndex
from pyoci_flask.oci.reference import Digest, Tag
from tests.unit.doubles import Answer, Received

TAG = Tag("1.0")
READ, WRITE = "GET 1.0", "PUT 1.0"
ONCE = [READ, WRITE, READ]
"""The calls of a change that nothing disturbs."""
NOW = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)
"""The time of the first change in `add`. Each further look at the clock is a year later."""
CHANGED_NOW = {CHANGED: "2026-01-02T03:04:05.678900Z"}
Step = Callable[[Received], Answer]


@dataclass
class Tags:
    """The manifests of one repository, in memory; `steps` has the next answers to a call."""

    held: dict[str, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    """The documents that were to be written under the tag."""
    steps: dict[str, list[Step]] = field(default_factory=dict)
    url: str = ""

    def answer(self, received: Received) -> Answer:
        self.times.append(time.monotonic())
        call = f"{received.method} {received.path.rpartition('/')[2]}"
        self.calls.append(call)
        if call == WRITE:
            self.sent.append(received.body)
        steps = self.steps.get(call)
        return (steps.pop(0) if steps else self.serve)(received)

    def serve(self, received: Received) -> Answer:
        reference = received.path.rpartition("/")[2]
        if reference == "list":
            tags = [name for name in self.held if ":" not in name]
            return Answer(body=json.dumps({"name": "acme/hello", "tags": tags}).encode())
        if received.method == "PUT":
            self.held[reference] = received.body
            return Answer(201)
        return self.show(self.held.get(reference))(received)

    @staticmethod
    def show(document: bytes | None) -> Step:
        """Answer with a document; None = there is no such manifest."""
        if document is None:
            return refuse(404, "MANIFEST_UNKNOWN")
        return lambda _: Answer(body=document, headers={"Content-Type": INDEX_TYPE})

    def overwrite(self, document: bytes | None) -> Step:
        """Store what is sent, and let another writer replace it; None = and delete the tag."""

        def step(received: Received) -> Answer:
            answer = self.serve(received)
            self.put(document)
            return answer

        return step

    def put(self, document: bytes | None) -> None:
        """Have another writer's document under the tag; None = no tag."""
        self.held.pop(TAG.text, None)
        if document is not None:
            self.held[TAG.text] = document

    def store(self, answer: Answer) -> Step:
        """Store what is sent, but answer something else."""

        def step(received: Received) -> Answer:
            self.serve(received)
            return answer

        return step

    @property
    def annotations(self) -> Mapping[str, str]:
        """The annotations of the index under the tag."""
        return ImageIndex.parse(self.held[TAG.text]).annotations

    @property
    def files(self) -> list[Digest] | None:
        """The entries under the tag."""
        document = self.held.get(TAG.text)
        return None if document is None else entries(document)

    def seconds_after(self, call: str) -> list[float]:
        """The time from each such call to the one after it."""
        later = zip(self.calls, self.times, self.times[1:], strict=False)
        return [after - before for one, before, after in later if one == call]


def refuse(status: int, code: str) -> Step:
    body = json.dumps({"errors": [{"code": code, "message": "so it is"}]}).encode()
    return lambda _: Answer(status, body, headers={"Content-Type": "application/json"})


def a_manifest(name: str) -> bytes:
    return json.dumps({"name": name}).encode()


def an_entry(name: str) -> Descriptor:
    document = a_manifest(name)
    return Descriptor(MANIFEST_TYPE, Digest.of(document), len(document))


def an_index(*names: str) -> bytes:
    return ImageIndex(ARTIFACT_TYPE, tuple(map(an_entry, names))).serialize()


def entries(document: bytes) -> list[Digest]:
    return [entry.digest for entry in ImageIndex.parse(document).manifests]


def digests(*names: str) -> list[Digest]:
    return [an_entry(name).digest for name in names]


def adding(name: str) -> Change:
    """Add an entry, unless it is there: what publishing does."""

    def change(found: VersionIndex | None) -> ImageIndex | None:
        before = found.index if found else ImageIndex(ARTIFACT_TYPE, ())
        entry = an_entry(name)
        if entry in before.manifests:
            return None
        return ImageIndex(
            before.artifact_type, (*before.manifests, entry), before.annotations, before.others
        )

    return change


def add(repository: ProjectRepository, name: str = "ours", settle: float = 0) -> None:
    """Change the index under the tag as publishing a file does."""
    years = itertools.count(NOW.year)
    rewrite_index(
        repository,
        "1.0",
        TAG,
        adding(name),
        settle,
        clock=lambda: NOW.replace(year=next(years)),
    )
