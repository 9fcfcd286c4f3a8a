"""The calls of a project page to a registry that is not yet known to answer ranges."""

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pyoci_flask.errors import NotFoundError
from pyoci_flask.index.core_metadata import CoreMetadataReader
from pyoci_flask.index.download import StoredFile
from pyoci_flask.index.names import Filename
from pyoci_flask.index.project import File
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.store import SQLiteStore
from pyoci_flask.oci.model import Descriptor
from pyoci_flask.oci.reference import Digest
from tests.unit.conftest import Callers
from tests.unit.doubles import Answer, Received, http_double
from tests.unit.index_doubles import PROJECT

CONTENT = {"2.0": b"the newer wheel", "1.0": b"the older wheel"}


def _wheel(version: str) -> File:
    return File(
        filename=Filename.parse(f"hello-{version}-py3-none-any.whl", PROJECT),
        entry=Descriptor("application/x", Digest.of(version.encode()), 1),
        digest=Digest.of(CONTENT[version]),
        size=len(CONTENT[version]),
        uploaded=None,
        requires_python=None,
        core_metadata=None,
        yanked=None,
        project_urls={},
    )


FILES = [_wheel("2.0"), _wheel("1.0")]
NAMES = [file.filename.text for file in FILES]


class _Clock:
    """Seconds that go by when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _missing(versions: set[str], status: int = 404) -> Callable[[Received], Answer]:
    gone = {Digest.of(CONTENT[version]).text for version in versions}

    def registry(received: Received) -> Answer:
        if received.path.rpartition("/")[2] in gone:
            return Answer(status, b'{"errors":[{"code":"BLOB_UNKNOWN"}]}')
        return Answer(206, b"hi", {"Content-Range": "bytes 1-2/15"})

    return registry


def test_a_wheel_that_is_gone_is_probed_once_a_minute_and_does_not_stand_for_the_others(
    caller_of: Callers,
) -> None:
    clock = _Clock()
    reader = CoreMetadataReader(clock)
    with http_double(_missing({"2.0"})) as server:
        repository = ProjectRepository(PROJECT, caller_of(server.url))
        for announced in ([], NAMES[1:], NAMES[1:]):
            assert reader.announced(repository, FILES) == frozenset(announced)
        assert len(server.calls) == 2
        clock.now += 61
        assert reader.announced(repository, FILES) == frozenset(NAMES)
        assert len(server.calls) == 2


@pytest.mark.parametrize("status", [403, 404])
def test_a_page_of_wheels_that_cannot_be_had_costs_no_probe_each_time(
    caller_of: Callers, status: int
) -> None:
    clock = _Clock()
    reader = CoreMetadataReader(clock)
    probes = 2 if status == 404 else 1  # denied one, denied all
    with http_double(_missing({"1.0", "2.0"}, status)) as server:
        repository = ProjectRepository(PROJECT, caller_of(server.url))
        for _ in range(5):
            assert reader.announced(repository, FILES) == frozenset()
        assert len(server.calls) == probes
        clock.now += 61
        for _ in range(5):
            assert reader.announced(repository, FILES) == frozenset()
        assert len(server.calls) == 2 * probes


def test_what_failed_in_one_repository_says_nothing_of_another(caller_of: Callers) -> None:
    reader = CoreMetadataReader(_Clock())

    def registry(received: Received) -> Answer:
        if "/private/" in received.path:
            return Answer(403)
        return _missing(set())(received)

    with http_double(registry) as server:
        private = ProjectRepository(PROJECT, caller_of(server.url, "private/hello"))
        public = ProjectRepository(PROJECT, caller_of(server.url, "public/hello"))
        assert reader.announced(private, FILES) == frozenset()
        assert reader.announced(public, FILES) == frozenset(NAMES)


def _ranges(received: Received) -> Answer:
    """A registry whose wheels, which are no archives, can be read in parts."""
    digest = received.path.rpartition("/")[2]
    content = next(text for text in CONTENT.values() if Digest.of(text).text == digest)
    asked = re.fullmatch("bytes=([0-9]+)-([0-9]+)", received.headers["Range"])
    assert asked is not None
    first, last = int(asked[1]), int(asked[2])
    told = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
    return Answer(206, content[first : last + 1], told)


def test_wheel_that_one_worker_could_not_read_is_announced_by_no_other(
    caller_of: Callers, tmp_path: Path
) -> None:
    with (
        http_double(_ranges) as server,
        closing(SQLiteStore(tmp_path / "cache", tmp_path)) as one,
        closing(SQLiteStore(tmp_path / "cache", tmp_path)) as other,
    ):
        repository = ProjectRepository(PROJECT, caller_of(server.url))
        elsewhere = ProjectRepository(PROJECT, caller_of(server.url, "other/hello"))
        digest = FILES[0].digest
        assert digest is not None
        with pytest.raises(NotFoundError, match="cannot be read"):
            CoreMetadataReader(store=one).read(StoredFile(repository, FILES[0], digest))
        before = len(server.calls)

        later = CoreMetadataReader(store=other)

        for _ in range(3):
            assert later.announced(repository, FILES) == frozenset(NAMES[1:])
        assert later.announced(elsewhere, FILES) == frozenset(NAMES)
        assert len(server.calls) == before + 1
