"""The pages for registries that deny, fail or contain strange or hostile content."""

import io
import re
import tarfile
from collections.abc import Iterable
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.described import make_described_wheel
from tests.doubles import wsgi_server
from tests.integration.index_client import IndexClient, address, links
from tests.integration.oci_client import OCIClient, push_original
from tests.integration.registry_doubles import ALICE, BOB, Members, Refusing
from tests.packages import make_wheel
from tests.pages import BROWSER, shown, text_of
from tests.registries import RunningRegistry, write_htpasswd
from tests.version_documents import Documents, file_entry, image_index, other_entry

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

FIELDS = (("Summary", "Says hello"), ("Description-Content-Type", "text/markdown"))
LABEL = ("classifiers", "PyOCI :: Label :: team :: payments")
JSON_TYPE = "application/vnd.pypi.simple.v1+json"
HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture
def storage_app(app_server: AppServer, tmp_path: Path, http: requests.Session) -> IndexClient:
    """A server with an index of its own; its root."""
    http.headers.update(BROWSER)
    return IndexClient(app_server({"PYOCI_STORAGE": str(tmp_path / "storage")}), None, http)


@pytest.fixture
def simple(storage_app: IndexClient) -> IndexClient:
    return IndexClient(f"{storage_app.base}/simple", None, storage_app.session)


def test_words_of_a_package_stay_words(
    storage_app: IndexClient, simple: IndexClient, tmp_path: Path
) -> None:
    fields = [
        *(("Summary", HOSTILE), ("Author", HOSTILE), ("License", HOSTILE), ("Keywords", HOSTILE)),
        *(("Project-URL", f"{HOSTILE}, https://x.example/{HOSTILE}"), ("Provides-Extra", HOSTILE)),
        ("Project-URL", "script, javascript:alert(1)"),
        ("Description-Content-Type", HOSTILE),
    ]
    wheel = make_described_wheel(tmp_path, "evil", "1.0", *fields, description=HOSTILE)
    label = ("classifiers", f"PyOCI :: Label :: {HOSTILE} :: {HOSTILE}")
    url = ("project_urls", f"{HOSTILE}, https://x.example/{HOSTILE}")
    simple.published(wheel, "evil", "1.0", label, url)
    assert simple.request("PATCH", "/evil/1.0", json={"yanked": HOSTILE}).ok

    page = shown(storage_app.get("/ui/simple/evil/"))

    assert text_of(page).count("<script>alert(1)</script>") > 8
    assert "<script>alert" not in page
    assert not [link for link in links(page) if link.href.lower().startswith("javascript")]


def test_requirements_that_are_none_stay_words(
    storage_app: IndexClient, http: requests.Session, tmp_path: Path
) -> None:
    """No upload creates them, but a registry may contain them."""
    fields = [("Requires-Dist", HOSTILE), ("Requires-Dist", f"a; extra == '{HOSTILE}'")]
    wheel = make_described_wheel(tmp_path, "evil", "1.0", *fields)
    with wsgi_server(create_registry(tmp_path / "storage")) as url:
        running = RunningRegistry(url, "", None, None, True, "double")
        files = {"py3-none-any.whl": wheel.read_bytes()}
        push_original(OCIClient(running, "python/evil", http), "1.0", files)

    page = shown(storage_app.get("/ui/simple/evil/"))

    assert text_of(page).count("<script>alert(1)</script>") > 1
    assert "<script>alert" not in page


def test_package_without_core_metadata_is_shown_by_its_files(
    storage_app: IndexClient, simple: IndexClient, tmp_path: Path
) -> None:
    sdist = tmp_path / "hello-1.0.tar.gz"
    with tarfile.open(sdist, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("hello-1.0/README"), io.BytesIO())
    simple.published(sdist, "hello", "1.0")

    page = shown(storage_app.get("/ui/simple/hello/"))
    files = shown(storage_app.get("/ui/simple/hello/1.0/files/"))

    assert "No core metadata is stored" in page
    assert 'href="1.0/files/"' in page
    assert sdist.name in files


def test_project_whose_versions_are_gone_says_so(
    storage_app: IndexClient, simple: IndexClient, tmp_path: Path
) -> None:
    simple.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")
    assert simple.request("DELETE", "/hello/1.0").ok

    page = shown(storage_app.get("/ui/simple/hello/"))

    assert "no files" in page


def test_package_that_the_original_stored_is_shown_with_its_metadata(
    storage_app: IndexClient, http: requests.Session, tmp_path: Path
) -> None:
    wheel = make_described_wheel(tmp_path, "hello", "1.0", *FIELDS, description="# Greetings")
    with wsgi_server(create_registry(tmp_path / "storage")) as url:
        running = RunningRegistry(url, "", None, None, True, "double")
        files = {"py3-none-any.whl": wheel.read_bytes()}
        push_original(OCIClient(running, "python/hello", http), "1.0", files)

    page = shown(storage_app.get("/ui/simple/hello/"))

    assert "Greetings</h3>" in page
    assert "Says hello" in page


@pytest.mark.parametrize(
    "path", ["{}%2F{}%2Fhello%2F", "ui%2F{}/{}/hello/", "{}%2f{}/", "ui/{}/{}%2Fx/"]
)
def test_no_address_asks_for_a_password_that_a_browser_would_send_to_other_registries(
    shared_app: str, docker_htpasswd: RunningRegistry, http: requests.Session, path: str
) -> None:
    """Browsers send it to everything below the folder of the path, as they see the path."""
    for registry in (docker_htpasswd.netloc, docker_htpasswd.address):
        target = f"{shared_app}/{path.format(registry, 'browse')}"
        answer = http.get(target, headers=BROWSER, allow_redirects=False)
        assert answer.status_code == 400
        assert "WWW-Authenticate" not in answer.headers


