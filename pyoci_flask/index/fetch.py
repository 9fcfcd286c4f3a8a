"""Read the indexes of many versions in parallel, with limits on threads and memory.

Memory is measured by the `weight` of `VersionFiles`: the bytes of its JSON, but at least 1 KiB per
file. A listing that needs more than a small part of the limit waits for its turn, so that only a
few large listings are in memory at the same time.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack, suppress
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

from pyoci_flask.common.budget import ByteBudget
from pyoci_flask.common.threads import FrugalExecutor
from pyoci_flask.errors import (
    AuthenticationRequiredError,
    BusyError,
    DeniedError,
    PyOCIError,
    RegistryError,
    RegistryTimeoutError,
    RegistryUnreachableError,
    TransferBrokenError,
)
from pyoci_flask.index.background import Background
from pyoci_flask.index.names import version_of
from pyoci_flask.index.places import Places, Run
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.versions import BEYOND, Skipped, VersionFiles, load_files
from pyoci_flask.oci.reference import Registry, Tag
from pyoci_flask.oci.shares import host_of

_ENDING = 1.0
"""Seconds to wait for calls in progress when another call fails."""
_In = TypeVar("_In")
_Out = TypeVar("_Out")
LISTING_LIMIT = 16 * 1024 * 1024
_SMALL = 1024 * 1024
"""The maximum weight of a listing that need not wait for its turn."""
_LARGE = ByteBudget(2 * LISTING_LIMIT, share=LISTING_LIMIT)
Read = VersionFiles | Skipped | None
_OF_ONE = (
    AuthenticationRequiredError,
    DeniedError,
    RegistryError,
    RegistryTimeoutError,
    RegistryUnreachableError,
    TransferBrokenError,
)
"""Errors that may concern only one version: its document is invalid, or reading it is denied."""


class FetchPool:
    """A bounded pool of threads, shared by all requests of a worker.

    One registry may use half of the threads. If none is free, a request makes its calls in its own
    thread, one after another, so that a registry that hangs does not block the listings of others.
    Functions in the background may use a quarter of the threads, and half of that for one registry.
    """

    def __init__(
        self,
        width: int,
        share: Callable[[Registry], str] = host_of,
        in_process: Registry | None = None,
    ) -> None:
        """Allow up to `width` simultaneous calls to registries with the same `share`.

        `in_process` is a registry that runs in this process. Each listing calls it in its own
        thread, because more threads would only compete for the interpreter's lock.
        """
        self.share = share
        self._in_process = None if in_process is None else share(in_process)
        self.width = width
        self._executor = FrugalExecutor(2 * width, thread_name_prefix="fetch")
        self._free = threading.BoundedSemaphore(2 * width)
        self._background = Background(max(1, 2 * width // 4))
        self._lock = threading.Lock()
        self._places: WeakValueDictionary[str, Places] = WeakValueDictionary()
        """By registry, what the listings that are being read share."""

    def map(
        self, registry: str, function: Callable[[_In], _Out], items: Iterable[_In]
    ) -> list[_Out]:
        """Call `function` on each item and return the results in order.

        Every call runs in a copy of the caller's context, so its log lines carry the request's id.
        The first exception is raised, and calls that have not begun are dropped. Calls in progress
        have one second to finish, so that their results can be kept.
        """
        if registry == self._in_process:
            return [function(item) for item in items]
        with self._lock:
            places = self._places.setdefault(registry, Places(self.width))
        run = Run(function, list(items), places)
        try:
            while places.take(run):
                self._begin(run, places)
            places.wait_for_end(run)
            if run.error is not None:
                raise run.error
        except BaseException:
            run.stop()
            places.wait_for_end(run, _ENDING)
            raise
        finally:
            # The error's traceback refers to the run. Such a cycle would keep connections open
            # until the garbage collector runs.
            run.error = None
        return run.results

    def _begin(self, run: Run[_In, _Out], places: Places) -> None:
        """Make calls in a thread of the pool. If none is free or can be started, make one here."""
        if self._free.acquire(blocking=False):
            try:
                future = self._executor.submit(run.work)
            except RuntimeError:
                self._free.release()
            else:
                future.add_done_callback(partial(self._ended, run, places))
                return
        try:
            run.work_once()
        except BaseException as error:  # noqa: BLE001 - `map` raises it again
            places.give_back(run, error)
        else:
            places.give_back(run, None)

    def _ended(self, run: Run[_In, _Out], places: Places, future: "Future[None]") -> None:
        self._free.release()
        places.give_back(run, CancelledError() if future.cancelled() else future.exception())

    def begin_background(self, registry: str, function: Callable[[], None]) -> bool:
        """Call `function` in the background; return False, without calling it, if none is free.

        It counts as one of the pool's threads, but has a thread of its own, for which the end of
        the process does not wait. So `function` must not use `map`, and must leave nothing half
        done when it is cut off. It should end soon once the pool is `closed`.
        """
        if not self._free.acquire(blocking=False):
            return False
        begun = self._background.begin(registry, function, self._free.release)
        if not begun:
            self._free.release()
        return begun

    def is_parallel(self, registry: Registry) -> bool:
        """Return whether calls to a registry may be made in several threads."""
        return self.width > 1 and not self.is_in_process(registry)

    def is_in_process(self, registry: Registry) -> bool:
        """Return whether a registry runs in this process."""
        return self.share(registry) == self._in_process

    @property
    def closed(self) -> bool:
        """Whether the process is about to end."""
        return self._background.closed

    def close(self) -> None:
        """Stop the threads. Calls in progress finish, and others are dropped."""
        self._background.close()
        self._executor.shutdown(wait=False, cancel_futures=True)


class Failures:
    """Errors of single versions. Up to a limit, they do not make the whole listing fail."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self.errors: list[PyOCIError] = []

    def take(self, error: PyOCIError) -> bool:
        """Add an error; return whether the number of errors is within the limit."""
        with self._lock:
            self.errors.append(error)
            return len(self.errors) <= self._most


