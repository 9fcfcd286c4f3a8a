"""Every operation on every registry: those that can run here, and stand-ins for the others.

A registry's whole story runs once, through the application on its socket. Each cell of the matrix
is then a separate test.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.integration.index_client import IndexClient, address
from tests.packages import make_sdist, make_wheel
from tests.quirks.expectations import OPERATIONS, SIMULATED, TRIED, Cell, table
from tests.quirks.profiles import PROFILES
from tests.quirks.registry import quirky_registry
from tests.quirks.tokens import OWNER, READER
from tests.registries import RunningRegistry

JSON = "application/vnd.pypi.simple.v1+json"
WHEEL, SDIST = "my_pkg-1.0-py3-none-any.whl", "my_pkg-1.0.tar.gz"
DOCUMENT = Path(__file__).parents[2] / "docs" / "registries.md"


@dataclass(frozen=True, slots=True)
class Seen:
    """The response to an operation, and whether it had the intended effect."""

    status: int
    text: str
    achieved: bool


Story = Mapping[str, Seen]


def play(index: IndexClient, other: IndexClient, folder: Path) -> Story:
    """Do everything once; `other` has credentials with which the registry denies publishing."""
    seen: dict[str, Seen] = {}

    def note(operation: str, response: requests.Response, *, achieved: bool = True) -> None:
        seen[operation] = Seen(response.status_code, response.text, achieved)

    (folder / "again").mkdir()
    wheel, sdist = make_wheel(folder, "my_pkg", "1.0"), make_sdist(folder, "my_pkg", "1.0")
    again = make_wheel(folder / "again", "my_pkg", "1.0", summary="built again")
    note("publish", index.publish(wheel, "my-pkg", "1.0"))
    note("second file", index.publish(sdist, "my-pkg", "1.0"))
    note("re-publish", index.publish(again, "my-pkg", "1.0"))
    page = index.get("/my-pkg/")
    note("list", page, achieved=_files(index) == {WHEEL: False, SDIST: False})
    versions = ["1.0", "1.9", "1.10", "1.11", "2.0"]
    for version in versions[1:]:
        index.publish(make_wheel(folder, "my_pkg", version), "my-pkg", version)
    paged = index.get("/my-pkg/", headers={"Accept": JSON})
    listed = paged.json()["versions"] if paged.ok else []
    note("paged list", paged, achieved=sorted(listed) == sorted(versions))
    file = index.get(f"/my-pkg/{WHEEL}")
    note("download", file, achieved=file.content == wheel.read_bytes())
    part = index.get(f"/my-pkg/{WHEEL}", headers={"Range": "bytes=5-20"})
    note("ranged download", part, achieved=part.content == wheel.read_bytes()[5:21])
    yank = index.request("PATCH", "/my-pkg/1.9", json={"yanked": "slow"})
    yanked = _files(index).get("my_pkg-1.9-py3-none-any.whl")
    note("yank", yank, achieved=yanked == "slow")
    response = index.request("DELETE", f"/my-pkg/{SDIST}")
    left = _files(index)
    note("delete file", response, achieved=SDIST not in left and WHEEL in left)
    response = index.request("DELETE", "/my-pkg/1.9")
    gone = {name for name in _files(index) if "-1.9-" in name}
    note("delete version", response, achieved=not gone and WHEEL in left)
    note("missing project", index.get("/no-such-project/"))
    denied = other.publish(make_wheel(folder, "my_pkg", "9.0"), "my-pkg", "9.0")
    there = "my_pkg-9.0-py3-none-any.whl" in _files(index)
    note("denied", denied, achieved=there == denied.ok)
    note("anonymous", index.get("/my-pkg/", auth=None))
    return seen


def _files(index: IndexClient) -> dict[str, bool | str]:
    """Return the project's files and whether they are yanked; none if there is no page."""
    page = index.get("/my-pkg/", headers={"Accept": JSON})
    files = page.json()["files"] if page.ok else []
    return {file["filename"]: file["yanked"] for file in files}


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """A session without the proxies and .netrc of the machine."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture(scope="module", params=PROFILES)
def simulated(
    request: pytest.FixtureRequest,
    shared_app: str,
    session: requests.Session,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Story]:
    """The story of a registry according to public facts."""
    profile: str = request.param
    folder = tmp_path_factory.mktemp(profile)
    quirks = PROFILES[profile]
    with quirky_registry(folder / "registry", quirks) as registry:
        registry.made.add("team/my_pkg")
        base = f"{shared_app}/{address(registry.url)}/team"
        owner, reader = (IndexClient(base, user, session) for user in (OWNER, READER))
        return profile, play(owner, reader, folder)


@pytest.fixture(scope="module", params=TRIED)
def tried(
    request: pytest.FixtureRequest,
    shared_app: str,
    session: requests.Session,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Story]:
    """The story of a registry that runs here."""
    name: str = request.param
    registry: RunningRegistry = request.getfixturevalue(name)
    base = f"{shared_app}/{registry.address}/matrix"
    wrong = None if registry.auth is None else (registry.auth[0], "a wrong password")
    owner = IndexClient(base, registry.auth, session)
    return name, play(owner, IndexClient(base, wrong, session), tmp_path_factory.mktemp(name))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operation_on_a_registry_as_public_facts_tell_it(
    simulated: tuple[str, Story], operation: str
) -> None:
    profile, story = simulated
    _check(story[operation], SIMULATED[profile], operation)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operation_on_a_registry_that_runs_here(tried: tuple[str, Story], operation: str) -> None:
    name, story = tried
    _check(story[operation], TRIED[name], operation)


def _check(seen: Seen, expected: Mapping[str, Cell], operation: str) -> None:
    cell = expected[operation]
    assert seen.status == cell.status, seen.text
    assert cell.says in seen.text
    assert seen.achieved or seen.status >= 400


def test_every_profile_has_its_row() -> None:
    assert list(PROFILES) == list(SIMULATED)


@pytest.mark.parametrize("matrix", [TRIED, SIMULATED], ids=["tried", "simulated"])
def test_the_documentation_prints_what_is_asserted(
    matrix: Mapping[str, Mapping[str, Cell]],
) -> None:
    assert table(matrix) in DOCUMENT.read_text()
