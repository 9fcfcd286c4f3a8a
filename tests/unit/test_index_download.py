import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci_flask.errors import NotFoundError, RegistryError, TransferBrokenError
from pyoci_flask.index.download import find_file, open_file, verified
from pyoci_flask.index.fetch import FetchPool
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.names import Filename
from pyoci_flask.index.publish import publish
from pyoci_flask.index.reader import VersionReader
from pyoci_flask.oci.blobs import open_blob
from pyoci_flask.oci.model import INDEX_TYPE
from pyoci_flask.oci.reference import Digest
from pyoci_flask.registry import create_registry
from tests.unit.conftest import Callers
from tests.unit.doubles import Answer, http_double
from tests.unit.index_doubles import PROJECT, Store, make_store, make_upload

SDIST = "hello-1.0.tar.gz"
CONTENT = bytes(range(256)) * 4000
NAME = Filename.parse(SDIST, PROJECT)
READER = VersionReader(FetchPool(1))


@pytest.fixture
def store(caller_of: Callers, tmp_path: Path) -> Store:
    made = make_store(caller_of, create_registry(tmp_path / "storage"))
    publish(made.repository, make_upload(SDIST, CONTENT), VersionLocks(tmp_path / "locks"))
    made.registry.calls.clear()
    return made


def strip_entry(store: Store) -> None:
    """Take the annotations off that the original never wrote."""
    index = store.registry.document(store.manifest("1.0"))
    del index["manifests"][0]["annotations"]
    body = json.dumps(index).encode()
    assert store.registry.ask("PUT", store.manifest("1.0"), body, INDEX_TYPE).status_code == 201


def test_file_is_read_in_two_calls(store: Store) -> None:
    stored = find_file([store.repository], NAME, READER)
    assert stored.read_size() == len(CONTENT)
    content = b"".join(verified(open_file(stored), stored.digest, len(CONTENT)))
    assert content == CONTENT
    assert store.registry.calls == [
        ("GET", store.manifest("1.0")),
        ("GET", f"/v2/python/hello/blobs/{Digest.of(CONTENT)}"),
    ]


def test_file_without_annotations_is_found_by_its_manifest(store: Store) -> None:
    strip_entry(store)
    stored = find_file([store.repository], NAME, READER)
    assert stored.digest == Digest.of(CONTENT)
    assert stored.read_size() == len(CONTENT)
    assert b"".join(verified(open_file(stored), stored.digest, len(CONTENT))) == CONTENT


@pytest.mark.parametrize("filename", ["hello-1.0-py3-none-any.whl", "hello-2.0.tar.gz"])
def test_missing_file_and_version_are_not_found(store: Store, filename: str) -> None:
    with pytest.raises(NotFoundError):
        find_file([store.repository], Filename.parse(filename, PROJECT), READER)


def test_sdist_is_found_under_another_spelling(store: Store) -> None:
    stored = find_file([store.repository], Filename.parse("Hello-1.0.tar.gz", PROJECT), READER)
    assert stored.file.filename.text == SDIST


def test_file_whose_bytes_or_manifest_are_gone_is_not_found(store: Store) -> None:
    entry = store.registry.document(store.manifest("1.0"))["manifests"][0]
    stored = find_file([store.repository], NAME, READER)
    blob = f"/v2/python/hello/blobs/{stored.digest}"
    assert store.registry.ask("DELETE", blob).status_code == 202
    with pytest.raises(NotFoundError):
        open_file(stored)
    strip_entry(store)
    assert store.registry.ask("DELETE", store.manifest(entry["digest"])).status_code == 202
    with pytest.raises(NotFoundError, match=r"manifest of .* is gone"):
        find_file([store.repository], NAME, READER)


def test_a_blob_of_another_size_than_in_the_index_is_refused_before_a_byte_is_sent(
    store: Store,
) -> None:
    index = store.registry.document(store.manifest("1.0"))
    index["manifests"][0]["annotations"]["com.pyoci.size"] = "7"
    body = json.dumps(index).encode()
    assert store.registry.ask("PUT", store.manifest("1.0"), body, INDEX_TYPE).status_code == 201
    with pytest.raises(RegistryError, match=f"has {len(CONTENT)} bytes in the registry, not 7"):
        open_file(find_file([store.repository], NAME, READER))


def take(chunks: Iterator[bytes], into: io.BytesIO) -> None:
    into.writelines(chunks)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=CONTENT[:-1]),
        Answer(body=CONTENT + b"x"),
        Answer(body=CONTENT[:-1] + b"x"),
        Answer(body=b""),
        Answer(body=bytes(len(CONTENT))),
        Answer(body=CONTENT, sent=len(CONTENT) // 2),
    ],
)
def test_wrong_bytes_are_never_sent_completely(caller_of: Callers, answer: Answer) -> None:
    received = io.BytesIO()
    with http_double(lambda _: answer) as server:
        blob = open_blob(caller_of(server.url), Digest.of(CONTENT))
        with pytest.raises(TransferBrokenError):
            take(verified(blob, Digest.of(CONTENT), len(CONTENT)), received)
    assert len(received.getvalue()) < len(CONTENT)


@pytest.mark.parametrize("content", [b"", b"x", CONTENT])
def test_right_bytes_are_sent_completely(caller_of: Callers, content: bytes) -> None:
    received = io.BytesIO()
    with http_double(lambda _: Answer(body=content)) as server:
        blob = open_blob(caller_of(server.url), Digest.of(content))
        take(verified(blob, Digest.of(content), len(content)), received)
    assert received.getvalue() == content
