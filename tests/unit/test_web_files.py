from collections.abc import Iterator
from pathlib import Path

import flask
import pytest
from flask.testing import FlaskClient
from werkzeug.http import parse_date

from pyoci_flask.index.artifact import KnownConfigs
from pyoci_flask.index.core_metadata import CoreMetadataReader
from pyoci_flask.index.fetch import FetchPool
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.publish import publish
from pyoci_flask.index.reader import VersionReader
from pyoci_flask.oci.reference import EMBEDDED, Digest
from pyoci_flask.registry import create_registry
from pyoci_flask.settings import PinnedIndex, Settings
from pyoci_flask.web.api import blueprint as index
from pyoci_flask.web.conditional import ProjectPages
from pyoci_flask.web.error_answers import register_error_handlers
from pyoci_flask.web.gate import RegistryGate
from pyoci_flask.web.links import PublicOrigin
from pyoci_flask.web.paths import AddressParser
from pyoci_flask.web.services import EXTENSION, Services
from tests.unit.conftest import Callers
from tests.unit.doubles import Answer, Received, http_double
from tests.unit.index_doubles import Store, make_store, make_upload, refusing

SDIST = "hello-1.0.tar.gz"
CONTENT = bytes(range(256)) * 10
ETAG = f'"{Digest.of(CONTENT)}"'
FILE = f"/simple/hello/{SDIST}"


def make_client(callers: Callers, tmp_path: Path, store: Store | None) -> FlaskClient:
    """The blueprint of the index without what `create_app` wraps around it."""
    app = flask.Flask("pyoci_flask")
    register_error_handlers(app)
    app.register_blueprint(index.blueprint)
    settings = Settings(
        index=PinnedIndex(EMBEDDED, "python"), storage=tmp_path if store is not None else None
    )
    app.extensions[EXTENSION] = Services(
        settings=settings,
        addresses=AddressParser(settings),
        origin=PublicOrigin(settings, ""),
        transport=callers.transport,
        authenticator=callers.authenticator,
        versions=VersionReader(FetchPool(2)),
        pages=ProjectPages(),
        configs=KnownConfigs(),
        locks=VersionLocks(tmp_path / "locks"),
        metadata=CoreMetadataReader(),
        gate=RegistryGate(4),
    )
    return app.test_client()


@pytest.fixture
def store(caller_of: Callers, tmp_path: Path) -> Store:
    made = make_store(caller_of, create_registry(tmp_path / "storage"))
    publish(made.repository, make_upload(SDIST, CONTENT), VersionLocks(tmp_path / "locks"))
    made.registry.calls.clear()
    return made


@pytest.fixture
def client(store: Store, caller_of: Callers, tmp_path: Path) -> Iterator[FlaskClient]:
    with make_client(caller_of, tmp_path, store) as made:
        yield made


def test_file_comes_whole_with_its_headers(client: FlaskClient) -> None:
    answer = client.get(FILE)
    assert (answer.status_code, answer.data) == (200, CONTENT)
    headers = dict(answer.headers)
    assert parse_date(headers.pop("Last-Modified")) is not None
    assert headers == {
        "Content-Type": "application/octet-stream",
        "Content-Length": "2560",
        "ETag": ETAG,
        "Cache-Control": "private, no-cache",
        "Vary": "Authorization",
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="{SDIST}"',
    }


