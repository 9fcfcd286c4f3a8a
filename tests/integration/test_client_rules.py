"""The rules of the registry client, one to sixteen: how it authenticates and reads.

Each test is named after its rule. `test_client_rules_writing.py` has the others.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from pyoci_flask.errors import RegistryError, TransferBrokenError
from pyoci_flask.oci.blobs import open_blob
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.manifests import get_manifest
from pyoci_flask.oci.reference import Digest, Registry, Repository
from pyoci_flask.oci.tags import list_tags
from pyoci_flask.transport.auth import Authenticator
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.request import BasicCredentials
from pyoci_flask.transport.session import Transport
from tests.conftest import AppServer
from tests.integration.oci_client import OCIClient, push_original
from tests.quirks.registry import quirky_registry
from tests.quirks.site import REPOSITORY, WHEEL, MakeSite, Site
from tests.quirks.switches import Auth, Blobs, Deleting, Manifests, Paging, Quirks
from tests.quirks.tokens import OWNER, READER, STRANGER
from tests.registries import RunningRegistry
from tests.unit.doubles import Answer, Handler, http_double, in_turn

BEARER = Auth(scheme="bearer")
CONTENT = b"0123456789" * 1000
DIGEST = Digest.of(CONTENT)


@pytest.fixture
def site(app_server: AppServer, http: requests.Session, tmp_path: Path) -> Iterator[MakeSite]:
    """Make the application and a registry with given quirks."""
    with ExitStack() as running:

        def make(quirks: Quirks) -> Site:
            registry = running.enter_context(quirky_registry(tmp_path / "registry", quirks))
            return Site(registry, app_server(), http, tmp_path)

        yield make


@pytest.fixture
def transport() -> Iterator[Transport]:
    """Make the client's transport without an application."""
    made = Transport(network=Network(), pool_size=4)
    yield made
    made.close()


def _caller(transport: Transport, url: str, authenticator: Authenticator) -> RepositoryCaller:
    registry = Registry.parse(url)
    assert registry is not None
    return RepositoryCaller(
        transport, authenticator, Repository(registry, "team/foo"), BasicCredentials(*OWNER)
    )


def _reader(transport: Transport, url: str) -> RepositoryCaller:
    return _caller(transport, url, Authenticator(transport))


@pytest.mark.parametrize(
    "auth",
    [
        replace(BEARER, quoted=False),
        replace(BEARER, bearer="bEARER"),
        replace(BEARER, service=None),
        replace(BEARER, scope="none"),
        replace(BEARER, realm="relative"),
        replace(BEARER, realm="elsewhere"),
        replace(BEARER, second="same header"),
        replace(BEARER, second="own header"),
        Auth(scheme="basic", basic="Basic"),
        Auth(scheme="basic", basic="bASIC realm=unquoted"),
    ],
    ids=str,
)
def test_rule_01_challenges_are_understood_in_every_form(site: MakeSite, auth: Auth) -> None:
    site(Quirks(auth)).round_trip()


def test_rule_02_a_basic_challenge_is_answered_with_basic_at_the_registry(site: MakeSite) -> None:
    there = site(Quirks(Auth(scheme="basic")))
    there.round_trip()

    assert there.registry.tokens.asked == []
    assert "Authorization" not in there.calls()[0].headers
    kinds = {call.headers["Authorization"].partition(" ")[0] for call in there.calls()[1:]}
    assert kinds == {"Basic"}


@pytest.mark.parametrize("second", ["same header", "own header"])
def test_rule_02_bearer_is_preferred_where_both_are_offered(site: MakeSite, second: str) -> None:
    there = site(Quirks(replace(BEARER, second=second)))  # type: ignore[arg-type]
    there.round_trip()

    sent = [call.headers.get("Authorization", "") for call in there.calls()]
    assert not [header for header in sent if header.startswith("Basic")]


def test_rule_02_basic_for_an_expired_token_leads_to_a_new_token(site: MakeSite) -> None:
    there = site(Quirks(replace(BEARER, basic_when_denied=True)))
    there.wheel()
    there.registry.tokens.grants.clear()

    assert there.index().filenames("foo") == [WHEEL]


