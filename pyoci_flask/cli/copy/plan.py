"""The plan for a project, made by comparing the source's files with the target's."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pyoci_flask.cli.copy.errors import CopyError, ElsewhereError, UnusableError
from pyoci_flask.cli.copy.index import Index
from pyoci_flask.cli.copy.pages import ListedFile, ProjectPage
from pyoci_flask.cli.screen import few
from pyoci_flask.index.names import ProjectName


@dataclass(frozen=True, slots=True)
class Item:
    """A file of the source, and the target's file of the same name if needed."""

    file: ListedFile
    there: ListedFile | None = None
    """The target's file, if only its bytes can show whether it is the same."""
    settled: bool = False
    """Whether the target already has these bytes and only has to yank the file."""


@dataclass(slots=True)
class Plan:
    """What will be copied and yanked, and what cannot be."""

    copies: list[Item] = field(default_factory=list)
    yanks: list[Item] = field(default_factory=list)
    """Files that both indexes have, but only the source has yanked."""
    present: int = 0
    """Number of files that the target already has, with the same hash."""
    other_kinds: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """What cannot be copied, and why."""
    notes: list[str] = field(default_factory=list)
    """What is unusual at the source but does not prevent a copy."""

    def add(self, other: "Plan") -> None:
        """Add the plan for another project."""
        self.copies += other.copies
        self.yanks += other.yanks
        self.present += other.present
        self.other_kinds += other.other_kinds
        self.faults += other.faults
        self.notes += other.notes

    @property
    def size(self) -> int | None:
        """Number of bytes to copy, or None if the source does not list all sizes."""
        sizes = [item.file.size for item in self.copies]
        return sum(size or 0 for size in sizes) if all(s is not None for s in sizes) else None


def plan_project(source: Index, target: Index, project: ProjectName, *, named: bool) -> Plan:
    """Compare a project in the two indexes; if the user `named` it, it must have files.

    Raises:
        PassingError: one of the indexes does not respond.
        UnusableError: one of the indexes requires other credentials.
    """
    plan = Plan()
    page = source.project(project)
    if page is None:
        plan.faults.append(f"{project}: {source.host} has no such project")
        return plan
    if named and page == ProjectPage():
        plan.faults.append(f"{project}: {source.host} has no files for this project")
    plan.other_kinds += page.other_kinds
    plan.faults += page.faults
    without = page.unlisted_versions
    if page.hides:
        plan.faults.append(
            f"{project}: {source.host} lists no files of {_some(without)}; "
            "set PYOCI_MAX_VERSIONS=0 there to list them"
        )
    elif without:
        plan.notes.append(f"{project}: {source.host} has no files of {_some(without)}")
    there = target_page(target, project)
    hidden = frozenset(there.unlisted_versions)
    for file in page.files:
        try:
            _place(plan, target, file, there, hidden)
        except UnusableError:
            raise
        except CopyError as error:
            plan.faults.append(f"{file.filename.text}: {error}")
    return plan


def target_page(target: Index, project: ProjectName) -> ProjectPage:
    """Read the target's own page of a project; return an empty page if it has none."""
    try:
        return target.project(project) or ProjectPage()
    except ElsewhereError:
        return ProjectPage()


def _place(
    plan: Plan, target: Index, file: ListedFile, page: ProjectPage, hidden: frozenset[str]
) -> None:
    found = page.find(file.filename)
    if found is None and file.filename.version in hidden:
        digest = target.tagged_digest(file.project, file.filename)
        if digest is not None:
            found = ListedFile(file.project, file.filename, "", {"sha256": digest})
    if found is None:
        plan.copies.append(Item(file))
        return
    same = same_bytes(file, found)
    if same is None:
        plan.copies.append(Item(file, found))
    elif not same:
        plan.faults.append(f"{file.filename.text}: {other_bytes(target)}")
    else:
        plan.present += 1
        if file.yanked is not None and found.yanked is None:
            plan.yanks.append(Item(file, settled=True))


def same_bytes(here: ListedFile, there: ListedFile) -> bool | None:
    """Compare two files by the hashes that both pages list; return None if they share none."""
    shared = here.hashes.keys() & there.hashes.keys()
    return all(here.hashes[name] == there.hashes[name] for name in shared) if shared else None


def other_bytes(target: Index) -> str:
    """Return the reason why a file is not copied."""
    return f"{target.host} has a file of that name with other bytes; it is left as it is"


def _some(versions: Sequence[str]) -> str:
    return f"{len(versions)} of its versions ({few(versions)})"
