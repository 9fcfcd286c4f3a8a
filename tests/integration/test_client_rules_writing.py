"""The rules of the registry client, seventeen to twenty-six: how it writes, deletes and retries."""

import http.client
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from werkzeug.wrappers import Request

from pyoci_flask.errors import InvalidRequestError, RegistryError
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.manifests import put_manifest
from pyoci_flask.oci.model import MANIFEST_TYPE
from pyoci_flask.oci.reference import Digest, Registry, Repository, Tag
from pyoci_flask.oci.uploads import push_blob
from pyoci_flask.transport.auth import Authenticator
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.request import BearerCredentials
from pyoci_flask.transport.session import Transport
from tests.conftest import AppServer
from tests.integration.index_client import address
from tests.packages import make_sdist, make_wheel
from tests.patience import PATIENCE
from tests.quirks.registry import quirky_registry
from tests.quirks.site import REPOSITORY, SDIST, WHEEL, MakeSite, Site
from tests.quirks.switches import Auth, Blobs, Deleting, Manifests, Quirks
from tests.quirks.tokens import OWNER
from tests.servers import self_signed
from tests.unit.doubles import Answer, Received, http_double, in_turn

BEARER = Auth(scheme="bearer")
CONTENT = b"bytes of a file"
DIGEST = Digest.of(CONTENT)


@pytest.fixture
def site(app_server: AppServer, http: requests.Session, tmp_path: Path) -> Iterator[MakeSite]:
    """Make the application and a registry with given quirks."""
    with ExitStack() as running:

        def make(quirks: Quirks) -> Site:
            registry = running.enter_context(quirky_registry(tmp_path / "registry", quirks))
            return Site(registry, app_server(), http, tmp_path)

        yield make


def _sizes(calls: list[Request]) -> set[str | None]:
    return {call.headers.get("Content-Length") for call in calls}


def test_rule_17_an_upload_is_one_post_and_one_put_with_a_length(site: MakeSite) -> None:
    there = site(Quirks())
    there.round_trip()
    assert there.index().request("DELETE", "/foo/1.0").status_code == 200

    assert {call.method for call in there.calls()} == {"GET", "HEAD", "POST", "PUT", "DELETE"}
    assert not [call for call in there.calls() if "Transfer-Encoding" in call.headers]
    assert _sizes(there.calls("POST")) == _sizes(there.calls("DELETE")) == {"0"}
    puts = there.calls("PUT", "/blobs/uploads/")
    assert len(puts) == len(there.calls("POST"))
    assert {call.headers["Content-Type"] for call in puts} == {"application/octet-stream"}
    assert {call.args["digest"].partition(":")[0] for call in puts} == {"sha256"}


@pytest.mark.parametrize("finished", [201, 204])
@pytest.mark.parametrize("state", ["", "_state=a%2Bb==&x=%7E"])
@pytest.mark.parametrize("location", ["relative", "absolute", "elsewhere"])
def test_rule_18_the_location_is_followed_to_the_letter(
    site: MakeSite, location: str, state: str, finished: int
) -> None:
    blobs = Blobs(location=location, state=state, finished=finished)  # type: ignore[arg-type]
    there = site(Quirks(BEARER, blobs=blobs))
    there.round_trip()

    elsewhere = [call for call in there.registry.stored if call.method == "PUT"]
    assert bool(elsewhere) == (location == "elsewhere")
    assert not [call for call in elsewhere if "Authorization" in call.headers]


