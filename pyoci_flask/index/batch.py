"""Read the preferred versions of a few projects, without waiting long for a slow registry."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from packaging.utils import NormalizedName

from pyoci_flask.errors import PyOCIError
from pyoci_flask.index.fetch import FetchPool
from pyoci_flask.index.project_repository import Candidates, ProjectRepository
from pyoci_flask.index.releases import Release


class Batch:
    """Reads the preferred versions of a few projects, within a number of seconds.

    A registry that is slow must not delay the answer, so the calls are made in the background, and
    use at most the share of the pool that such work may have. What is read too late is only cached.
    """

    def __init__(
        self,
        pool: FetchPool,
        newest: Callable[[Candidates], Release | None],
        wanted: Mapping[NormalizedName, Candidates],
        seconds: float,
    ) -> None:
        """Prepare to read `wanted`, all of which belong to one registry."""
        self._pool = pool
        self._newest = newest
        self._due = deque(wanted.items())
        self._until = time.monotonic() + seconds
        self._changed = threading.Condition()
        self._running = 0
        self._found: dict[NormalizedName, Release] = {}
        self.complete = False
        """Whether the registry has answered for all projects, perhaps that it has none."""

    def read(self) -> dict[NormalizedName, Release]:
        """Read, and return what arrives in time. Errors of single projects are left out."""
        if not self._due:
            self.complete = True
            return {}
        registry = self._due[0][1][0].caller.repository.registry
        if self._pool.is_in_process(registry):
            self._work()
        else:
            self._share_out(self._pool.share(registry))
        with self._changed:
            self._changed.wait_for(
                lambda: self._running <= 0, max(0.0, self._until - time.monotonic())
            )
            self.complete = self._running <= 0 and not self._due
            return dict(self._found)

    def _share_out(self, share: str) -> None:
        for _ in range(len(self._due)):
            with self._changed:
                self._running += 1
            if not self._pool.begin_background(share, self._work_and_leave):
                with self._changed:
                    self._running -= 1
                break

    def _work_and_leave(self) -> None:
        try:
            self._work()
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _work(self) -> None:
        while time.monotonic() < self._until and not self._pool.closed:
            try:
                name, candidates = self._due.popleft()
            except IndexError:
                return
            with suppress(PyOCIError):
                release = self._newest([_impatient(one) for one in candidates])
                if release is not None:
                    with self._changed:
                        self._found[name] = release


def _impatient(repository: ProjectRepository) -> ProjectRepository:
    return replace(repository, caller=replace(repository.caller, may_wait=False))
