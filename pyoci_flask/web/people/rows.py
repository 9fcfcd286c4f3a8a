"""Lists of projects with what is known of each: version, date and summary."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from packaging.utils import NormalizedName, canonicalize_name

from pyoci_flask.errors import InvalidRequestError, NotFoundError, PyOCIError
from pyoci_flask.index.batch import Batch
from pyoci_flask.index.listing import list_projects
from pyoci_flask.index.names import ProjectName
from pyoci_flask.index.project_repository import Candidates
from pyoci_flask.index.releases import Release
from pyoci_flask.oci.reference import Repository
from pyoci_flask.web.address import Base
from pyoci_flask.web.incoming import caller_credentials
from pyoci_flask.web.services import services

MOST_ROWS = 20
"""Maximum number of projects that one request may ask for."""
_PATIENCE = 3.0
"""Seconds for which a request for rows waits for the registry."""
_MOST_LATEST = 6
_MOST_SAMPLED = 60
"""Maximum number of projects of the embedded registry that the first page reads."""
_SAMPLING = 0.3
"""Seconds that this may take."""

Known = Mapping[NormalizedName, Release]
"""What may be shown to the caller, by project."""


@dataclass(frozen=True, slots=True)
class Row:
    """One project in a list."""

    name: str
    release: Release | None
    """The version that the project's page shows first, or None if it is not known."""

    @property
    def summary(self) -> str:
        """The summary of the version, or an empty text."""
        return "" if self.release is None else _summary(self.release)

    @property
    def uploaded(self) -> datetime | None:
        """When the version was uploaded."""
        return None if self.release is None else self.release.uploaded


def _summary(release: Release) -> str:
    return next((file.summary for file in release.files if file.summary), "")


def known_in(base: Base) -> Known:
    """Return the projects of an index that the cache may show to this caller. Call no registry."""
    found = services()
    credentials = caller_credentials(found.settings.bearer_username)
    return found.versions.known_below(Repository(base.registry, base.namespace), credentials)


def read_rows(base: Base, names: Iterable[str]) -> tuple[list[Row], bool]:
    """Read the rows of a few projects from the registry, with the caller's credentials.

    Projects that cannot be read have no row. The second value is whether the registry answered for
    all of them in time.

    Raises:
        BusyError: too many requests are waiting for this registry.
    """
    wanted: dict[NormalizedName, Candidates] = {}
    for text in list(names)[:MOST_ROWS]:
        # Not the name of a project, or that of the probe of `check`, which is not shown.
        with suppress(InvalidRequestError, NotFoundError):
            name = ProjectName(text)
            wanted[name.normalized] = services().enter_project(base, name)
    return _read(wanted, _PATIENCE)


def _read(wanted: Mapping[NormalizedName, Candidates], seconds: float) -> tuple[list[Row], bool]:
    versions = services().versions
    batch = Batch(versions.pool, versions.newest, wanted, seconds)
    found = batch.read()
    return [Row(name, release) for name, release in found.items()], batch.complete


def latest(base: Base) -> list[Row]:
    """Return the projects of an index with the latest releases, as far as the cache knows them.

    Only the embedded registry is asked for more, because its calls cost little. A caller who may
    not read gets nothing.
    """
    rows: dict[str, Row] = {}
    with suppress(PyOCIError):
        known = known_in(base)
        rows = {name: Row(name, release) for name, release in known.items()}
        found = services()
        if found.versions.pool.is_in_process(base.registry):
            names = set(list_projects(found.enter_namespace(base)))
            more = sorted(names - known.keys())[:_MOST_SAMPLED]
            wanted = {name: found.enter_project(base, ProjectName(name)) for name in more}
            rows = {name: row for name, row in rows.items() if name in names}
            rows |= {row.name: row for row in _read(wanted, _SAMPLING)[0]}
    return by_date(rows.values())[:_MOST_LATEST]


def by_date(rows: Iterable[Row]) -> list[Row]:
    """Return the rows with a date, the latest first."""
    dated = [(row.uploaded, row) for row in rows if row.uploaded is not None]
    return [row for _, row in sorted(dated, key=lambda one: one[0], reverse=True)]


def search(names: Sequence[NormalizedName], known: Known, query: str) -> list[NormalizedName]:
    """Return the projects that a query finds, the best first.

    The best is the project with this name; then come names that begin with it, names that contain
    it, and known summaries that contain it.
    """
    key, words = canonicalize_name("-".join(query.split())), query.casefold()
    ranked = ((_rank(name, known.get(name), key, words), name) for name in names)
    return [name for rank, name in sorted(one for one in ranked if one[0] is not None)]


def _rank(name: str, release: Release | None, key: str, words: str) -> int | None:
    if name == key:
        return 0
    if key in name:
        return 1 if name.startswith(key) else 2
    if release is not None and words in _summary(release).casefold():
        return 3
    return None