def test_rule_03_a_token_is_asked_for_with_get_and_the_realms_own_query(site: MakeSite) -> None:
    auth = replace(BEARER, realm_query="client=docker&x=a%2Bb", scope="two")
    there = site(Quirks(auth))
    there.wheel()

    asked = there.registry.tokens.asked[0]
    assert asked.method == "GET"
    assert asked.authorization
    assert asked.authorization.type == "basic"
    assert asked.args.to_dict(flat=False) == {
        "client": ["docker"],
        "x": ["a+b"],
        "service": ["registry.test"],
        "scope": ["repository:team/foo:pull", "registry:ping:pull"],
    }


@pytest.mark.parametrize("member", ["token", "access_token"])
def test_rule_04_a_token_may_have_either_name(site: MakeSite, member: str) -> None:
    site(Quirks(replace(BEARER, members=(member,)))).round_trip()


@pytest.mark.parametrize(("told", "life"), [(None, 55), (1, 55), (300, 295)])
def test_rule_04_a_token_is_renewed_five_seconds_early_and_lives_a_minute_at_least(
    transport: Transport, tmp_path: Path, told: int | None, life: int
) -> None:
    now = [1000.0]
    quirks = Quirks(replace(BEARER, expires_in=told))
    with quirky_registry(tmp_path / "registry", quirks) as registry:
        caller = _caller(transport, registry.url, Authenticator(transport, lambda: now[0]))
        list_tags(caller)
        now[0] += life - 1
        list_tags(caller)
        assert len(registry.tokens.asked) == 1
        now[0] += 2
        list_tags(caller)
        assert len(registry.tokens.asked) == 2


def test_rule_05_an_opaque_scope_is_asked_for_as_it_stands(site: MakeSite) -> None:
    there = site(Quirks(replace(BEARER, scope="opaque")))
    there.round_trip()

    assert {one.args["scope"] for one in there.registry.tokens.asked} == {"aws"}


@pytest.mark.parametrize("refuses", [True, False])
def test_rule_05_the_own_scope_is_tried_after_the_challenges(site: MakeSite, refuses: bool) -> None:
    scope = "level" if refuses else "none"
    there = site(Quirks(replace(BEARER, scope=scope, refuses_challenge_scope=refuses)))  # type: ignore[arg-type]
    there.wheel()

    scopes = [one.args.get("scope") for one in there.registry.tokens.asked]
    assert scopes[:2] == ["read" if refuses else None, "repository:team/foo:pull,push"]


def test_rule_05_delete_is_asked_for_in_the_registrys_words_alone(site: MakeSite) -> None:
    plain = site(Quirks(replace(BEARER, knows_delete=False)))
    plain.wheel()
    assert plain.index().request("DELETE", "/foo/1.0").status_code == 200
    scopes = [one.args["scope"] for one in plain.registry.tokens.asked]
    assert not [scope for scope in scopes if "delete" in scope]


def test_rule_05_a_scope_for_deletion_is_asked_for_where_it_is_named(site: MakeSite) -> None:
    there = site(Quirks(replace(BEARER, delete_scope=True)))
    there.wheel()

    assert there.index().request("DELETE", "/foo/1.0").status_code == 200
    assert there.index().filenames("foo") == []
    assert "repository:team/foo:delete" in [x.args["scope"] for x in there.registry.tokens.asked]


def test_rule_06_a_second_401_is_final(site: MakeSite) -> None:
    there = site(Quirks(BEARER))
    response = there.index(STRANGER).get("/foo/")

    assert response.status_code == 401
    assert len(there.calls()) == 2
    assert len(there.registry.tokens.asked) == 1


def test_rule_06_a_401_without_a_usable_challenge_is_a_denial(site: MakeSite) -> None:
    there = site(Quirks(replace(BEARER, mute=True)))

    assert there.index().get("/foo/").status_code == 401
    assert there.registry.tokens.asked == []


@pytest.mark.parametrize(
    ("user", "status"), [(STRANGER, 403), (("owner", "wrong"), 401), (None, 401)]
)
def test_rule_07_the_token_services_refusal_is_passed_on(
    site: MakeSite, user: tuple[str, str] | None, status: int
) -> None:
    there = site(Quirks(replace(BEARER, nothing_granted=403)))
    there.wheel()

    assert there.index(user).get("/foo/").status_code == status


