"""Changing the index of a version where answers are late, lost or refused."""

import threading

import pytest

from pyoci_flask.errors import (
    AlreadyExistsError,
    PyOCIError,
    RegistryError,
    RegistryUnreachableError,
)
from pyoci_flask.index.names import ProjectName
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.oci.manifests import UncertainWriteError
from pyoci_flask.transport.auth import Authenticator
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.session import Transport
from tests.patience import PATIENCE
from tests.unit.conftest import Callers
from tests.unit.doubles import Answer, Received
from tests.unit.tag_double import (
    CHANGED_NOW,
    ONCE,
    READ,
    WRITE,
    Tags,
    add,
    an_index,
    digests,
    refuse,
)

# Registries that show a write late, or not at all


@pytest.mark.slow
@pytest.mark.parametrize("before", [None, an_index("first")], ids=["new", "known"])
def test_a_write_that_is_seen_late_is_waited_for(
    tagged: ProjectRepository, tags: Tags, before: bytes | None
) -> None:
    """At the fifth look, after pauses of 0.2, 0.4, 0.6 and 0.8 seconds."""
    tags.put(before)
    tags.steps[READ] = [tags.serve, *[tags.show(before)] * 4]

    add(tagged)

    assert tags.calls == [READ, WRITE, *[READ] * 5]
    pauses = tags.seconds_after(READ)[1:]
    assert all(pause >= 0.2 * number for number, pause in enumerate(pauses, 1)), pauses
    assert sum(pauses) < PATIENCE
    assert tags.files == digests(*(["first"] if before else []), "ours")


@pytest.mark.slow
@pytest.mark.parametrize("before", [None, an_index("first")], ids=["new", "known"])
def test_a_write_that_is_not_seen_at_five_looks_is_repeated(
    tagged: ProjectRepository, tags: Tags, before: bytes | None
) -> None:
    tags.put(before)
    tags.steps[WRITE] = [tags.overwrite(before)]
    add(tagged)
    assert tags.calls == [READ, WRITE, *[READ] * 5, *ONCE]
    assert tags.files == digests(*(["first"] if before else []), "ours")


@pytest.mark.slow
def test_a_tag_that_is_deleted_after_the_write_is_made_again(
    tagged: ProjectRepository, tags: Tags
) -> None:
    tags.put(an_index("first"))
    tags.steps[WRITE] = [tags.overwrite(None)]
    add(tagged)
    assert tags.calls == [READ, WRITE, *[READ] * 5, *ONCE]
    assert tags.files == digests("ours")


def test_a_stale_look_and_then_the_index_of_another_writer_is_a_lost_write(
    tagged: ProjectRepository, tags: Tags
) -> None:
    tags.put(an_index("first"))
    tags.steps[READ] = [tags.serve, tags.show(an_index("first"))]
    tags.steps[WRITE] = [tags.overwrite(an_index("first", "theirs"))]
    add(tagged)
    assert tags.calls == [READ, WRITE, READ, READ, *ONCE]
    assert tags.files == digests("first", "theirs", "ours")


def test_a_change_that_is_repeated_on_the_same_index_writes_the_same_document(
    tagged: ProjectRepository, tags: Tags
) -> None:
    """A registry may show the index before, another one, and the first write only at the end."""
    first = an_index("first")
    tags.put(first)
    tags.steps[READ] = [tags.show(one) for one in (first, an_index("theirs"), first)]

    add(tagged)

    assert tags.calls == ONCE * 2
    assert len(tags.sent) == 2
    assert tags.sent[0] == tags.sent[1]


# Lost answers


LOST: dict[type[PyOCIError], Answer] = {
    UncertainWriteError: Answer(500),
    RegistryUnreachableError: Answer(reset=True),
}
"""What becomes of an answer, by the error that it is."""


@pytest.mark.parametrize("answer", LOST.values(), ids=["failed", "reset"])
def test_a_write_whose_answer_was_lost_is_not_repeated(
    tagged: ProjectRepository, tags: Tags, answer: Answer
) -> None:
    tags.put(an_index("first"))
    tags.steps[WRITE] = [tags.store(answer)]
    add(tagged)
    assert tags.calls == ONCE
    assert tags.files == digests("first", "ours")
    assert tags.annotations == CHANGED_NOW


@pytest.mark.slow
def test_a_write_whose_answer_is_too_late_is_not_repeated(tags: Tags) -> None:
    done = threading.Event()

    def keep_waiting(received: Received) -> Answer:
        tags.serve(received)
        done.wait(PATIENCE)
        return Answer(reset=True)

    tags.steps[WRITE] = [keep_waiting]
    made = Transport(network=Network(), pool_size=2, connect_timeout=PATIENCE, read_timeout=2)
    try:
        caller = Callers(made, Authenticator(made))(tags.url)
        add(ProjectRepository(ProjectName("hello"), caller))
    finally:
        done.set()
        made.close()
    assert tags.calls == ONCE
    assert tags.files == digests("ours")


@pytest.mark.parametrize("answer", LOST.values(), ids=["failed", "reset"])
def test_a_write_that_was_lost_whole_is_repeated(
    tagged: ProjectRepository, tags: Tags, answer: Answer
) -> None:
    """Another writer's index is there, so that there is nothing to wait for."""
    tags.put(an_index("first"))

    def lose(_: Received) -> Answer:
        tags.put(an_index("first", "theirs"))
        return answer

    tags.steps[WRITE] = [lose]
    add(tagged)
    assert tags.calls == ONCE * 2
    assert tags.files == digests("first", "theirs", "ours")


@pytest.mark.parametrize("kind", LOST)
def test_the_second_lost_answer_is_an_error(
    tagged: ProjectRepository, tags: Tags, kind: type[PyOCIError]
) -> None:
    def lose(_: Received) -> Answer:
        tags.put(an_index("first", f"theirs {len(tags.calls)}"))
        return LOST[kind]

    tags.put(an_index("first"))
    tags.steps[WRITE] = [lose] * 2
    with pytest.raises(kind):
        add(tagged)
    assert tags.calls == [*ONCE, READ, WRITE]


@pytest.mark.parametrize("acknowledged", [True, False])
def test_a_write_that_cannot_be_read_back_counts_if_it_was_acknowledged(
    tagged: ProjectRepository, tags: Tags, acknowledged: bool
) -> None:
    """An error would have the client try again, which would then be a conflict."""
    tags.steps[READ] = [tags.serve, refuse(400, "BROKEN")]
    if acknowledged:
        add(tagged)
    else:
        tags.steps[WRITE] = [tags.store(Answer(500))]
        with pytest.raises(RegistryError, match="BROKEN"):
            add(tagged)
    assert tags.calls == ONCE
    assert tags.files == digests("ours")


def test_an_acknowledged_write_after_a_lost_one_counts_too(
    tagged: ProjectRepository, tags: Tags
) -> None:
    def lose(_: Received) -> Answer:
        tags.put(an_index("theirs"))
        return Answer(500)

    tags.steps[WRITE] = [lose]
    tags.steps[READ] = [tags.serve] * 3 + [refuse(400, "BROKEN")]
    add(tagged)
    assert tags.calls == ONCE * 2
    assert tags.files == digests("theirs", "ours")


def test_a_refused_write_is_neither_read_back_nor_repeated(
    tagged: ProjectRepository, tags: Tags
) -> None:
    tags.put(an_index("first"))
    tags.steps[WRITE] = [refuse(409, "CONFLICT")]
    with pytest.raises(AlreadyExistsError, match="immutable"):
        add(tagged)
    assert tags.calls == [READ, WRITE]
    assert tags.files == digests("first")
