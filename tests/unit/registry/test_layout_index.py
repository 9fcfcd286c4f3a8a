"""`index.json` as the registry reads and writes it."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyoci_flask.registry import create_registry
from pyoci_flask.registry.documents import Descriptor
from pyoci_flask.registry.layout_index import (
    EMPTY_INDEX,
    DamagedIndexError,
    LayoutIndex,
    parse_index,
    tag_entry,
)
from pyoci_flask.registry.names import Digest, Tag
from tests.unit.registry.client import INDEX, RegistryClient, digest_of, in_process, index


def manifest(number: int) -> Descriptor:
    return Descriptor(INDEX, Digest.of(str(number).encode()), number)


TAGS = {Tag(f"1.{number}"): manifest(number) for number in range(3)}
WRITTEN = EMPTY_INDEX.changed(
    lambda _: False, [tag_entry(tag, named) for tag, named in TAGS.items()]
)


def said(content: bytes, before: LayoutIndex) -> object:
    try:
        found = parse_index(content, before)
    except DamagedIndexError:
        return None
    return dict(found.tags), dict(found.manifests), found.foreign


def meant(content: bytes) -> object:
    """What the JSON says, read without a look at lines."""
    try:
        document = json.loads(content)
    except ValueError:
        return None
    return said(json.dumps(document).encode(), EMPTY_INDEX) if isinstance(document, dict) else None


def test_what_is_written_has_an_entry_on_each_line() -> None:
    lines = WRITTEN.serialize().splitlines()

    assert json.loads(lines[0] + b"]}")["manifests"] == []
    assert [json.loads(line.rstrip(b","))["size"] for line in lines[1:-1]] == [0, 1, 2]
    assert lines[-1] == b"]}"
    assert parse_index(WRITTEN.serialize()).tags == TAGS


def test_an_empty_index_is_read_as_it_was_written() -> None:
    assert parse_index(EMPTY_INDEX.serialize()).serialize() == EMPTY_INDEX.serialize()


def test_entries_that_were_there_before_are_not_parsed_again() -> None:
    added = tag_entry(Tag("new"), manifest(9))
    content = WRITTEN.changed(lambda entry: entry.ref_name == "1.1", [added]).serialize()

    found = parse_index(content, WRITTEN)

    assert list(found.tags) == ["1.0", "1.2", "new"]
    assert found.entries[0] is WRITTEN.entries[0]
    assert found.entries[1] is WRITTEN.entries[2]


@pytest.mark.parametrize("indent", [None, 1])
def test_what_another_program_wrote_is_kept_in_the_lines_of_this_one(indent: int | None) -> None:
    foreign = {"mediaType": "application/x", "digest": "sha512:" + "a" * 128, "size": 1}
    document = json.loads(WRITTEN.serialize())
    document = {"manifests": [foreign, *document["manifests"]], "annotations": {"a": "b\n"}}

    found = parse_index(json.dumps(document, indent=indent).encode())

    assert (found.tags, found.foreign) == (TAGS, 1)
    again = parse_index(found.serialize(), found)
    assert json.loads(again.serialize()) == document
    assert again.serialize() == found.serialize()


PIECES = st.sampled_from(
    [b"", b"\n", b",\n", b"\n]}", b"]}", b'"manifests":[\n', b"{", b"}", b",", b"1", b" ", b'"']
)


@given(
    places=st.lists(
        st.tuples(st.integers(0, len(WRITTEN.serialize())), st.integers(0, 200), PIECES),
        max_size=3,
    )
)
@example(places=[(len(WRITTEN.serialize()) - 3, 0, b"1")])
@example(places=[(len(WRITTEN.serialize()) - 3, 1, b"")])
@example(places=[(0, 0, b'{"a":')])
def test_a_file_in_lines_means_what_its_json_means(places: list[tuple[int, int, bytes]]) -> None:
    content = WRITTEN.serialize()
    for start, length, piece in places:
        content = content[:start] + piece + content[start + length :]

    assert said(content, WRITTEN) == meant(content)
    assert said(content, EMPTY_INDEX) == meant(content)


def test_a_layout_that_another_program_rewrites_between_pushes_loses_no_tag(
    registry: RegistryClient, storage: Path
) -> None:
    file = storage / "x" / "index.json"
    for number, indent in enumerate((None, 2, 0)):
        registry.push_manifest("x", index(annotations={"n": str(number)}), f"1.{number}")
        document = json.loads(file.read_text())
        entry = dict(document["manifests"][0])
        entry["annotations"] = {"org.opencontainers.image.ref.name": f"other-{number}"}
        document["manifests"].append(entry)
        file.write_text(json.dumps(document, indent=indent))
        expected = [f"{name}{n}" for name in ("1.", "other-") for n in range(number + 1)]
        assert registry.tags("x") == expected


def test_workers_that_push_in_turn_lose_no_tag(storage: Path) -> None:
    workers = [in_process(create_registry(storage)) for _ in range(3)]
    for number in range(12):
        workers[number % 3].push_manifest("x", index(annotations={"n": str(number)}), f"t{number}")
    workers[0].request("DELETE", "/v2/x/manifests/t3")
    workers[1].push_manifest("x", index(), "t4")

    expected = sorted(f"t{number}" for number in range(12) if number != 3)
    assert [worker.tags("x") for worker in workers] == [expected] * 3
    answer = workers[2].request("HEAD", "/v2/x/manifests/t4")
    assert answer.headers["Docker-Content-Digest"] == digest_of(index())


def test_a_push_that_changes_nothing_leaves_the_file_alone(
    registry: RegistryClient, storage: Path
) -> None:
    for tag in ("1.0", "2.0"):
        registry.push_manifest("x", index(), tag)
    before = (storage / "x" / "index.json").stat()

    registry.push_manifest("x", index(), "1.0")

    after = (storage / "x" / "index.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def read_so_far() -> int:
    """Bytes that this process has read."""
    [count] = re.findall(r"^rchar: (\d+)$", Path("/proc/self/io").read_text(), re.MULTILINE)
    return int(count)


def test_an_unknown_digest_does_not_have_all_indexes_read(registry: RegistryClient) -> None:
    for number in range(20):
        registry.push_manifest("x", index(annotations={"n": f"{number:0100000}"}), f"1.{number}")
    before = read_so_far()

    for method in ("HEAD", "GET", "DELETE"):
        path = f"/v2/x/manifests/{digest_of(b'unknown')}"
        assert registry.request(method, path).status_code == 404

    assert read_so_far() - before < 1_000_000