def test_rule_07_a_token_with_fewer_actions_is_no_error(site: MakeSite) -> None:
    there = site(Quirks(replace(BEARER, scope="opaque")))
    there.wheel()

    # The scope stands for all actions, of which a reader gets one.
    assert there.index(READER).filenames("foo") == [WHEEL]


def test_rule_08_without_credentials_an_anonymous_token_is_tried(site: MakeSite) -> None:
    there = site(Quirks(replace(BEARER, public=True)))
    wheel = there.wheel()
    there.registry.tokens.asked.clear()

    assert there.index(None).filenames("foo") == [WHEEL]
    assert there.index(None).get(f"/foo/{WHEEL}").content == wheel.read_bytes()
    assert [one.authorization for one in there.registry.tokens.asked] == [None]


def test_rule_09_manifests_are_asked_for_by_type_and_tags_are_not(site: MakeSite) -> None:
    quirks = Quirks(
        paging=Paging(refuses_manifest_accept=True), manifests=Manifests(accept_required=True)
    )
    there = site(quirks)
    there.round_trip()

    for call in there.calls("GET", "/manifests/") + there.calls("HEAD", "/manifests/"):
        assert "application/vnd.oci.image.index.v1+json" in call.headers["Accept"]
        assert "application/vnd.oci.image.manifest.v1+json" in call.headers["Accept"]
    assert {"Accept" in call.headers for call in there.calls("GET", "/tags/list")} == {False}


def test_rule_10_parameters_of_a_type_and_a_missing_digest_do_not_matter(site: MakeSite) -> None:
    site(Quirks(manifests=Manifests(type_parameter=True), digest_header=False)).round_trip()


def test_rule_10_the_bytes_of_a_manifest_are_hashed_and_no_header_is_believed(
    transport: Transport,
) -> None:
    lie = Answer(body=b"{}", headers={"Docker-Content-Digest": str(DIGEST)})
    refused = pytest.raises(RegistryError, match="content that does not match")
    with http_double(in_turn(lie)) as server, refused:
        get_manifest(_reader(transport, server.url), DIGEST)


@pytest.mark.parametrize(
    "path", ["/nothing/", "/foo/foo-9.0.tar.gz", "/nothing/nothing-1.0.tar.gz"]
)
@pytest.mark.parametrize("html", [True, False])
def test_rule_11_a_404_is_missing_whatever_its_body(site: MakeSite, path: str, html: bool) -> None:
    there = site(Quirks(html_errors=html))
    there.wheel()

    response = there.index().get(path)
    assert response.status_code == 404
    assert "That" not in response.text


def test_rule_12_tags_are_sorted_here_and_what_is_no_tag_is_dropped(site: MakeSite) -> None:
    there = site(Quirks(paging=Paging(order="unsorted", digests=True)))
    for version in ("1.9", "1.10", "1.2"):
        there.wheel(version)

    versions = [name.split("-")[1] for name in there.index().filenames("foo")]
    assert versions == ["1.10", "1.9", "1.2"]


def test_rule_12_null_is_an_empty_list(site: MakeSite) -> None:
    there = site(Quirks(paging=Paging(emptied="null")))
    there.wheel()
    assert there.index().request("DELETE", "/foo/1.0").status_code == 200

    assert there.index().filenames("foo") == []


@pytest.mark.parametrize("paging", [Paging(most=1), Paging(ignores_n=True), Paging(link="none")])
def test_rule_12_no_number_of_tags_is_asked_for(site: MakeSite, paging: Paging) -> None:
    there = site(Quirks(paging=paging))
    files = [there.wheel(version).name for version in ("1.2", "1.1", "1.0")]

    assert there.index().filenames("foo") == files
    assert {call.query_string for call in there.calls("GET", "/tags/list")} == {b""}


@pytest.mark.parametrize("link", ["relative", "absolute", "other path"])
def test_rule_13_pages_are_followed_on_the_own_path(site: MakeSite, link: str) -> None:
    there = site(Quirks(paging=Paging(size=1, link=link)))  # type: ignore[arg-type]
    files = [there.wheel(version).name for version in ("1.2", "1.1", "1.0")]

    asked = len(there.calls("GET", "/tags/list"))

    assert there.index().filenames("foo") == files
    assert [call.path for call in there.calls("GET", "/tags/list")][asked:] == [
        f"{REPOSITORY}/tags/list"
    ] * 3


