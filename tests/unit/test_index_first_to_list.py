"""Which versions are listed where not all are."""

import random
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from pyoci_flask.index.fetch import FetchPool
from pyoci_flask.index.listing import find_project, first_to_list, in_order, newest_first
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.names import version_of, version_or_none
from pyoci_flask.index.publish import publish
from pyoci_flask.index.reader import VersionReader
from pyoci_flask.registry import create_registry
from tests.unit.conftest import Callers
from tests.unit.index_doubles import make_store, make_upload

DEVS = [f"1.1.dev{number}" for number in range(1, 101)]


def _listed(tags: list[str], limit: int) -> list[str]:
    return first_to_list(in_order(tags))[:limit]


def _random_tag(seeded: random.Random) -> str:
    epoch = seeded.choice(["", "", "", "1_"])
    release = f"{seeded.randrange(4)}.{seeded.randrange(30)}"
    pre = seeded.choice(["", "", "a1", "b2", "rc3"])
    post = seeded.choice(["", "", "", ".post1"])
    dev = seeded.choice(["", "", f".dev{seeded.randrange(90)}"])
    local = seeded.choice(["", "", "", "-cpu.1"])
    return seeded.choice([f"{epoch}{release}{pre}{post}{dev}{local}"] * 30 + ["latest", "a.sig"])


@pytest.mark.parametrize("limit", [1, 2, 10, 100])
def test_a_release_is_listed_with_100_newer_development_releases(limit: int) -> None:
    listed = _listed(["1.0", *DEVS], limit)

    assert len(listed) == limit
    assert listed[0] == "1.0"
    assert set(listed[1:]) <= set(DEVS[-limit:])
    assert list(SpecifierSet(">=1,<1.1").filter(listed)) == ["1.0"]


def test_the_newest_are_listed_if_half_of_them_are_final() -> None:
    finals = [f"1.{number}" for number in range(90)]

    assert set(_listed([*finals, *DEVS[:5], "2.0rc1"], 60)) == {"2.0rc1", *finals[-59:]}
    assert set(_listed([*finals, "2.0rc1", "0.9rc1"], 10)) == {"2.0rc1", *finals[-9:]}


@pytest.mark.parametrize(
    "final", ["1.0", "1.0.post1", "1.0-local.1", "1_0.1", "1.0.post2-cpu"], ids=version_of
)
def test_post_releases_local_versions_and_those_of_an_epoch_are_final(final: str) -> None:
    assert final in _listed([final, *(f"2_{dev}" for dev in DEVS)], 2)


@pytest.mark.parametrize("other", ["1.0.post1.dev2", "1.0a1", "1.0rc1.post1", "latest"])
def test_pre_releases_and_tags_that_are_not_versions_do_not_displace_releases(
    other: str,
) -> None:
    assert _listed([other, "0.1"], 1) == ["0.1"]


def test_tags_that_are_not_versions_are_listed_last() -> None:
    assert _listed(["latest", "a.sig", "1.0.dev1", "0.1"], 2) == ["0.1", "1.0.dev1"]
    assert set(_listed(["latest", "a.sig", "1.0.dev1", "0.1"], 4)[2:]) == {"latest", "a.sig"}


def test_of_thousands_of_versions_the_newest_of_each_kind_are_listed() -> None:
    for seed in range(10):
        seeded = random.Random(seed)
        tags = sorted({_random_tag(seeded) for _ in range(seeded.choice([5, 300, 4000]))})
        seeded.shuffle(tags)
        ordered = newest_first(tags)
        parsed = {tag: version_or_none(version_of(tag)) for tag in tags}
        finals = [tag for tag in ordered if (one := parsed[tag]) and not one.is_prerelease]
        pres = [tag for tag in ordered if (one := parsed[tag]) and one.is_prerelease]
        order = first_to_list(in_order(tags))
        assert sorted(order) == sorted(tags)
        for limit in {1, 2, 3, 7, 50, 100, 1000, len(tags)}:
            listed = set(order[:limit])
            newest = set(ordered[:limit])
            number = max(min(len(finals), (limit + 1) // 2), len(newest & set(finals)))
            assert listed & set(finals) == set(finals[:number])
            rest = max(0, min(limit, len(tags)) - number)
            assert listed & set(pres) == set(pres[:rest])


def test_a_listing_reads_no_more_versions_than_its_limit(
    caller_of: Callers, tmp_path: Path
) -> None:
    store = make_store(caller_of, create_registry(tmp_path / "storage"))
    for version in ("0.9", "1.0", "1.1.dev1", "1.1.dev2", "1.1.dev3"):
        publish(
            store.repository,
            make_upload(f"hello-{version}.tar.gz"),
            VersionLocks(tmp_path / "locks"),
        )
    store.registry.calls.clear()

    project = VersionReader(FetchPool(2)).project(*find_project([store.repository]), 2)

    assert [file.version for file in project.files] == ["1.1.dev3", "1.0"]
    assert project.versions == ("1.1.dev3", "1.1.dev2", "1.1.dev1", "1.0", "0.9")
    assert max(map(Version, project.versions)) == Version("1.1.dev3")
    assert len(store.registry.calls) == 1 + 2
