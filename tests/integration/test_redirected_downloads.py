"""`PYOCI_DOWNLOADS=redirect`: clients fetch the bytes from the registry's storage."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from werkzeug.wrappers import Request, Response

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.integration.oci_client import OCIClient, push_original
from tests.integration.registry_doubles import BlobMeter, serving
from tests.packages import make_wheel
from tests.quirks.registry import quirky_registry
from tests.quirks.site import WHEEL, MakeSite, Site
from tests.quirks.switches import Auth, Blobs, Quirks
from tests.quirks.tokens import OWNER

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

BEARER = Auth(scheme="bearer")
REDIRECT = {"PYOCI_DOWNLOADS": "redirect"}


@pytest.fixture
def site(app_server: AppServer, http: requests.Session, tmp_path: Path) -> Iterator[MakeSite]:
    with ExitStack() as running:

        def make(quirks: Quirks) -> Site:
            registry = running.enter_context(quirky_registry(tmp_path / "registry", quirks))
            return Site(registry, app_server(REDIRECT), http, tmp_path)

        yield make


def test_the_client_is_sent_to_the_storage_and_gets_the_file_there(site: MakeSite) -> None:
    there = site(Quirks(BEARER, blobs=Blobs(redirect=307)))
    wheel = there.wheel()

    answer = there.index().get(f"/foo/{WHEEL}")

    assert answer.status_code == 307
    assert answer.headers["Cache-Control"] == "no-store"
    location = answer.headers["Location"]
    assert location.startswith(there.registry.store_url)
    assert not any(token in location for token in there.registry.tokens.grants)
    assert there.registry.stored == []  # the server itself fetched nothing
    assert there.session.get(location).content == wheel.read_bytes()


def test_a_part_is_redirected_and_304_and_head_are_answered_here(site: MakeSite) -> None:
    there = site(Quirks(BEARER, blobs=Blobs(redirect=307)))
    wheel = there.wheel()
    index = there.index()

    head = index.request("HEAD", f"/foo/{WHEEL}")
    part = index.get(f"/foo/{WHEEL}", headers={"Range": "bytes=10-19"})
    known = index.get(f"/foo/{WHEEL}", headers={"If-None-Match": head.headers["ETag"]})

    assert (head.status_code, head.headers["Content-Length"]) == (200, str(wheel.stat().st_size))
    assert (part.status_code, known.status_code) == (307, 304)


def test_a_registry_that_does_not_redirect_sends_the_file_through(site: MakeSite) -> None:
    there = site(Quirks(BEARER))
    wheel = there.wheel()

    whole = there.index().get(f"/foo/{WHEEL}")
    part = there.index().get(f"/foo/{WHEEL}", headers={"Range": "bytes=10-19"})

    assert (whole.status_code, whole.content) == (200, wheel.read_bytes())
    assert (part.status_code, part.content) == (206, wheel.read_bytes()[10:20])


def test_without_the_right_to_read_there_is_no_redirect(site: MakeSite) -> None:
    there = site(Quirks(BEARER, blobs=Blobs(redirect=307)))
    there.wheel()

    assert there.index(None).get(f"/foo/{WHEEL}").status_code == 401


@pytest.mark.parametrize("secret", ["YW55OnNlY3JldA==", "YW55OnNlY3JldA%3D%3D"])
def test_an_address_with_the_callers_credentials_in_it_is_not_handed_on(
    app_server: AppServer, http: requests.Session, tmp_path: Path, secret: str
) -> None:
    registry = create_registry(tmp_path / "registry")
    wheel = make_wheel(tmp_path, "foo", "1.0")

    with wsgi_server(Response(wheel.read_bytes())) as elsewhere:

        def leading_there(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
            request = Request(environ)
            if request.authorization is None:
                return Response(status=401, headers={"WWW-Authenticate": "Basic"})(environ, start)
            if request.method == "GET" and "/blobs/" in request.path:
                location = {"Location": f"{elsewhere}/x?auth={secret}"}
                return Response(status=307, headers=location)(environ, start)
            return registry(environ, start)

        with wsgi_server(leading_there) as there:
            base = f"{app_server(REDIRECT)}/{address(there)}/team"
            index = IndexClient(base, ("any", "secret"), http)
            index.published(wheel, "foo", "1.0")
            got = index.get(f"/foo/{wheel.name}")

    assert (got.status_code, got.content) == (200, wheel.read_bytes())


def test_an_address_of_the_registry_itself_is_followed_here(site: MakeSite) -> None:
    there = site(Quirks(BEARER, blobs=Blobs(redirect=307)))
    wheel = there.wheel()
    there.registry.store_url = there.registry.url

    answer = there.index(OWNER).get(f"/foo/{WHEEL}")

    # It redirects to itself for ever, which is the registry's fault only.
    assert answer.status_code == 502
    assert wheel.exists()


@pytest.mark.parametrize("sized", [True, False], ids=["size-known", "size-unknown"])
def test_a_part_that_is_not_redirected_takes_no_call_for_the_whole(
    app_server: AppServer, http: requests.Session, tmp_path: Path, *, sized: bool
) -> None:
    meter = BlobMeter(create_registry(tmp_path / "registry"))
    with serving(meter) as registry:
        index = IndexClient(f"{app_server(REDIRECT)}/{registry.address}/team", None, http)
        content = make_wheel(tmp_path, "foo", "1.0", size=9000)
        if sized:
            index.published(content, "foo", "1.0")
        else:
            oci = OCIClient(registry, "team/foo", http)
            push_original(oci, "1.0", {"py3-none-any.whl": content.read_bytes()})
        meter.fetches.clear()

        part = index.get(f"/foo/{WHEEL}", headers={"Range": "bytes=10-19"})
        beyond = index.get(f"/foo/{WHEEL}", headers={"Range": "bytes=-0"})

    assert (part.status_code, part.content) == (206, content.read_bytes()[10:20])
    assert beyond.status_code == 416
    if sized:
        assert [(fetch.method, fetch.size) for fetch in meter.fetches] == [("GET", 10)]


def test_who_is_redirected_does_not_wait_for_a_call_that_asks_for_the_size(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    meter = BlobMeter(create_registry(tmp_path / "registry"))
    storage = "https://storage.example.com/"

    def redirecting(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        answer = Response.from_app(meter, environ, buffered=True)
        if environ["REQUEST_METHOD"] == "GET" and "/blobs/sha256:" in environ["PATH_INFO"]:
            answer = Response(status=307, headers={"Location": storage})
        return answer(environ, start)

    with serving(redirecting) as registry:
        index = IndexClient(f"{app_server(REDIRECT)}/{registry.address}/team", None, http)
        content = make_wheel(tmp_path, "foo", "1.0").read_bytes()
        push_original(OCIClient(registry, "team/foo", http), "1.0", {"py3-none-any.whl": content})
        meter.fetches.clear()

        part = index.get(f"/foo/{WHEEL}", headers={"Range": "bytes=-10"})

    assert (part.status_code, part.headers["Location"]) == (307, storage)
    assert [fetch.method for fetch in meter.fetches] == ["GET"]