def test_head_has_the_headers_and_no_blob_is_read(client: FlaskClient, store: Store) -> None:
    answer = client.head(FILE)
    assert (answer.status_code, answer.data, answer.content_length) == (200, b"", 2560)
    assert answer.headers["ETag"] == ETAG
    assert store.registry.calls == [("GET", store.manifest("1.0"))]


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=100-", 100, 2559),
        ("bytes=100-199", 100, 199),
        ("bytes=-10", 2550, 2559),
        ("bytes=2500-9999", 2500, 2559),
        ("bytes=-9999", 0, 2559),
        ("bytes=2559-", 2559, 2559),
    ],
)
@pytest.mark.parametrize("if_range", [None, ETAG])
def test_part_of_a_file(
    client: FlaskClient, wanted: str, first: int, last: int, if_range: str | None
) -> None:
    headers = {"Range": wanted} | ({} if if_range is None else {"If-Range": if_range})
    answer = client.get(FILE, headers=headers)
    assert answer.status_code == 206
    assert answer.data == CONTENT[first : last + 1]
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/2560"
    assert answer.content_length == last - first + 1
    assert answer.headers["ETag"] == ETAG


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=0-1,5-6"},
        {"Range": "items=0-1"},
        {"Range": "bytes"},
        {"Range": "bytes=5-1"},
        {"Range": "bytes=x-"},
        {"Range": "bytes=-0,1-2"},
        {"Range": "items=-0"},
        {"Range": "bytes=-0", "If-Range": '"other"'},
        {"Range": "bytes=1-2", "If-Range": '"other"'},
        {"Range": "bytes=1-2", "If-Range": f"W/{ETAG}"},
        {"Range": "bytes=1-2", "If-Range": "Wed, 21 Oct 2099 07:28:00 GMT"},
        {"Range": "bytes=1-2", "If-Range": ""},
        {"If-None-Match": '"other"'},
    ],
)
def test_whole_file_is_sent_if_the_range_cannot_be_used(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    answer = client.get(FILE, headers=headers)
    assert (answer.status_code, answer.data) == (200, CONTENT)


@pytest.mark.parametrize("wanted", ["bytes=2560-", "bytes=9999-10000", "bytes=-0", "Bytes = -00"])
def test_part_beyond_the_end_is_refused(client: FlaskClient, wanted: str) -> None:
    answer = client.get(FILE, headers={"Range": wanted})
    assert (answer.status_code, answer.data) == (416, b"")
    assert answer.headers["Content-Range"] == "bytes */2560"


@pytest.mark.parametrize("known", [ETAG, f'"a", {ETAG}', f"W/{ETAG}", "*"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_file_that_the_client_has_is_not_sent(
    client: FlaskClient, store: Store, known: str, method: str
) -> None:
    headers = {"If-None-Match": known, "Range": "bytes=0-1"}
    answer = client.open(FILE, method=method, headers=headers)
    assert (answer.status_code, answer.data) == (304, b"")
    assert answer.headers["ETag"] == ETAG
    assert len(store.registry.calls) == 1


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/simple/hello/hello-2.0.tar.gz", 404, "no version 2.0"),
        ("/simple/hello/hello-1.0-py3-none-any.whl", 404, "no file hello-1.0-py3-none-any.whl"),
        ("/simple/other/other-1.0.tar.gz", 404, "other has no version 1.0"),
        ("/simple/hello/foo.whl", 400, "foo.whl"),
        ("/simple/hello/.env", 400, ".env"),
    ],
)
def test_missing_file_and_wrong_name(
    client: FlaskClient, path: str, status: int, text: str
) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert text in answer.text


@pytest.mark.parametrize("ranged", [True, False])
def test_part_comes_from_a_registry_with_and_without_ranges(
    caller_of: Callers, store: Store, tmp_path: Path, ranged: bool
) -> None:
    index_document = store.registry.ask("GET", store.manifest("1.0")).get_data()

    def registry(received: Received) -> Answer:
        if "/manifests/" in received.path:
            return Answer(body=index_document)
        if ranged and "Range" in received.headers:
            first, last = map(int, received.headers["Range"].removeprefix("bytes=").split("-"))
            span = f"bytes {first}-{last}/{len(CONTENT)}"
            return Answer(206, CONTENT[first : last + 1], {"Content-Range": span})
        return Answer(body=CONTENT)

    with http_double(registry) as server, make_client(caller_of, tmp_path, store) as client:
        path = f"/{server.url}/python/hello/{SDIST}"
        answer = client.get(path, headers={"Range": "bytes=1000-1999"})
        assert (answer.status_code, answer.data) == (206, CONTENT[1000:2000])


def test_deletion_says_what_went(client: FlaskClient, store: Store) -> None:
    answer = client.delete(FILE)
    assert (answer.status_code, answer.text) == (200, f"deleted {SDIST}\n")
    assert store.names("1.0") is None
    assert client.delete(FILE).status_code == 404


def test_deletion_says_that_bytes_stay(client: FlaskClient, store: Store) -> None:
    store.registry.faults.append(refusing({"DELETE"}, "/manifests/", 405, "UNSUPPORTED"))
    answer = client.delete("/simple/hello/1.0")
    assert answer.status_code == 200
    assert answer.text.startswith("deleted hello 1.0 from the index.")
    assert "keeps the bytes" in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[::1"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_browser_on_another_site_deletes_nothing(
    client: FlaskClient, store: Store, headers: dict[str, str]
) -> None:
    assert client.delete(FILE, headers=headers).status_code == 403
    assert store.registry.calls == []
    assert client.get(FILE, headers=headers).status_code == 200
