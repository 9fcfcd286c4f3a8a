"""What an index must show: every version as it is, and as a cache may still show it."""

import functools
import io
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.version import InvalidVersion, Version

from tests.integration.oci_client import sha256
from tests.packages import make_sdist, make_wheel

TTL = 60
SDIST = ".tar.gz"
WHEEL, BUILT, NATIVE = "py3-none-any.whl", "1-py3-none-any.whl", "cp311-cp311-linux_x86_64.whl"
KINDS = (SDIST, WHEEL, BUILT, NATIVE)
PROJECTS: Mapping[str, tuple[str, ...]] = {
    "my-pkg": ("my-pkg", "My.Pkg", "my_pkg", "MY--pkg"),
    "foo": ("foo", "Foo"),
}
"""Each project and the spellings of its name."""
VERSIONS = (
    *("1.0", "1.0.0", "1.0+x", "1.0.post1", "1.9", "1.10"),
    *("2.0rc1", "2.0", "3.0.dev1", "1!0.5", "1!0.5+x.1"),
)


@dataclass(frozen=True, slots=True)
class Stored:
    """One file."""

    name: str
    version: str
    kind: str
    """Its platform and tags with the suffix: a version has each only once."""
    content: bytes = field(repr=False)
    python: str | None
    original: bool = False
    """As the Rust program publishes it: without size, metadata and Requires-Python."""
    yanked: str | None = None

    @property
    def metadata(self) -> bytes:
        """Return the METADATA of a wheel."""
        with zipfile.ZipFile(io.BytesIO(self.content)) as archive:
            (member,) = (one for one in archive.namelist() if one.endswith("/METADATA"))
            return archive.read(member)


Files = Mapping[str, Stored]
"""A version's files by their kind."""
State = Files | None
"""None if the tag does not exist."""
FOREIGN: Files = {"": Stored("", "", "", b"", None)}
"""The tag holds a container image."""


def files_of(state: State) -> Files:
    """Return the files that a state shows."""
    return {} if state is None or state is FOREIGN else state


@functools.cache
def package(spelling: str, version: str, kind: str, variant: int) -> Stored:
    """Return a file of a project; another variant has different bytes."""
    python, summary = (">=3.8" if variant else None), f"variant {variant}"
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        if kind == SDIST:
            file = make_sdist(where, spelling, version, requires_python=python, summary=summary)
        else:
            build, tag = ("1", WHEEL) if kind == BUILT else (None, kind)
            file = make_wheel(
                where,
                spelling,
                version,
                build=build,
                tag=tag.removesuffix(".whl"),
                requires_python=python,
                summary=summary,
            )
        return Stored(file.name, version, kind, file.read_bytes(), python)


def original(project: str, version: str, kind: str, variant: int) -> Stored:
    """Return the same file as the Rust program publishes it, under its rebuilt name."""
    segment = project.replace("-", "_")
    name = f"{segment}-{version}{'' if kind == SDIST else '-'}{kind}"
    made = package(segment, version, kind, variant)
    return replace(made, name=name, python=None, original=True)


Key = tuple[str, str]
"""Project (normalised) and version."""


@dataclass(slots=True)
class Model:
    """Every version that ever existed, its present state and the earlier ones."""

    hosts: tuple[str, ...]
    """Those with their own cache."""
    states: dict[Key, State] = field(default_factory=dict)
    _before: dict[tuple[str | None, Key], list[tuple[State, float]]] = field(default_factory=dict)

    def change(self, key: Key, state: State, now: float, host: str | None) -> None:
        """Record a change of a version through a host, which knows it; others may not, for a time.

        None means that the change was made past all hosts.
        """
        for one in self.hosts:
            if one == host:
                self._before.pop((one, key), None)
            else:
                self._before.setdefault((one, key), []).append((self.states.get(key), now))
        self.states[key] = state

    def may_be(self, key: Key, now: float, host: str | None) -> list[State]:
        """Return the states in which a host may show a version; the present state first."""
        before = self._before.get((host, key), ())
        return [self.states.get(key), *(state for state, at in before if now - at < TTL)]

    def versions(self, project: str) -> list[str]:
        """Return the versions that have a tag, newest first."""
        found = [
            version
            for (name, version), state in self.states.items()
            if name == project and state is not None and _is_version(version)
        ]
        return sorted(found, key=lambda one: (Version(one), tag_of(one)), reverse=True)

    def knows(self, project: str) -> bool:
        """Return whether it ever had any version."""
        return any(name == project for name, _ in self.states)


def _is_version(text: str) -> bool:
    try:
        return bool(Version(text))
    except InvalidVersion:
        return False


def tag_of(version: str) -> str:
    """Return the tag of a version."""
    return version.replace("+", "-").replace("!", "_")


def first_listed(versions: list[str], limit: int | None) -> set[str]:
    """Return the versions whose files a page lists: the newest, half of them final if possible."""
    if limit is None:
        return set(versions)
    finals = [one for one in versions if not Version(one).is_prerelease]
    others = [one for one in versions if Version(one).is_prerelease]
    newest = sum(one in finals for one in versions[:limit])
    number = max(min(len(finals), (limit + 1) // 2), newest)
    return {*finals[:number], *others[: max(0, limit - number)]}


Row = tuple[str, str | None, int | None, str | None, str | None, str | None]
"""Return a file on a page: name, sha256, size, yank reason, Requires-Python, METADATA's sha256."""


def row(file: Stored, *, sized: bool) -> Row:
    """Return a file as JSON (`sized`) or HTML shows it."""
    size = len(file.content) if sized and not file.original else None
    stored = not file.original and file.kind != SDIST
    metadata = sha256(file.metadata) if stored else None
    return file.name, sha256(file.content), size, file.yanked, file.python, metadata


def check_rows(
    rows: list[Row],
    model: Model,
    project: str,
    now: float,
    host: str | None,
    limit: int | None,
    *,
    sized: bool,
) -> list[str]:
    """Assert that a page lists each version as the host may show it, in order; return them."""
    rest, shown = list(rows), []
    versions = model.versions(project)
    listed = first_listed(versions, limit)
    for version in (version for version in versions if version in listed):
        allowed = [
            [row(one, sized=sized) for one in sorted(files.values(), key=lambda file: file.name)]
            for state in model.may_be((project, version), now, host)
            if state is not None
            for files in (files_of(state),)
        ]
        # The longest first, because the page of an emptied version is a prefix of every page.
        for files in sorted(allowed, key=len, reverse=True):
            if rest[: len(files)] == files:
                rest = rest[len(files) :]
                shown += [version] if files else []
                break
        else:
            raise AssertionError(
                f"{host}: {project} {version}: {rest} begins with none of {allowed}"
            )
    assert not rest, f"{project}: {rest} should not be shown to {host}"
    unlisted = [version for version in versions if version not in listed]
    return sorted([*shown, *unlisted], key=versions.index)