def test_rule_13_a_page_that_repeats_ends_the_list(transport: Transport) -> None:
    page = Answer(body=b'{"tags": ["1.0"]}', headers={"Link": '<?last=1.0>; rel="next"'})
    with http_double(in_turn(page)) as server:
        assert list_tags(_reader(transport, server.url)) == ["1.0"]
        assert len(server.received) == 2


def test_rule_14_a_head_that_is_not_allowed_becomes_a_get(site: MakeSite) -> None:
    there = site(Quirks(blobs=Blobs(head="405")))
    url = there.registry.url
    registry = RunningRegistry(url, url.split("//")[1], None, None, True, "double")
    push_original(OCIClient(registry, "team/foo", there.session), "1.0", {".tar.gz": b"sdist"})

    response = there.index().request("HEAD", "/foo/foo-1.0.tar.gz")
    assert (response.status_code, response.headers["Content-Length"]) == (200, "5")


def _blob(*answers: Answer) -> Handler:
    return in_turn(*answers)


def test_rule_15_a_blob_comes_as_it_is_stored(transport: Transport) -> None:
    labelled = Answer(body=CONTENT, headers={"Content-Encoding": "gzip"})
    with http_double(_blob(labelled)) as server:
        with open_blob(_reader(transport, server.url), DIGEST) as blob:
            assert b"".join(blob.chunks()) == CONTENT
        assert server.received[0].headers["Accept-Encoding"] == "identity"


def test_rule_15_a_short_read_is_continued(transport: Transport) -> None:
    rest = Answer(206, CONTENT[4000:], {"Content-Range": f"bytes 4000-9999/{len(CONTENT)}"})
    with http_double(_blob(Answer(body=CONTENT, sent=4000), rest)) as server:
        with open_blob(_reader(transport, server.url), DIGEST) as blob:
            assert b"".join(blob.chunks()) == CONTENT
        assert server.received[1].headers["Range"] == "bytes=4000-"


@pytest.mark.parametrize(
    "rest",
    [
        Answer(200, CONTENT),
        Answer(206, CONTENT[4000:]),
        Answer(206, CONTENT[4001:], {"Content-Range": f"bytes 4001-9999/{len(CONTENT)}"}),
        Answer(206, CONTENT[4000:], {"Content-Range": "bytes 4000-9999/123456"}),
    ],
)
def test_rule_15_only_the_very_next_byte_goes_on(transport: Transport, rest: Answer) -> None:
    with (
        http_double(_blob(Answer(body=CONTENT, sent=4000), rest)) as server,
        open_blob(_reader(transport, server.url), DIGEST) as blob,
        pytest.raises(TransferBrokenError),
    ):
        list(blob.chunks())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_rule_16_reading_follows_redirects_without_the_authorization(
    site: MakeSite, status: int
) -> None:
    there = site(Quirks(BEARER, blobs=Blobs(redirect=status)))
    there.round_trip()

    assert there.registry.stored
    for call in there.registry.stored:
        assert "Authorization" not in call.headers
        assert call.query_string == b"X-Amz-Signature=a%2Bb"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_rule_16_changes_follow_no_redirect(transport: Transport, method: str) -> None:
    with http_double(in_turn(Answer(307, headers={"Location": "/elsewhere"}))) as server:
        reply = _reader(transport, server.url).call(method, "x", "push")
        reply.close()
        assert (reply.status, len(server.received)) == (307, 1)


def test_rule_16_a_deleted_blob_behind_a_redirect_is_missing(site: MakeSite) -> None:
    there = site(Quirks(blobs=Blobs(redirect=307), deleting=Deleting()))
    wheel = there.wheel()
    digest = Digest.of(wheel.read_bytes())
    assert there.registry.ask("DELETE", f"{REPOSITORY}/blobs/{digest}").status_code == 202

    assert there.index().get(f"/foo/{WHEEL}").status_code == 404
