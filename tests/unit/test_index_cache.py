"""What a worker remembers of projects, and for whom."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from pyoci_flask.common.memory import Memory
from pyoci_flask.errors import NotFoundError, PyOCIError
from pyoci_flask.index import entries
from pyoci_flask.index.cache import CachedReader
from pyoci_flask.index.project_repository import RecentCallers
from pyoci_flask.index.publish import publish
from pyoci_flask.index.store import SQLiteStore
from pyoci_flask.oci.model import ImageIndex
from pyoci_flask.transport.request import BasicCredentials
from tests.patience import PATIENCE
from tests.unit.cache_lab import SDIST, WHEEL, Clock, Lab, as_somebody, make_lab, names
from tests.unit.conftest import Callers
from tests.unit.index_doubles import FaultyRegistry, make_upload, refusing


@pytest.fixture
def lab(caller_of: Callers, tmp_path: Path) -> Iterator[Lab]:
    with make_lab(caller_of, tmp_path) as made:
        yield made


def test_an_unchanged_project_is_the_same_object_so_that_its_page_can_be_kept(lab: Lab) -> None:
    first = lab.listed()
    assert lab.asked() == ["1.0"]

    assert lab.listed() is first
    assert lab.asked() == []
    lab.publish("hello-2.0.tar.gz")
    lab.asked()
    second = lab.listed()
    assert lab.asked() == ["2.0"]
    assert names(second) == ["hello-2.0.tar.gz", WHEEL]
    assert lab.listed() is second


def test_each_limit_has_a_project_of_its_own(lab: Lab) -> None:
    lab.publish("hello-2.0.tar.gz")

    assert names(lab.listed(1)) == ["hello-2.0.tar.gz"]
    assert names(lab.listed(0)) == ["hello-2.0.tar.gz", WHEEL]
    assert names(lab.listed(1)) == ["hello-2.0.tar.gz"]


@pytest.mark.parametrize("moved", [60, -1])
def test_what_is_old_or_from_the_future_is_asked_for_again(lab: Lab, moved: float) -> None:
    lab.listed()
    lab.publish(SDIST)
    lab.asked()
    assert names(lab.listed()) == [WHEEL]

    lab.clock.now += moved

    assert names(lab.listed()) == [WHEEL, SDIST]
    assert lab.asked() == ["1.0"]


def test_another_process_shows_what_this_one_has_read_after_one_manifest(lab: Lab) -> None:
    lab.publish("hello-2.0.tar.gz")
    expected = names(lab.listed())
    lab.asked()

    other = lab.another()

    assert names(other.listed()) == expected
    assert len(lab.asked()) == 1


def test_nothing_is_recalled_for_a_caller_who_has_not_pulled_from_the_repository(lab: Lab) -> None:
    lab.listed()
    somebody = as_somebody(lab.repository, "somebody")

    assert lab.reader.recall([lab.repository], "1.0") is not None
    assert lab.reader.recall([lab.repository], "2.0") is None
    assert lab.reader.recall([somebody], "1.0") is None
    assert lab.reader.find([somebody], "1.0") is not None
    assert lab.reader.recall([somebody], "1.0") is not None
    lab.clock.now += 60
    assert lab.reader.recall([somebody], "1.0") is None


def test_a_caller_who_is_denied_the_manifest_gets_nothing_that_others_have_read(lab: Lab) -> None:
    lab.listed()
    somebody = as_somebody(lab.repository, "somebody")
    lab.store.registry.faults.append(refusing({"GET"}, "/manifests/", 403, "DENIED"))

    with pytest.raises(PyOCIError):
        lab.listed(repository=somebody)
    assert lab.reader.recall([somebody], "1.0") is None


def test_a_caller_who_gets_404_for_every_manifest_sees_an_empty_project(lab: Lab) -> None:
    lab.publish("hello-2.0.tar.gz")
    lab.listed()
    somebody = as_somebody(lab.repository, "somebody")
    lab.store.registry.faults.append(refusing({"GET"}, "/manifests/", 404, "MANIFEST_UNKNOWN"))

    assert names(lab.listed(repository=somebody)) == []
    assert lab.reader.recall([somebody], "1.0") is None
    assert names(lab.listed()) == ["hello-2.0.tar.gz", WHEEL]


def test_a_change_is_seen_however_it_ended(lab: Lab) -> None:
    lab.listed()

    with (
        suppress(NotFoundError),
        lab.reader.changing([lab.repository], "1.0"),
    ):
        lab.publish(SDIST)
        raise NotFoundError("after the change was made")

    assert lab.reader.recall([lab.repository], "1.0") is None
    assert names(lab.listed()) == [WHEEL, SDIST]


def test_a_listing_that_began_before_a_change_is_not_remembered(lab: Lab) -> None:
    changed: list[bool] = []

    def change_meanwhile(_: FaultyRegistry, request: Request) -> Response | None:
        if request.path.endswith("/manifests/1.0") and not changed:
            changed.append(True)
            with lab.reader.changing([lab.repository], "1.0"):
                pass
        return None

    lab.store.registry.faults.append(change_meanwhile)

    assert names(lab.listed()) == [WHEEL]
    assert lab.reader.recall([lab.repository], "1.0") is None
    lab.asked()
    lab.listed()
    assert lab.asked() == ["1.0"]
    assert lab.reader.recall([lab.repository], "1.0") is not None
    assert changed


def test_what_one_process_asked_for_before_a_change_is_shown_by_no_other(
    lab: Lab, tmp_path: Path
) -> None:
    with closing(SQLiteStore(tmp_path / "cache", tmp_path, lab.clock)) as store:
        other = replace(lab, reader=CachedReader(lab.reader.pool, store, 60, lab.clock))
        lab.listed()
        other.listed()
        lab.clock.now += 60
        changed: list[bool] = []

        def change_after_the_answer(registry: FaultyRegistry, request: Request) -> Response | None:
            if not request.path.endswith("/manifests/1.0") or changed:
                return None
            changed.append(True)
            answer = registry.ask("GET", request.path)
            with other.reader.changing([lab.repository], "1.0"):
                lab.publish(SDIST)
            return answer

        lab.store.registry.faults.append(change_after_the_answer)
        assert names(lab.listed()) == [WHEEL]

        assert names(other.listed()) == [WHEEL, SDIST]
        assert names(lab.listed()) == [WHEEL, SDIST]
        assert lab.reader.recall([lab.repository], "1.0.0") is not None


def test_after_a_change_only_the_changed_version_is_parsed_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.publish("hello-2.0.tar.gz")
    lab.listed()
    parsed: list[str] = []
    real = entries.files_of

    def counting(index: ImageIndex, version: str, *others: Any, listed: bool) -> Any:  # noqa: ANN401 - as `files_of`
        parsed.append(version)
        return real(index, version, *others, listed=listed)

    monkeypatch.setattr(entries, "files_of", counting)
    with lab.reader.changing([lab.repository], "1.0"):
        lab.publish(SDIST)

    assert names(lab.listed()) == ["hello-2.0.tar.gz", WHEEL, SDIST]
    assert parsed == []
    other = lab.another()
    assert names(other.listed()) == ["hello-2.0.tar.gz", WHEEL, SDIST]
    assert sorted(parsed) == ["1.0", "2.0"]


def test_what_another_process_read_meanwhile_is_not_replaced_by_what_is_older(lab: Lab) -> None:
    lab.listed()
    lab.publish(SDIST)
    lab.publish("hello-2.0.tar.gz")
    other = CachedReader(lab.reader.pool, lab.records, 60, lab.clock)
    looked: list[bool] = []

    def look_meanwhile(_: FaultyRegistry, request: Request) -> Response | None:
        if request.path.endswith("/manifests/2.0") and not looked:
            looked.append(True)
            lab.clock.now += 1
            assert other.find([lab.repository], "1.0") is not None
        return None

    lab.store.registry.faults.append(look_meanwhile)
    lab.listed()

    assert looked
    assert names(lab.listed()) == ["hello-2.0.tar.gz", WHEEL, SDIST]


def test_versions_that_are_no_longer_listed_leave_the_project(lab: Lab) -> None:
    lab.publish("hello-2.0.tar.gz")
    lab.listed()
    assert lab.recorded() == {"1.0", "2.0"}
    assert lab.store.registry.ask("DELETE", lab.store.manifest("2.0")).status_code == 202
    lab.publish("hello-3.0.tar.gz")

    assert names(lab.listed()) == ["hello-3.0.tar.gz", WHEEL]
    assert set(lab.parsed().entries) == {"1.0", "3.0"}


def test_a_tag_that_is_no_package_is_asked_for_once(lab: Lab) -> None:
    index = lab.store.registry.document(lab.store.manifest("1.0"))
    path = lab.store.manifest(index["manifests"][0]["digest"])
    image = lab.store.registry.ask("GET", path)
    pushed = lab.store.registry.ask(
        "PUT", lab.store.manifest("2.0"), image.get_data(), image.content_type or ""
    )
    assert pushed.status_code == 201

    assert names(lab.listed()) == [WHEEL]
    assert lab.asked() == ["1.0", "2.0"]
    assert lab.listed().versions == ("1.0",)
    assert lab.asked() == []


def test_a_tag_that_names_nothing_is_asked_for_again_after_a_few_seconds(lab: Lab) -> None:
    tags = ["1.0", "9.9"]
    for _ in range(2):
        project = lab.reader.project(lab.repository, tags, 0)
        assert (project.versions, names(project)) == (("1.0",), [WHEEL])
    assert lab.asked() == ["1.0", "9.9"]
    assert lab.reader.project(lab.repository, tags, 0) is project

    lab.clock.now += 6
    lab.reader.project(lab.repository, tags, 0)
    assert lab.asked() == ["9.9"]


def test_a_version_that_is_too_large_is_not_recorded(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyoci_flask.index.versions._RECORDED", 1000)
    lab.publish(SDIST)
    lab.publish("hello-2.0.tar.gz")

    assert names(lab.listed()) == ["hello-2.0.tar.gz", WHEEL, SDIST]
    assert lab.recorded() == {"2.0"}
    lab.asked()
    assert names(lab.listed()) == ["hello-2.0.tar.gz", WHEEL, SDIST]
    assert lab.asked() == ["1.0"]  # it does not stay in memory either


def test_what_stays_parsed_is_bounded_and_those_used_last_stay(
    lab: Lab, caller_of: Callers
) -> None:
    lab.reader._known._known = Memory(entries=1000, max_bytes=4000, size=lambda known: known.size)
    repositories = [
        replace(lab.repository, caller=caller_of("embedded", f"python{number}/hello"))
        for number in range(3)
    ]
    for repository in repositories:
        publish(repository, make_upload(WHEEL), lab.locks)
    first, second, third = (lab.listed(repository=one) for one in repositories)
    lab.asked()

    assert lab.listed(repository=repositories[2]) is third
    assert lab.listed(repository=repositories[1]) is second
    assert lab.listed(repository=repositories[0]) is not first
    assert lab.asked() == []  # it is in its record still


def test_what_was_parsed_before_a_change_counts_while_it_is_kept(lab: Lab) -> None:
    lab.publish("hello-2.0.tar.gz")
    lab.listed()
    size = lab.parsed().size
    with lab.reader.changing([lab.repository], "2.0"):
        pass

    assert lab.reader.recall([lab.repository], "1.0") is not None
    assert set(lab.parsed().entries) == {"1.0"}
    assert lab.parsed().size == size
    lab.listed()
    assert lab.parsed().before == {}


def test_a_project_that_many_want_at_once_is_read_once(lab: Lab) -> None:
    lab.publish("hello-2.0.tar.gz")
    lab.asked()
    ready = threading.Barrier(4)
    found: list[list[str]] = []

    def ask() -> None:
        ready.wait(PATIENCE)
        found.append(names(lab.listed()))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [["hello-2.0.tar.gz", WHEEL]] * 4
    assert lab.asked() == ["1.0", "2.0"]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\xa5" * 50,
        b"[]",
        b"7",
        b"{}",
        b'{"changes": 1}',
        {"digest": "sha256:short"},
        {"document": "{}"},
        {"document": None},
        {"document": 7},
        {"document": '{"manifests": [7]}'},
    ],
)
def test_an_entry_that_was_damaged_is_asked_for_again(
    lab: Lab, damage: bytes | dict[str, object]
) -> None:
    lab.listed()
    key = f"entry\n{lab.key}\n1.0"
    if isinstance(damage, dict):
        damage = json.dumps(json.loads(lab.records.get_many([key])[key].value) | damage).encode()
    assert lab.records.set_many({key: damage}, 60)
    lab.asked()

    other = lab.another()

    assert names(other.listed()) == [WHEEL]
    assert lab.asked() == ["1.0"]


def test_numbers_of_changes_that_were_damaged_or_dropped_bring_nothing_old_back(lab: Lab) -> None:
    lab.listed()
    with lab.reader.changing([lab.repository], "1.0.0"):
        lab.publish(SDIST)
    keys = [f"changes\n{lab.key}\n1", f"changes\n{lab.key}\n"]
    assert len(lab.records.get_many(keys)) == 2

    for value, ttl in ((b"no number", 60.0), (b"", 60.0), (b"1", 0.0)):
        assert lab.records.set_many(dict.fromkeys(keys, value), ttl)
        assert names(lab.listed()) == [WHEEL, SDIST]
        assert len(lab.records.get_many(keys)) == 2


def test_a_proof_is_of_one_credential_for_one_repository_and_for_a_time(
    caller_of: Callers,
) -> None:
    clock = Clock()
    proofs = RecentCallers(60, clock)
    alice, bob = BasicCredentials("alice", "secret"), BasicCredentials("bob", "secret")
    proven = caller_of("http://registry.test:5000", "team/foo", alice)
    others = [
        caller_of("http://registry.test:5000", "team/foo", bob),
        caller_of("http://registry.test:5000", "team/foo"),
        caller_of("http://registry.test:5000", "team/bar", alice),
        caller_of("http://registry.test:5001", "team/foo", alice),
        caller_of(
            "http://registry.test:5000", "team/foo", BasicCredentials("alice", "another secret")
        ),
    ]

    proofs.add(proven)

    assert proven in proofs
    assert not any(one in proofs for one in others)
    clock.now += 59.9
    assert proven in proofs
    clock.now += 0.1
    assert proven not in proofs


def test_proofs_are_bounded(caller_of: Callers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyoci_flask.index.project_repository._MOST_CALLERS", 2)
    proofs = RecentCallers(60, Clock())
    one, two, three = (caller_of("http://registry.test:5000", f"team/{n}") for n in "abc")

    for caller in (one, two, one, three):
        proofs.add(caller)

    assert [caller in proofs for caller in (one, two, three)] == [True, False, True]
