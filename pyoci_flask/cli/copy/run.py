"""Run a whole copy: compare the indexes, copy on several threads and report the result."""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeVar

from rich.filesize import decimal

from pyoci_flask.cli.copy.errors import CopyError, PassingError, StoppedError, UnusableError
from pyoci_flask.cli.copy.exchange import End
from pyoci_flask.cli.copy.index import Index
from pyoci_flask.cli.copy.plan import Item, Plan, plan_project
from pyoci_flask.cli.copy.report import Board, Summary, files
from pyoci_flask.cli.copy.transfer import Transfer
from pyoci_flask.cli.screen import Screen
from pyoci_flask.index.names import ProjectName
from pyoci_flask.transport.network import Network, check_ca_bundle
from pyoci_flask.transport.observe import CallLog
from pyoci_flask.transport.session import Transport

INTERRUPTED = 130
"""Exit status of a program that the user stopped, as in shells."""

_CONNECT_SECONDS = 10.0
_READ_SECONDS = 60.0
_FIRST_LOOKS = 3
"""Number of first projects that may get no response before the index counts as unavailable."""

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def copy(
    screen: Screen,
    source: End,
    target: End,
    projects: Sequence[ProjectName],
    *,
    jobs: int,
    dry_run: bool,
) -> int:
    """Copy `jobs` files at a time, from all projects of the source if none are named.

    Return the exit status: 0, or 1 if something was not copied, or 130 if the user stopped it.

    Raises:
        CopyError: both ends are the same index.
        ConfigurationError: the CA bundle that the environment specifies does not exist.
    """
    if source.url == target.url:
        raise CopyError("the two indexes are the same")
    check_ca_bundle(os.environ)
    network = Network.from_env(os.environ)
    transport = Transport(
        network=network,
        pool_size=2 * jobs,
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        observers=[CallLog()],
        # A public index must not lead to a private address; behind a proxy this cannot be checked.
        listed=(lambda _scheme, _host, _port: True) if network.proxies else None,
    )
    try:
        transfer = Transfer(Index(transport, source), Index(transport, target), threading.Event())
        return Copy(screen, transfer, jobs).run(projects, dry_run=dry_run)
    finally:
        transport.close()


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The result for one file."""

    item: Item
    copied: bool
    yanked: bool | None = None
    """Whether the target yanked the file; None if there was nothing to yank."""
    fault: str | None = None


class Copy:
    """Copies what the source has and the target does not."""

    def __init__(self, screen: Screen, transfer: Transfer, jobs: int) -> None:
        """Copy `jobs` files at a time."""
        self._screen = screen
        self._transfer = transfer
        self._jobs = jobs

    def run(self, projects: Sequence[ProjectName], *, dry_run: bool) -> int:
        """Copy these projects, or all if none are named; return the exit status."""
        try:
            plan = self._plan(projects)
            done = Summary(plan)
            if dry_run:
                self._preview(plan, done)
            else:
                self._copy(plan, done)
        except (StoppedError, KeyboardInterrupt):
            self._screen.say("stopped; run the same command again to continue", "yellow")
            return INTERRUPTED
        except CopyError as error:
            self._screen.say(f"nothing was copied: {error}", "red")
            return 1
        return 1 if plan.faults else 0

    def _plan(self, projects: Sequence[ProjectName]) -> Plan:
        plan, named = Plan(), bool(projects)
        source, target = self._transfer.source, self._transfer.target

        def look(project: ProjectName) -> Plan:
            try:
                return plan_project(source, target, project, named=named)
            except (UnusableError, PassingError):
                raise  # the first concerns every project, the second is retried
            except CopyError as error:
                return Plan(faults=[f"{project}: {error}"])

        def look_patiently(project: ProjectName) -> Plan:
            try:
                return self._transfer.patiently(lambda: look(project))
            except PassingError as error:
                return Plan(faults=[f"{project}: {error}"])

        with self._screen.working("comparing the indexes"):
            names = projects or [ProjectName(name) for name in source.projects()]
            rest = list(names)
            # Do not wait for an index that responds to none of the first calls.
            for first in names[:_FIRST_LOOKS]:
                try:
                    plan.add(look(first))
                except PassingError:
                    if first is names[:_FIRST_LOOKS][-1]:
                        raise
                else:
                    rest.remove(first)
                    break
            self._each(look_patiently, rest, plan.add)
        return plan

    def _preview(self, plan: Plan, done: Summary) -> None:
        for item in plan.copies:
            size = "" if item.file.size is None else f" ({decimal(item.file.size)})"
            self._screen.say(f"would copy {item.file.filename.text}{size}")
        for item in plan.yanks:
            self._screen.say(f"would yank {item.file.filename.text}")
        size = "" if plan.size is None else f" ({decimal(plan.size)})"
        done.write(self._screen, f"would copy {files(len(plan.copies))}{size}")

    def _copy(self, plan: Plan, done: Summary) -> None:
        items = [*plan.copies, *plan.yanks]

        def take(outcome: _Outcome) -> None:
            done.copied += outcome.copied
            plan.present += not (outcome.copied or outcome.item.settled or outcome.fault)
            done.yanked += bool(outcome.yanked)
            if outcome.yanked is False:
                done.not_yanked.append(outcome.item.file.filename.text)
            if outcome.fault:
                plan.faults.append(outcome.fault)

        board = Board(self._screen, len(items), plan.size)
        try:
            with board.bar if items else nullcontext():
                self._each(lambda item: self._deal(item, board), items, take)
        finally:
            done.write(self._screen, f"copied {files(done.copied)} ({decimal(board.came)})")

    def _deal(self, item: Item, board: Board) -> _Outcome:
        name = item.file.filename.text
        copied, yanked, so_far = False, None, ""
        try:
            copied = not item.settled and self._transfer.copy(item, board.advance)
            so_far = "the target has the file, but could not yank it: "
            if item.file.yanked is not None:
                yanked = self._transfer.yank(item.file)
        except StoppedError:
            raise
        except CopyError as error:
            board.done(f"failed {name}", failed=True)
            return _Outcome(item, copied, fault=f"{name}: {so_far}{error}")
        board.done(f"{'copied' if copied else 'already present:'} {name}")
        return _Outcome(item, copied, yanked)

    def _each(
        self,
        action: Callable[[_In], _Out],
        items: Iterable[_In],
        take: Callable[[_Out], object],
    ) -> None:
        """Call `action` for each item on several threads, and `take` for each result in this one.

        Raises:
            StoppedError: the user stopped the program.
        """
        executor = ThreadPoolExecutor(self._jobs, thread_name_prefix="copy")
        try:
            for future in as_completed([executor.submit(action, item) for item in items]):
                take(future.result())
        except BaseException as error:
            # Running transfers end at their next byte.
            self._transfer.stop.set()
            if isinstance(error, KeyboardInterrupt):
                raise StoppedError("stopped") from None
            raise
        finally:
            try:
                executor.shutdown(cancel_futures=True)
            except KeyboardInterrupt:
                # Interrupted twice. An unfinished transfer does no harm.
                os._exit(INTERRUPTED)
