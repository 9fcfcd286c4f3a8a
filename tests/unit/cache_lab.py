"""A reader that remembers, with its store and locks, over the registry with faults."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pyoci_flask.index.cache import CachedReader
from pyoci_flask.index.fetch import FetchPool
from pyoci_flask.index.known import Known
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.project import Project
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.publish import publish
from pyoci_flask.index.store import SQLiteStore
from pyoci_flask.oci.tags import list_tags
from pyoci_flask.registry import create_registry
from pyoci_flask.transport.request import BasicCredentials
from tests.patience import PATIENCE
from tests.unit.conftest import Callers
from tests.unit.index_doubles import Store, make_store, make_upload

WHEEL, SDIST = "hello-1.0-py3-none-any.whl", "hello-1.0.tar.gz"


@dataclass(slots=True)
class Clock:
    """Seconds, moved by hand."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, slots=True)
class Lab:
    """A reader with its records, over a registry."""

    reader: CachedReader
    records: SQLiteStore
    store: Store
    locks: VersionLocks
    clock: Clock

    @property
    def repository(self) -> ProjectRepository:
        return self.store.repository

    @property
    def key(self) -> str:
        return self.repository.caller.repository.location

    def publish(self, filename: str) -> None:
        """Add a file behind the reader's back."""
        publish(self.repository, make_upload(filename), self.locks)

    def listed(self, limit: int = 0, repository: ProjectRepository | None = None) -> Project:
        repository = repository or self.repository
        tags = list_tags(repository.caller)
        assert tags is not None
        return self.reader.project(repository, tags, limit)

    def asked(self) -> list[str]:
        """The tags and digests that were asked for since the last time."""
        calls, self.store.registry.calls[:] = self.store.registry.calls[:], []
        return sorted(path.rpartition("/")[2] for _, path in calls if "/manifests/" in path)

    def recorded(self) -> set[str]:
        """Those of a few tags that the store has an entry of."""
        keys = {f"entry\n{self.key}\n{tag}": tag for tag in ("1.0", "2.0", "3.0")}
        return {keys[key] for key in self.records.get_many(list(keys))}

    def parsed(self) -> Known:
        """What the reader keeps parsed of the project."""
        known = self.reader._known._known.get(self.key)
        assert known is not None
        return known

    def another(self, pool: FetchPool | None = None) -> "Lab":
        """The same with the reader of another worker, which has read nothing yet."""
        reader = CachedReader(pool or self.reader.pool, self.records, 60, self.clock)
        return replace(self, reader=reader)


@contextmanager
def make_lab(caller_of: Callers, folder: Path) -> Iterator[Lab]:
    """A lab whose registry has one version with a wheel; the time to live is 60 seconds."""
    store = make_store(caller_of, create_registry(folder / "storage"))
    pool, clock = FetchPool(4), Clock()
    with closing(pool), closing(SQLiteStore(folder / "cache", folder, clock)) as records:
        reader = CachedReader(pool, records, 60, clock)
        made = Lab(reader, records, store, VersionLocks(folder / "locks", deadline=PATIENCE), clock)
        made.publish(WHEEL)
        made.asked()
        yield made


def names(project: Project) -> list[str]:
    """The names of a project's files."""
    return [file.filename.text for file in project.files]


def as_somebody(repository: ProjectRepository, name: str) -> ProjectRepository:
    """The repository as another user calls it."""
    caller = replace(repository.caller, credentials=BasicCredentials(name, "secret"))
    return replace(repository, caller=caller)
