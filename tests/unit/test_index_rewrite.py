"""Changing the index of a version: what is read and written, and what others write meanwhile."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from pyoci_flask.errors import (
    AlreadyExistsError,
    BusyError,
    DeniedError,
    PayloadTooLargeError,
)
from pyoci_flask.index.names import ProjectName
from pyoci_flask.index.project import ARTIFACT_TYPE, CHANGED, last_change
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.rewrite import read_for_change, rewrite_found, rewrite_index
from pyoci_flask.index.versions import VersionIndex
from pyoci_flask.oci.manifests import MissingContentError
from pyoci_flask.oci.model import MOST_ENTRIES, ImageIndex
from pyoci_flask.oci.reference import Tag
from pyoci_flask.transport.request import BasicCredentials
from tests.patience import PATIENCE
from tests.unit.conftest import Callers
from tests.unit.doubles import Answer, Received
from tests.unit.tag_double import (
    CHANGED_NOW,
    NOW,
    ONCE,
    READ,
    TAG,
    WRITE,
    Step,
    Tags,
    a_manifest,
    add,
    adding,
    an_entry,
    an_index,
    digests,
    entries,
    refuse,
)

# Undisturbed


def test_first_entry_makes_the_tag(tagged: ProjectRepository, tags: Tags) -> None:
    add(tagged)
    assert tags.held["1.0"] == an_index("ours")
    assert tags.calls == ONCE


def test_what_others_wrote_is_kept(tagged: ProjectRepository, tags: Tags) -> None:
    theirs = json.loads(an_index("first", "second"))
    theirs["manifests"][0]["annotations"] = {"foreign": "note"}
    theirs |= {"annotations": {"a": "b", CHANGED: "long ago"}, "foreign": {"a": [1]}}
    tags.put(json.dumps(theirs).encode())

    add(tagged)

    after = json.loads(tags.held["1.0"])
    assert after.pop("manifests")[:2] == theirs.pop("manifests")
    assert after == theirs | {"annotations": {"a": "b", **CHANGED_NOW}}
    assert tags.calls == ONCE


def test_nothing_is_written_where_nothing_is_to_change(
    tagged: ProjectRepository, tags: Tags
) -> None:
    tags.put(an_index("ours"))
    add(tagged)
    assert tags.calls == [READ]
    assert tags.held["1.0"] == an_index("ours")


def test_a_rewritten_index_tells_the_time_of_the_change(
    tagged: ProjectRepository, tags: Tags
) -> None:
    tags.put(an_index("first"))
    add(tagged)
    assert last_change(ImageIndex.parse(tags.held["1.0"])) == NOW


def test_the_time_of_a_change_is_now(tagged: ProjectRepository, tags: Tags) -> None:
    tags.put(an_index("first"))
    found = read_for_change(tagged, "1.0", TAG)
    assert found is not None
    began = datetime.now(UTC)
    rewrite_found(tagged, found, adding("ours"), 0)
    changed = last_change(ImageIndex.parse(tags.held["1.0"]))
    assert changed is not None
    assert began <= changed <= datetime.now(UTC)


def test_what_was_read_already_is_not_read_again(tagged: ProjectRepository, tags: Tags) -> None:
    tags.put(an_index("first"))
    found = read_for_change(tagged, "1.0", TAG)
    assert found is not None
    tags.calls.clear()

    rewrite_found(tagged, found, adding("ours"), 0)

    assert tags.calls == [WRITE, READ]
    assert tags.files == digests("first", "ours")


def test_what_was_read_already_serves_for_the_first_round_only(
    tagged: ProjectRepository, tags: Tags
) -> None:
    tags.put(an_index("first"))
    found = read_for_change(tagged, "1.0", TAG)
    tags.calls.clear()
    tags.steps[WRITE] = [tags.overwrite(an_index("first", "theirs"))]
    reads: list[VersionIndex | None] = []

    def read() -> VersionIndex | None:
        reads.append(found)
        return found

    rewrite_index(tagged, "1.0", TAG, adding("ours"), 0, read)

    assert tags.calls == [WRITE, READ, *ONCE]
    assert reads == [found]
    assert tags.files == digests("first", "theirs", "ours")


def test_the_index_is_written_under_the_tag_that_it_was_found_at(
    tagged: ProjectRepository, tags: Tags
) -> None:
    tags.held["1.0.0"] = an_index("first")
    found = read_for_change(tagged, "1.0.0", Tag("1.0.0"))
    assert found is not None
    rewrite_found(tagged, found, adding("ours"), 0)
    assert entries(tags.held["1.0.0"]) == digests("first", "ours")
    assert tags.files is None


def test_an_error_of_the_change_writes_nothing(tagged: ProjectRepository, tags: Tags) -> None:
    def refuse_it(_: VersionIndex | None) -> ImageIndex | None:
        raise AlreadyExistsError("it is there")

    with pytest.raises(AlreadyExistsError, match="it is there"):
        rewrite_index(tagged, "1.0", TAG, refuse_it, 0)
    assert tags.calls == [READ]


# Other writers


@pytest.mark.parametrize("before", [None, an_index("first")], ids=["new", "known"])
@pytest.mark.parametrize("times", [1, 7])
def test_an_index_that_another_writer_replaced_is_written_again_with_theirs(
    tagged: ProjectRepository, tags: Tags, before: bytes | None, times: int
) -> None:
    tags.put(before)
    theirs = [an_index(*map(str, range(number + 1))) for number in range(times)]
    tags.steps[WRITE] = [tags.overwrite(document) for document in theirs]

    add(tagged)

    assert tags.calls == ONCE * (times + 1)
    assert tags.files == [*entries(theirs[-1]), *digests("ours")]
    assert tags.annotations == CHANGED_NOW


def test_a_writer_that_never_lets_go_ends_in_busy_after_eight_rounds(
    tagged: ProjectRepository, tags: Tags
) -> None:
    theirs = [an_index(str(number)) for number in range(20)]
    tags.steps[WRITE] = [tags.overwrite(document) for document in theirs]
    with pytest.raises(BusyError, match="try again"):
        add(tagged)
    assert tags.calls == ONCE * 8
    assert tags.held["1.0"] == theirs[7]


def test_another_writer_who_kept_our_entry_leaves_nothing_to_write(
    tagged: ProjectRepository, tags: Tags
) -> None:
    tags.steps[WRITE] = [tags.overwrite(an_index("theirs", "ours"))]
    add(tagged)
    assert tags.calls == [*ONCE, READ]
    assert tags.files == digests("theirs", "ours")


def test_two_writers_that_read_the_same_index_keep_both_entries(
    tagged: ProjectRepository, tags: Tags
) -> None:
    both_read, both_wrote = threading.Barrier(2), threading.Barrier(2)

    def meet(barrier: threading.Barrier) -> Step:
        def step(received: Received) -> Answer:
            answer = tags.serve(received)
            barrier.wait(PATIENCE)
            return answer

        return step

    tags.put(an_index("first"))
    tags.steps = {READ: [meet(both_read)] * 2, WRITE: [meet(both_wrote)] * 2}
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda name: add(tagged, name), ["one", "two"]))
    assert set(tags.files or ()) == set(digests("first", "one", "two"))
    assert tags.calls.count(WRITE) == 3


def test_a_write_is_read_back_only_after_others_had_time_to_replace_it(
    tagged: ProjectRepository, tags: Tags
) -> None:
    for name in "abcdef":
        add(tagged, name, settle=0.05)
    assert min(tags.seconds_after(WRITE)) >= 0.05


# Entries that cannot be written


def test_entries_whose_manifests_are_gone_are_left_out_and_the_rest_is_kept(
    tagged: ProjectRepository, tags: Tags
) -> None:
    tags.put(an_index("gone", "there"))
    gone, there = digests("gone", "there")
    tags.held[str(there)] = a_manifest("there")
    tags.steps[WRITE] = [refuse(404, "MANIFEST_UNKNOWN")]

    add(tagged)

    assert tags.files == digests("there", "ours")
    assert tags.annotations == CHANGED_NOW
    assert tags.calls == [READ, WRITE, f"GET {gone}", f"GET {there}", WRITE, READ]


@pytest.mark.parametrize("before", [None, an_index("gone")], ids=["new", "known"])
def test_a_new_entry_is_never_left_out(
    tagged: ProjectRepository, tags: Tags, before: bytes | None
) -> None:
    """Its manifest can be pushed again."""
    tags.put(before)
    tags.steps[WRITE] = [refuse(404, "MANIFEST_UNKNOWN")] * 2
    with pytest.raises(MissingContentError):
        add(tagged)
    ours, gone = digests("ours", "gone")
    assert f"GET {ours}" not in tags.calls
    expected = [READ, WRITE] if before is None else [READ, WRITE, f"GET {gone}", WRITE]
    assert tags.calls == expected
    assert tags.held.get("1.0") == before


@pytest.mark.parametrize("more", [0, 1])
def test_a_version_has_ten_thousand_files_at_most(
    tagged: ProjectRepository, tags: Tags, more: int
) -> None:
    index = ImageIndex(ARTIFACT_TYPE, (an_entry("a"),) * (MOST_ENTRIES + more))
    if more:
        with pytest.raises(PayloadTooLargeError, match="10000 files"):
            rewrite_index(tagged, "1.0", TAG, lambda _: index, 0)
        assert tags.calls == [READ]
    else:
        rewrite_index(tagged, "1.0", TAG, lambda _: index, 0)
        assert tags.files == digests("a") * MOST_ENTRIES


# Reading what is to be changed


def test_a_tag_of_something_else_is_left_alone(tagged: ProjectRepository, tags: Tags) -> None:
    document = ImageIndex("application/other", ()).serialize()
    tags.put(document)
    with pytest.raises(AlreadyExistsError, match="application/other"):
        add(tagged)
    assert tags.calls == [READ]
    assert tags.held["1.0"] == document


def with_credentials(tags: Tags, caller_of: Callers) -> ProjectRepository:
    caller = caller_of(tags.url, credentials=BasicCredentials("alice", "secret"))
    return ProjectRepository(ProjectName("hello"), caller)


def test_403_for_a_tag_that_is_not_listed_is_a_version_that_is_not_there(
    tags: Tags, caller_of: Callers
) -> None:
    """As JFrog's virtual repositories answer."""
    tags.held["2.0"] = an_index()
    tags.steps[READ] = [refuse(403, "DENIED")]
    add(with_credentials(tags, caller_of))
    assert tags.calls == [READ, "GET list", WRITE, READ]
    assert tags.files == digests("ours")


def test_403_for_a_tag_of_a_repository_that_is_not_there_is_no_version_either(
    tags: Tags, caller_of: Callers
) -> None:
    tags.steps = {
        READ: [refuse(403, "DENIED")],
        "GET list": [refuse(404, "NAME_UNKNOWN")],
    }
    assert read_for_change(with_credentials(tags, caller_of), "1.0", TAG) is None
    assert tags.calls == [READ, "GET list"]


def test_403_for_a_tag_that_is_listed_is_an_error(tags: Tags, caller_of: Callers) -> None:
    tags.put(an_index("first"))
    tags.steps[READ] = [refuse(403, "DENIED")]
    with pytest.raises(DeniedError):
        add(with_credentials(tags, caller_of))
    assert tags.calls == [READ, "GET list"]
    assert tags.files == digests("first")


def test_401_for_a_tag_is_an_error_without_a_look_at_the_list(
    tags: Tags, caller_of: Callers
) -> None:
    tags.steps[READ] = [refuse(401, "UNAUTHORIZED")] * 2
    with pytest.raises(DeniedError):
        add(with_credentials(tags, caller_of))
    assert "GET list" not in tags.calls
    assert tags.files is None
