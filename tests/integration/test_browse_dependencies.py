"""The page of a project says which dependencies are in the same index, as far as that is known."""

import re
import uuid
from pathlib import Path

import pytest
import requests

from pyoci_flask.app import create_app
from pyoci_flask.oci.reference import EMBEDDED, Registry
from pyoci_flask.settings import Settings
from pyoci_flask.web.people.snippets import wants_credentials
from pyoci_flask.web.services import services
from tests.conftest import AppServer
from tests.integration.index_client import IndexClient
from tests.packages import make_wheel
from tests.pages import BROWSER, shown, snippets_of, text_of
from tests.registries import RunningRegistry, write_htpasswd


def marks(page: str) -> dict[str, str]:
    """Return the mark of each dependency, by its requirement."""
    (part,) = re.findall(r'<ul class="plainlist">(.*?)</ul>', page, re.DOTALL)
    rows = re.findall(r"<bdi>(.*?)</bdi>.*?(?:<span class=\"tag\">(.*?)</span>)?</li>", part)
    return dict(rows)


def publish(index: IndexClient, folder: Path) -> None:
    requires = ["acme-lib", "Acme.Other>=1", "elsewhere[x]<2", "direct @ https://a.example/a.whl"]
    index.published(make_wheel(folder, "acme-lib", "1.0"), "acme-lib", "1.0")
    index.published(make_wheel(folder, "acme-other", "1.0"), "acme-other", "1.0")
    index.published(make_wheel(folder, "acme-app", "1.0", requires=requires), "acme-app", "1.0")


def page_of(
    app: str, registry: RunningRegistry, namespace: str, project: str, http: requests.Session
) -> str:
    address = f"{app}/ui/{registry.address}/{namespace}/{project}/"
    return shown(http.get(address, auth=registry.auth, headers=BROWSER))


def test_dependencies_in_an_embedded_registry_are_marked(
    shared_app: str, embedded_in_process: RunningRegistry, http: requests.Session, tmp_path: Path
) -> None:
    namespace = f"ns-{uuid.uuid4().hex[:12]}"
    publish(IndexClient(f"{shared_app}/embedded/{namespace}", None, http), tmp_path)

    page = page_of(shared_app, embedded_in_process, namespace, "acme-app", http)
    assert marks(page) == {
        "acme-lib": "here",
        "Acme.Other&gt;=1": "here",
        "elsewhere[x]&lt;2": "not here",
        "direct @ https://a.example/a.whl": "",
    }
    # One is missing, so pip could only find it in an index that is asked for the others as well.
    assert snippets_of(page)["pip-1"].startswith("pip install uv && uv pip install --index ")
    text = text_of(page)
    assert text.index("uv asks this index first") < text.index("direct @")
    assert "PYOCI_FALLBACK_INDEX" in text
    assert "pyoci-flask run" not in text


def test_of_another_registry_only_what_the_caller_has_read_is_known(
    shared_app: str, docker_htpasswd: RunningRegistry, http: requests.Session, tmp_path: Path
) -> None:
    namespace = f"ns-{uuid.uuid4().hex[:12]}"
    base = f"{shared_app}/{docker_htpasswd.address}/{namespace}"
    publish(IndexClient(base, docker_htpasswd.auth, http), tmp_path)

    page = page_of(shared_app, docker_htpasswd, namespace, "acme-app", http)
    assert set(marks(page).values()) == {""}
    page_of(shared_app, docker_htpasswd, namespace, "acme-lib", http)
    page = page_of(shared_app, docker_htpasswd, namespace, "acme-app", http)

    assert marks(page)["acme-lib"] == "here"
    assert list(marks(page).values()).count("") == 3
    assert "Under pyoci-flask run , any installer finds the packages of both indexes." in text_of(
        page
    )


def test_with_a_fallback_one_address_is_enough(
    app_server: AppServer,
    embedded_in_process: RunningRegistry,
    http: requests.Session,
    tmp_path: Path,
) -> None:
    app = app_server(
        {
            "PYOCI_STORAGE": str(embedded_in_process.storage),
            "PYOCI_FALLBACK_INDEX": "https://public.example/simple/",
        }
    )
    namespace = f"ns-{uuid.uuid4().hex[:12]}"
    publish(IndexClient(f"{app}/embedded/{namespace}", None, http), tmp_path)

    page = page_of(app, embedded_in_process, namespace, "acme-app", http)
    url = f"{app}/embedded/{namespace}/"
    assert snippets_of(page)["pip-1"] == f"pip install --index-url {url} acme-app"
    assert snippets_of(page)["uv-1"] == (f"uv pip install --default-index private={url} acme-app")
    assert "uv asks this index first" not in text_of(page)


@pytest.mark.parametrize(
    ("registry", "users", "wants"),
    [
        (Registry.parse("ghcr.io"), False, True),
        (Registry.parse("quay.io"), False, False),
        (EMBEDDED, False, False),
        (EMBEDDED, True, True),
    ],
)
def test_registries_that_are_known_to_want_credentials(
    registry: Registry, users: bool, wants: bool, tmp_path: Path
) -> None:
    settings = {"PYOCI_STORAGE": str(tmp_path / "storage")}
    if users:
        write_htpasswd(tmp_path / "users", [("alice", "s3cret")])
        settings["PYOCI_STORAGE_USERS"] = str(tmp_path / "users")
    app = create_app(Settings.from_env(settings))
    with app.app_context():
        assert wants_credentials(registry) is wants
        services().transport.close()
        services().versions.close()


def test_registry_that_asked_for_credentials_is_known_to_want_them(
    docker_htpasswd: RunningRegistry,
) -> None:
    app = create_app(Settings.from_env({}))
    with app.app_context():
        registry = Registry.parse(docker_htpasswd.url)
        assert not wants_credentials(registry)
        app.test_client().get(f"/{docker_htpasswd.address}/acme/hello/")
        assert wants_credentials(registry)
        services().transport.close()
        services().versions.close()