def test_the_embedded_registry_asks_for_a_password_below_its_own_folder_only(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    write_htpasswd(tmp_path / "users", [("alice", "wonderland")])
    settings = {
        "PYOCI_STORAGE": str(tmp_path / "storage"),
        "PYOCI_STORAGE_USERS": str(tmp_path / "users"),
    }
    root = app_server(settings)
    assert http.get(f"{root}/v2/").status_code == 401
    for path in ("v2", "v2%2F", "v2%2Fa%2Ftags%2Flist", "v2%2fa/v2/tags/list"):
        answer = http.get(f"{root}/{path}", headers=BROWSER)
        assert answer.status_code == 404
        assert "WWW-Authenticate" not in answer.headers


def test_credentials_are_asked_for_and_each_registry_is_a_realm_of_its_own(
    shared_app: str, docker_htpasswd: RunningRegistry, http: requests.Session, tmp_path: Path
) -> None:
    base = f"{docker_htpasswd.address}/browse"
    index = IndexClient(f"{shared_app}/{base}", docker_htpasswd.auth, http)
    index.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")
    http.headers.update(BROWSER)

    for path in ("/", "/hello/", "/hello/1.0/", "/missing/"):
        stranger = http.get(f"{shared_app}/ui/{base}{path}")
        assert stranger.status_code == 401
        realm = f'Basic realm="PyOCI {docker_htpasswd.url}", charset="UTF-8"'
        assert stranger.headers["WWW-Authenticate"] == realm
        assert stranger.headers["Content-Type"].startswith("text/html")
        wrong = http.get(f"{shared_app}/ui/{base}{path}", auth=("alice", "wrong"))
        assert wrong.status_code == 401
    page = shown(http.get(f"{shared_app}/ui/{base}/hello/", auth=docker_htpasswd.auth))
    assert 'export UV_INDEX_PRIVATE_PASSWORD="$REGISTRY_TOKEN"' in unescape(page)
    assert (docker_htpasswd.password or "-") not in page


def test_who_may_not_list_projects_is_asked_for_a_name(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    http.headers.update(BROWSER)
    with wsgi_server(Members(create_registry(tmp_path / "registry"))) as url:
        root = f"{app_server()}/ui/{address(url)}/team/"
        denied, stranger = http.get(root, auth=BOB), http.get(root)
        seen = http.get(root, auth=ALICE)

    assert (denied.status_code, stranger.status_code, seen.status_code) == (403, 401, 200)
    for page in (denied, stranger):
        assert 'name="project"' in page.text
        assert "cannot be listed" in page.text
    assert "WWW-Authenticate" not in denied.headers
    assert "WWW-Authenticate" in stranger.headers


@pytest.mark.parametrize("what", ["/blobs/", "/manifests/sha256:"])
def test_page_is_shown_without_what_the_registry_fails_at(
    app_server: AppServer, http: requests.Session, tmp_path: Path, what: str
) -> None:
    http.headers.update(BROWSER)
    registry = create_registry(tmp_path / "registry")
    wheel = make_described_wheel(tmp_path, "hello", "1.0", *FIELDS, description="# Greetings")
    root = app_server()
    with wsgi_server(registry) as url:
        index = IndexClient(f"{root}/{address(url)}/team", None, http)
        index.published(wheel, "hello", "1.0", LABEL)
    failing = Refusing(registry, lambda asked: asked.method == "GET" and what in asked.path, 500)
    with wsgi_server(failing) as url:
        page = shown(http.get(f"{root}/ui/{address(url)}/team/hello/"))
        files = shown(http.get(f"{root}/ui/{address(url)}/team/hello/1.0/files/"))

    assert wheel.name in files
    assert ("Greetings" in page) is (what != "/blobs/")
    assert ("payments" in page) is (what == "/blobs/")


def test_page_costs_the_registry_few_calls(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    asked: list[str] = []
    registry = create_registry(tmp_path / "registry")

    def counted(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        asked.append(environ["PATH_INFO"])
        return registry(environ, start)

    with wsgi_server(counted) as url:
        root = app_server()
        index = IndexClient(f"{root}/{address(url)}/team", None, http)
        for tag in [f"cp3{minor}-none-any" for minor in range(12)]:
            index.published(make_wheel(tmp_path, "hello", "1.0", tag=tag), "hello", "1.0")
        asked.clear()
        shown(http.get(f"{root}/ui/{address(url)}/team/hello/"))

    kinds = [re.sub(r"sha256:.*", "digest", path.rpartition("hello/")[2]) for path in asked]
    assert sorted(kinds) == [
        "blobs/digest",
        *(["manifests/1.0"] + ["manifests/digest"] * 8),
        "tags/list",
    ]


def test_version_that_is_too_large_is_missing_with_a_note(
    app_server: AppServer, http: requests.Session
) -> None:
    large = image_index(other_entry(1) for _ in range(10_001))
    with wsgi_server(Documents({"1.0": image_index([file_entry(1)]), "2.0": large})) as url:
        base = f"http%3A%2F%2F{url.removeprefix('http://')}/acme/hello"
        server = app_server({})
        page = text_of(shown(http.get(f"{server}/ui/{base}/", headers=BROWSER)))
        listed = http.get(f"{server}/{base}/", headers={"Accept": JSON_TYPE}).json()
        every = http.get(f"{server}/{base}/json").json()

    assert "The files of 1 version are missing here" in page
    assert "than this server reads: 2.0" in " ".join(page.split())
    assert [file["filename"] for file in listed["files"]] == ["hello-1.0-py3-none-a1.whl"]
    assert every["releases"].keys() == {"2.0", "1.0"}
    assert every["releases"]["2.0"] == []
