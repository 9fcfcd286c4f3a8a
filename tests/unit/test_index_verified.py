"""What is remembered of blobs that were sent completely."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pyoci_flask.index.store import SQLiteStore
from pyoci_flask.index.verified import VerifiedBlobs
from pyoci_flask.oci.reference import Digest

PLACE = "http://registry.example/acme/hello"
DIGEST = Digest.of(b"content")
SIZE = 1_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    with closing(SQLiteStore(tmp_path / "cache", tmp_path)) as made:
        yield made


def test_workers_share_what_they_have_verified(store: SQLiteStore) -> None:
    one, other = VerifiedBlobs(store), VerifiedBlobs(store)
    assert not one.has(PLACE, DIGEST, SIZE)
    assert not other.has(PLACE, DIGEST, SIZE)
    one.add(PLACE, DIGEST, SIZE)
    assert one.has(PLACE, DIGEST, SIZE)
    assert other.has(PLACE, DIGEST, SIZE)
    store.close()
    assert other.has(PLACE, DIGEST, SIZE)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    ("place", "digest", "size"),
    [
        ("http://registry.example/acme/other", DIGEST, SIZE),
        ("https://registry.example/acme/hello", DIGEST, SIZE),
        (PLACE, Digest.of(b"other"), SIZE),
        (PLACE, DIGEST, SIZE - 1),
        (PLACE, DIGEST, SIZE + 1),
    ],
)
def test_nothing_else_counts_as_verified(
    store: SQLiteStore, place: str, digest: Digest, size: int, *, shared: bool
) -> None:
    found = VerifiedBlobs(store)
    found.add(PLACE, DIGEST, SIZE)
    assert not (VerifiedBlobs(store) if shared else found).has(place, digest, size)


def test_without_a_store_a_worker_remembers_for_itself() -> None:
    found = VerifiedBlobs()
    found.add(PLACE, DIGEST, SIZE)
    assert found.has(PLACE, DIGEST, SIZE)
    assert not VerifiedBlobs().has(PLACE, DIGEST, SIZE)


def test_a_store_that_fails_is_as_none(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    with closing(SQLiteStore(tmp_path / "cache", tmp_path)) as broken:
        found = VerifiedBlobs(broken)
        assert not found.has(PLACE, DIGEST, SIZE)
        found.add(PLACE, DIGEST, SIZE)
        assert found.has(PLACE, DIGEST, SIZE)


def test_a_damaged_value_does_not_count(store: SQLiteStore) -> None:
    VerifiedBlobs(store).add(PLACE, DIGEST, SIZE)
    store.set_many({f"verified\n{PLACE}\n{DIGEST}": b"\xff"}, 60)
    assert not VerifiedBlobs(store).has(PLACE, DIGEST, SIZE)


def test_small_blobs_are_not_remembered(store: SQLiteStore) -> None:
    found = VerifiedBlobs(store)
    found.add(PLACE, DIGEST, 1000)
    assert not found.has(PLACE, DIGEST, 1000)
    assert not store.get_many([f"verified\n{PLACE}\n{DIGEST}"])
