"""A lab whose reader shows old versions, and runs what belongs behind the answer at once."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyoci_flask.index.cache import CachedReader
from pyoci_flask.index.fetch import FetchPool
from pyoci_flask.index.project import Project, format_time
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.oci.model import INDEX_TYPE
from pyoci_flask.oci.reference import Registry
from tests.unit.cache_lab import Lab, make_lab
from tests.unit.conftest import Callers

TTL, STALE, HOUR, DAY = 60, 86_400, 3600.0, 86_400.0
CREATED, CHANGED = "org.opencontainers.image.created", "com.pyoci.changed"


class InlinePool(FetchPool):
    """Runs what belongs behind the answer at once, so that a test sees its end."""

    def begin_background(self, _: str, function: Callable[[], None]) -> bool:
        """Call the function."""
        function()
        return True


@dataclass(frozen=True, slots=True)
class Stale(Lab):
    """A lab whose reader shows old versions."""

    def another(self, pool: FetchPool | None = None) -> "Stale":
        """The same with the reader of another worker, which has read nothing yet."""
        pool = pool or self.reader.pool
        return replace(self, reader=CachedReader(pool, self.records, TTL, self.clock, stale=STALE))

    def seen(self, repository: ProjectRepository | None = None) -> Project:
        """The project as a page shows it."""
        found, tags = self.reader.find_project([repository or self.repository])
        return self.reader.project(found, tags, 0)

    def calls(self) -> list[str]:
        """Method and tag of each call for a manifest since the last time."""
        calls, self.store.registry.calls[:] = self.store.registry.calls[:], []
        return sorted(
            f"{method} {path.rpartition('/')[2]}" for method, path in calls if "/manifests/" in path
        )

    def edit(self, tag: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Write another index for a tag without this server."""
        path = f"/v2/{self.repository.caller.repository.name}/manifests/{tag}"
        document = self.store.registry.document(path)
        change(document)
        answer = self.store.registry.ask("PUT", path, json.dumps(document).encode(), INDEX_TYPE)
        assert answer.status_code == 201

    def last_changed(self, ago: float, tag: str = "1.0") -> None:
        """Let a version have changed so many seconds ago."""

        def change(document: dict[str, Any]) -> None:
            for one in (document, *document["manifests"]):
                one["annotations"][CREATED] = self.ago(ago)

        self.edit(tag, change)

    def ago(self, seconds: float) -> str:
        return format_time(datetime.fromtimestamp(self.clock.now - seconds, UTC))


@contextmanager
def make_stale(
    caller_of: Callers, folder: Path, in_process: Registry | None = None
) -> Iterator[Stale]:
    """A lab at the present time, with one version that was published just now."""
    with (
        make_lab(caller_of, folder) as made,
        closing(InlinePool(4, in_process=in_process)) as pool,
    ):
        made.clock.now = time.time()
        lab = Stale(made.reader, made.records, made.store, made.locks, made.clock).another(pool)
        yield lab