def test_rule_18_http_on_the_same_host_is_raised_to_https(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    transport = Transport(network=Network(ca_bundle=str(certificate[0])), pool_size=4)
    location = "http://127.0.0.1/upload/1?state=a"

    def answer(received: Received) -> Answer:
        found = {"HEAD": 404, "POST": 202}.get(received.method, 201)
        return Answer(found, headers={"Location": location})

    with http_double(answer, certificate) as server, closing(transport):
        push_blob(_caller(transport, server.url), DIGEST, CONTENT, len(CONTENT))

    put = server.received[2]
    assert (put.method, put.target) == ("PUT", f"/upload/1?state=a&digest={DIGEST}")
    assert put.authorization == "Bearer t0ken"


def _caller(transport: Transport, url: str) -> RepositoryCaller:
    registry = Registry.parse(url)
    assert registry is not None
    repository = Repository(registry, "team/foo")
    credentials = BearerCredentials("t0ken")
    return RepositoryCaller(transport, Authenticator(transport), repository, credentials)


def test_rule_19_the_put_carries_the_posts_authorization(site: MakeSite) -> None:
    there = site(Quirks(BEARER))
    there.round_trip()

    begun = Counter(call.headers.get("Authorization") for call in there.calls("POST"))
    puts = Counter(call.headers["Authorization"] for call in there.calls("PUT", "/blobs/uploads/"))
    # With two parallel files, each may get the challenge first and begin again: in any order.
    assert puts
    assert not puts - begun


def test_rule_19_a_401_amid_an_upload_rewinds_it(site: MakeSite, app_server: AppServer) -> None:
    # One call at a time: each POST revokes all tokens, including those of parallel calls.
    app = app_server({"PYOCI_FETCH_THREADS": "1"})
    there = replace(site(Quirks(BEARER, blobs=Blobs(tokens_expire=2))), app=app)
    there.round_trip()

    puts = [call.path for call in there.calls("PUT", "/blobs/uploads/")]
    assert len(puts) == len(set(puts)) + 2


def test_rule_20_what_is_there_is_not_uploaded_again(site: MakeSite) -> None:
    there = site(Quirks())
    there.wheel()
    sent = len(there.calls("PUT", "/blobs/uploads/"))
    assert there.index().request("DELETE", "/foo/1.0").status_code == 200
    there.wheel()

    assert len(there.calls("PUT", "/blobs/uploads/")) == sent
    assert all(call.query_string == b"" for call in there.calls("POST"))


@pytest.mark.parametrize("head", ["403", "405"])
def test_rule_20_where_a_head_tells_nothing_it_is_uploaded(site: MakeSite, head: str) -> None:
    site(Quirks(blobs=Blobs(head=head))).round_trip()  # type: ignore[arg-type]


@pytest.mark.parametrize("code", ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"])
def test_rule_21_what_was_lost_is_pushed_again(site: MakeSite, code: str) -> None:
    there = site(Quirks(manifests=Manifests(loses_children=1, missing_child=code)))
    there.round_trip()

    by_digest = [call.path for call in there.calls("PUT", "/manifests/sha256:")]
    assert len(by_digest) == len(set(by_digest)) + 1


@pytest.mark.parametrize("code", ["MANIFEST_BLOB_UNKNOWN", "MANIFEST_INVALID"])
def test_rule_21_entries_whose_manifest_stays_missing_are_dropped(
    site: MakeSite, code: str
) -> None:
    there = site(Quirks(manifests=Manifests(missing_child=code)))
    there.sdist()
    gone = there.document()["manifests"][0]["digest"]  # type: ignore[index]
    there.wheel()
    assert there.registry.ask("DELETE", f"{REPOSITORY}/manifests/{gone}").status_code == 202
    tagged = make_wheel(there.folder, "foo", "1.0", tag="py2-none-any")
    there.index().published(tagged, "foo", "1.0")

    assert set(there.index().filenames("foo")) == {WHEEL, tagged.name}


def test_rule_22_children_come_first_and_types_agree(site: MakeSite) -> None:
    there = site(Quirks())
    there.wheel()

    child, index = there.calls("PUT", "/manifests/")
    entry = there.document()["manifests"][0]  # type: ignore[index]
    assert child.path == f"{REPOSITORY}/manifests/{entry['digest']}"
    assert index.path == f"{REPOSITORY}/manifests/1.0"
    assert child.headers["Content-Type"] == there.document(entry["digest"])["mediaType"]
    assert index.headers["Content-Type"] == there.document()["mediaType"]


def test_rule_22_another_digest_than_was_sent_is_an_error() -> None:
    lie = Answer(201, headers={"Docker-Content-Digest": str(DIGEST)})
    with (
        closing(Transport(network=Network(), pool_size=4)) as transport,
        http_double(in_turn(lie)) as server,
        pytest.raises(RegistryError, match="another document"),
    ):
        put_manifest(_caller(transport, server.url), Tag("1.0"), b"{}", MANIFEST_TYPE)


@pytest.mark.parametrize("status", [400, 409, 412])
def test_rule_23_immutable_tags_take_one_file_each(site: MakeSite, status: int) -> None:
    there = site(Quirks(manifests=Manifests(immutable=status)))
    there.wheel()
    response = there.index().publish(make_sdist(there.folder, "foo", "1.0"), "foo", "1.0")

    assert response.status_code == 409
    assert "immutable" in response.text
    next_version = there.wheel("1.1")
    assert there.index().filenames("foo") == [next_version.name, WHEEL]


def _deletions(there: Site) -> list[str]:
    return [call.path.removeprefix(REPOSITORY) for call in there.calls("DELETE")]


@pytest.mark.parametrize(
    "deleting",
    [
        Deleting(),
        Deleting(tag=400),
        Deleting(tag=405),
        Deleting(digest=405),
        Deleting(dangling_tag=True),
        Deleting(tag=400, referenced=412, cascades=True),
        Deleting(referenced=405),
    ],
    ids=str,
)
def test_rule_24_a_version_is_deleted_tag_first_then_index_then_children(
    site: MakeSite, deleting: Deleting
) -> None:
    there = site(Quirks(deleting=deleting))
    there.sdist()
    there.wheel()
    answer = there.registry.ask("GET", f"{REPOSITORY}/manifests/1.0")
    index, entries = answer.headers["Docker-Content-Digest"], answer.get_json()["manifests"]

    assert there.index().request("DELETE", "/foo/1.0").status_code == 200
    assert there.index().filenames("foo") == []
    assert _deletions(there) == [
        "/manifests/1.0",
        f"/manifests/{index}",
        *(f"/manifests/{entry['digest']}" for entry in entries),
    ]


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize("what", [WHEEL, "1.0"])
def test_rule_24_where_nothing_is_deleted_an_empty_index_takes_the_place(
    site: MakeSite, what: str, status: int
) -> None:
    there = site(Quirks(deleting=Deleting(tag=status, digest=status)))
    there.wheel()
    response = there.index().request("DELETE", f"/foo/{what}")

    assert response.status_code == 200
    assert "keeps the bytes" in response.text
    assert there.document()["manifests"] == []
    assert there.index().filenames("foo") == []


def test_rule_24_where_the_tag_cannot_be_written_either_nothing_changes(site: MakeSite) -> None:
    quirks = Quirks(manifests=Manifests(immutable=409), deleting=Deleting(tag=405, digest=405))
    there = site(quirks)
    there.wheel()

    assert there.index().request("DELETE", "/foo/1.0").status_code == 405
    assert there.index().filenames("foo") == [WHEEL]


def test_rule_24_a_child_that_a_tag_still_names_is_left(site: MakeSite) -> None:
    there = site(Quirks(deleting=Deleting(dangling_tag=True)))
    there.sdist()
    there.wheel()
    entry = there.document()["manifests"][1]  # type: ignore[index]
    document = there.registry.ask("GET", f"{REPOSITORY}/manifests/{entry['digest']}").get_data()
    path = f"{REPOSITORY}/manifests/latest"
    assert there.registry.ask("PUT", path, document, MANIFEST_TYPE).status_code == 201

    response = there.index().request("DELETE", f"/foo/{WHEEL}")
    assert response.status_code == 200, response.text
    assert there.index().filenames("foo") == [SDIST]


def test_rule_25_a_rate_limit_that_ends_soon_is_waited_out(site: MakeSite) -> None:
    site(Quirks(throttled=2)).round_trip()


def test_rule_25_a_long_wait_is_left_to_the_client(site: MakeSite) -> None:
    for retry_after in ("120", formatdate(time.time() + 3600, usegmt=True)):
        there = site(Quirks(throttled=1, retry_after=retry_after))
        response = there.index().get("/foo/")

        assert response.status_code == 429
        assert response.headers["Retry-After"] == retry_after
        assert len(there.calls()) == 1


def test_rule_25_an_upload_that_failed_once_is_started_again(site: MakeSite) -> None:
    there = site(Quirks(blobs=Blobs(failing=1)))
    there.round_trip()

    paths = [call.path for call in there.calls("PUT", "/blobs/uploads/")]
    assert len(paths) == len(set(paths))


@pytest.mark.parametrize("failing", ["written", "not written"])
def test_rule_25_after_a_lost_answer_to_a_tag_it_is_read_again(
    site: MakeSite, failing: str
) -> None:
    there = site(Quirks(manifests=Manifests(failing=failing)))  # type: ignore[arg-type]
    there.wheel()

    assert there.index().filenames("foo") == [WHEEL]
    assert len(there.calls("PUT", "/manifests/1.0")) == (1 if failing == "written" else 2)


@pytest.mark.parametrize(
    "path", ["team/../foo/", "team/%2e%2e/foo/", "team/.%2E/foo/foo-1.0.tar.gz", "te%0Aam/foo/"]
)
def test_rule_26_no_url_is_built_of_what_is_no_name(site: MakeSite, path: str) -> None:
    there = site(Quirks())
    target = f"/{address(there.registry.url)}/{path}"
    netloc = urlsplit(there.app).netloc
    # requests would normalise the path before it sends it.
    with closing(http.client.HTTPConnection(netloc, timeout=PATIENCE)) as connection:
        connection.request("GET", target)
        assert connection.getresponse().status in {400, 404}
    assert there.calls() == []


@pytest.mark.parametrize("name", ["a/../b", "..", "a//b", "A/b", "a/%2e%2e", "a b", "a/", ""])
def test_rule_26_names_of_repositories_follow_the_specification(name: str) -> None:
    with pytest.raises(InvalidRequestError):
        Repository(Registry("https", "registry.example"), name)


@pytest.mark.parametrize("tag", ["../x", "a/b", "a b", "", ".a", "a" * 129, "%2e%2e"])
def test_rule_26_tags_follow_the_specification(tag: str) -> None:
    with pytest.raises(InvalidRequestError):
        Tag(tag)


@pytest.mark.parametrize("missing", [401, 404])
def test_a_project_is_published_where_missing_ones_are_denied(site: MakeSite, missing: int) -> None:
    site(Quirks(replace(BEARER, missing=missing))).round_trip()


def test_a_project_is_published_where_missing_tags_are_forbidden(site: MakeSite) -> None:
    there = site(Quirks(BEARER, manifests=Manifests(missing_tag=403)))
    there.round_trip()

    assert there.index().get("/foo/foo-9.0.tar.gz").status_code == 403


def test_a_registry_where_repositories_are_made_by_hand_says_so(site: MakeSite) -> None:
    there = site(Quirks(blobs=Blobs(premade=True)))
    wheel = make_wheel(there.folder, "foo", "1.0")
    response = there.index().publish(wheel, "foo", "1.0")

    assert response.status_code == 404
    assert "make the repository there first" in response.text
    there.registry.made.add("team/foo")
    there.round_trip()


def test_tokens_of_one_user_never_serve_another(site: MakeSite) -> None:
    there = site(Quirks(BEARER))
    there.wheel()

    for _ in range(3):
        assert there.index(OWNER).get("/foo/").status_code == 200
        assert there.index(("stranger", "stranger-password")).get("/foo/").status_code == 401
        assert there.index(None).get("/foo/").status_code == 401