class Allowance:
    """The weight that one listing may still use."""

    def __init__(
        self, share: str, pool: FetchPool, held: ExitStack, failures: Failures | None = None
    ) -> None:
        """The turn of a large listing ends when `held` is closed."""
        self._share = share
        self._pool = pool
        self._held = held
        self._lock = threading.Lock()
        self._most = _SMALL
        self._spent = 0
        self._full = False
        self._failures = failures

    def spend(self, weight: int) -> None:
        """Count what is already in memory. If the listing becomes large, wait for its turn.

        Raises:
            BusyError: other large listings take too long.
        """
        self._spent += weight
        if self._spent > self._most == _SMALL:
            self._wait()

    def read(
        self,
        repository: ProjectRepository,
        tags: Sequence[str],
        answered: dict[str, Read],
        known: Mapping[str, VersionFiles] | None = None,
    ) -> dict[str, Read]:
        """Read versions in the order of `tags`. The result is `BEYOND` for those that do not fit.

        All responses of the registry are added to `answered`, even if a later call fails. `known`
        holds what was read from tags earlier; it is the result for tags that have not changed.

        Raises:
            BusyError: other large listings take too long.
        """
        read = partial(self._read, repository, answered, known or {})
        found = dict(zip(tags, self._pool.map(self._share, read, tags), strict=True))
        again = [tag for tag, one in found.items() if one is BEYOND]
        if again and self._most == _SMALL:
            self._wait()
            found |= zip(again, self._pool.map(self._share, read, again), strict=True)
        return found

    def _read(
        self,
        repository: ProjectRepository,
        answered: dict[str, Read],
        known: Mapping[str, VersionFiles],
        tag: str,
    ) -> Read:
        if self._full:
            return BEYOND
        version = version_of(tag)
        try:
            found = load_files(
                repository, version, Tag(tag), lambda: not self._full, known.get(tag)
            )
        except _OF_ONE as error:
            if self._failures is None or not self._failures.take(error):
                raise
            return Skipped(str(error), is_version=True, answered=False)
        weight = found.weight if isinstance(found, VersionFiles) else 0
        with self._lock:
            answered[tag] = found
            if self._spent + weight > self._most:
                self._grow()
            if self._spent + weight > self._most:
                self._full = True
                return BEYOND
            self._spent += weight
        return found

    def _grow(self) -> None:
        """Begin the turn of a large listing, unless it has to wait for others."""
        if self._most == _SMALL:
            with suppress(BusyError):
                self._wait(patience=0.0)

    def _wait(self, patience: float | None = None) -> None:
        """Wait for the turn of a large listing. Threads of the pool never wait here."""
        self._held.enter_context(_LARGE.hold(LISTING_LIMIT, self._share, patience))
        self._most, self._full = LISTING_LIMIT, False
