"""`pyoci-flask copy` between real indexes, with their credentials, yanks and limits."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.clients import with_credentials
from tests.command_line import command
from tests.conftest import AppServer
from tests.integration.index_client import IndexClient
from tests.package_sites import SIMPLE_JSON, odd_site, pypiserver
from tests.packages import make_sdist, make_wheel
from tests.registries import RunningRegistry
from tests.servers import (
    LOOPBACK,
    RunningServer,
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Eight files of two projects in a pypiserver."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("Foo.Bar", "baz"):
        for version in ("1.0", "1.1"):
            make_wheel(folder, name, version)
            make_sdist(folder, name, version)
    with pypiserver(folder) as url:
        yield f"{url}/simple/"


def _listed(index: str, project: str, http: requests.Session) -> dict[str, dict[str, object]]:
    """Return a project's files by name, as JSON lists them; none if it does not exist."""
    page = http.get(f"{index}{project}/", headers={"Accept": SIMPLE_JSON})
    return {file["filename"]: file for file in page.json()["files"]} if page.ok else {}


def test_a_dry_run_lists_the_files_and_copies_none(
    app: RunningServer,
    docker_open: RunningRegistry,
    namespace: str,
    source: str,
    http: requests.Session,
) -> None:
    target = f"{app.url}/{docker_open.address}/{namespace}/"
    done = command("copy", "--dry-run", source, target, "foo_bar", "Foo-Bar")
    assert done.status == 0
    assert done.lines[0] == "would copy Foo.Bar-1.0-py3-none-any.whl"
    assert done.lines[-1] == "would copy 4 files, 0 already present"
    assert _listed(target, "foo-bar", http) == {}


@pytest.fixture
def pyoci(
    app: RunningServer, docker_open: RunningRegistry, namespace: str, http: requests.Session
) -> IndexClient:
    """An index of PyOCI that accepts everything."""
    return IndexClient(f"{app.url}/{docker_open.address}/{namespace}", None, http)


def test_yanks_requirements_and_metadata_come_along(
    app: RunningServer,
    docker_htpasswd: RunningRegistry,
    namespace: str,
    pyoci: IndexClient,
    tmp_path: Path,
    http: requests.Session,
) -> None:
    described = {"requires_python": ">=3.9", "requires": ["other>=1"], "summary": "Ünïcode"}
    for version in ("1.0", "1.1", "1.2"):
        pyoci.published(make_wheel(tmp_path, "foo", version, **described), "foo", version)  # type: ignore[arg-type]
    pyoci.published(make_sdist(tmp_path, "foo", "1.0"), "foo", "1.0")
    pyoci.request("PATCH", "/foo/1.0", json={"yanked": "broken on Mondays"})
    pyoci.request("PATCH", "/foo/1.1", json={"yanked": True})
    assert docker_htpasswd.auth is not None
    username, password = docker_htpasswd.auth
    target = f"{app.url}/{docker_htpasswd.address}/{namespace}/"

    done = command(
        "copy",
        f"{pyoci.base}/",
        target,
        "foo",
        stdin=f"{password}\n",
        environ={"PYOCI_TARGET_USERNAME": username, "PYOCI_TARGET_PASSWORD": password},
    )
    assert done.status == 0, done.output
    assert re.fullmatch(r"copied 4 files \(.*\), 0 already present, 3 yanked", done.lines[-1])
    http.auth = (username, password)
    there, here = _listed(target, "foo", http), _listed(f"{pyoci.base}/", "foo", http)
    told = ("hashes", "size", "yanked", "requires-python", "core-metadata")
    assert {name: [file.get(key) for key in told] for name, file in there.items()} == {
        name: [file.get(key) for key in told] for name, file in here.items()
    }
    assert there["foo-1.0.tar.gz"]["yanked"] == "broken on Mondays"

    pyoci.request("PATCH", "/foo/1.2", json={"yanked": "later"})
    again = command("copy", f"{pyoci.base}/", with_credentials(target, username, password), "foo")
    assert again.lines[-1] == "copied 0 files (0 bytes), 4 already present, 1 yanked"
    assert _listed(target, "foo", http)["foo-1.2-py3-none-any.whl"]["yanked"] == "later"


def test_a_file_of_the_same_name_with_other_bytes_is_left_alone(
    app: RunningServer,
    docker_open: RunningRegistry,
    namespace: str,
    pyoci: IndexClient,
    tmp_path: Path,
    http: requests.Session,
) -> None:
    target = IndexClient(f"{app.url}/{docker_open.address}/{namespace}-b", None, http)
    (tmp_path / "b").mkdir()
    pyoci.published(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")
    pyoci.published(make_wheel(tmp_path, "foo", "1.1"), "foo", "1.1")
    other = target.published(make_wheel(tmp_path / "b", "foo", "1.0", summary="b"), "foo", "1.0")
    done = command("copy", f"{pyoci.base}/", f"{target.base}/", "foo")
    assert done.status == 1
    assert "with other bytes; it is left as it is" in done.output
    assert done.lines[-1].startswith("copied 1 file (")
    assert done.lines[-1].endswith("0 already present, 1 failed")
    assert target.get("/foo/foo-1.0-py3-none-any.whl").content == other.read_bytes()


def test_versions_that_an_index_does_not_list_are_neither_lost_nor_copied_twice(
    app: RunningServer,
    app_server: AppServer,
    docker_open: RunningRegistry,
    namespace: str,
    pyoci: IndexClient,
    tmp_path: Path,
    http: requests.Session,
) -> None:
    few = app_server({"PYOCI_MAX_VERSIONS": "1"})
    for version in ("1.0", "1.1", "1.2"):
        pyoci.published(make_wheel(tmp_path, "foo", version), "foo", version)
    target = f"{few}/{docker_open.address}/{namespace}-b/"
    assert command("copy", f"{pyoci.base}/", target, "foo").status == 0
    assert len(_listed(target, "foo", http)) == 1
    again = command("copy", f"{pyoci.base}/", target, "foo")
    assert again.lines == ["copied 0 files (0 bytes), 3 already present"]

    hidden = f"{few}/{docker_open.address}/{namespace}/"
    third = f"{app.url}/{docker_open.address}/{namespace}-c/"
    partly = command("copy", hidden, third, "foo")
    assert partly.status == 1
    assert "lists no files of 2 of its versions (1.1, 1.0)" in partly.output
    assert "set PYOCI_MAX_VERSIONS=0 there" in partly.output
    assert len(_listed(third, "foo", http)) == 1


def test_version_without_files_is_a_note(
    app: RunningServer, docker_open: RunningRegistry, namespace: str, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "pyoci-like", "1.0")
    target = f"{app.url}/{docker_open.address}/{namespace}/"
    with odd_site() as site:
        entry = {"filename": wheel.name, "url": f"/{wheel.name}", "size": wheel.stat().st_size}
        site.show("pyoci-like", entry, versions=["0.1", "1.0", "1.0.1"])
        site.pages[f"/{wheel.name}"] = wheel.read_bytes()
        done = command("copy", f"{site.url}/simple/", target, "pyoci-like")
        again = command("copy", f"{site.url}/simple/", target, "pyoci-like")
    assert done.status == again.status == 0
    assert "has no files of 2 of its versions (0.1, 1.0.1)" in done.output
    assert "PYOCI_MAX_VERSIONS" not in done.output
    assert done.lines[-1].endswith("0 already present")
    assert again.lines[-1].endswith("1 already present")


def test_from_pyoci_to_an_index_that_takes_uploads_elsewhere_and_no_yanks(
    pyoci: IndexClient, tmp_path: Path
) -> None:
    folder = tmp_path / "taken"
    folder.mkdir()
    wheel = pyoci.published(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")
    sdist = pyoci.published(make_sdist(tmp_path, "foo", "1.0"), "foo", "1.0")
    pyoci.request("PATCH", "/foo/foo-1.0.tar.gz", json={"yanked": True})
    with pypiserver(folder) as url:
        arguments = ["copy", f"{pyoci.base}/", f"{url}/simple/", "foo"]
        refused = command(*arguments)
        done = command(*arguments, "--upload-url", f"{url}/")
        again = command(*arguments, "--upload-url", f"{url}/")
    assert refused.status == 1
    assert "answered 405" in refused.output
    assert done.status == 0, done.output
    assert "not yanked: 1 file (foo-1.0.tar.gz)" in done.output
    assert (folder / wheel.name).read_bytes() == wheel.read_bytes()
    assert (folder / sdist.name).read_bytes() == sdist.read_bytes()
    assert again.lines[-1] == "copied 0 files (0 bytes), 2 already present"


def test_what_the_target_would_have_from_another_index_is_copied_all_the_same(
    app_server: AppServer,
    docker_open: RunningRegistry,
    namespace: str,
    source: str,
    http: requests.Session,
) -> None:
    settings = {
        "PYOCI_INDEX": f"{docker_open.url}/{namespace}",
        "PYOCI_FALLBACK_INDEX": source,
        "PYOCI_FALLBACK_EXCLUDE": "acme-*",
    }
    target = f"{app_server(settings)}/simple/"
    assert http.get(f"{target}foo-bar/").url.startswith(source)
    done = command("copy", source, target, "foo-bar")
    assert done.status == 0
    assert done.lines[-1].startswith("copied 4 files (")
    led = command("copy", target, source, "baz")
    assert led.status == 1
    assert f"redirects to {source}baz/, which is outside the specified index" in led.output


def test_a_list_of_projects_is_needed_where_none_are_named(
    app: RunningServer, zuul: RunningRegistry, namespace: str, source: str
) -> None:
    assert zuul.auth is not None
    empty = with_credentials(f"{app.url}/{zuul.address}/{namespace}/+simple/", *zuul.auth)
    done = command("copy", empty, source)
    assert done.status == 1
    assert done.lines[0].endswith("name the projects to be copied")
    missing = command("copy", empty, source, "foo")
    assert missing.status == 1
    assert "has no files for this project" in missing.output
    same = command("copy", source, source)
    assert same.output == "Error: the two indexes are the same\n"


def test_wrong_credentials_stop_the_copy_and_are_not_shown(
    app: RunningServer, docker_htpasswd: RunningRegistry, namespace: str, source: str
) -> None:
    target = f"{app.url}/{docker_htpasswd.address}/{namespace}/"
    anonymous = command("copy", source, target)
    assert anonymous.status == 1
    assert "nothing was copied: " in anonymous.output
    assert "asks for credentials (401" in anonymous.output
    wrong = command(
        "copy",
        source,
        target,
        "--target-username",
        "alice",
        "--target-password-stdin",
        stdin="guessed-wrongly\n",
    )
    assert wrong.status == 1
    assert "refuses the credentials (401" in wrong.output
    assert "guessed-wrongly" not in wrong.output


def test_credentials_of_both_ends_come_line_by_line_or_from_netrc(
    app: RunningServer,
    docker_htpasswd: RunningRegistry,
    namespace: str,
    tmp_path: Path,
    http: requests.Session,
) -> None:
    base = f"{app.url}/{docker_htpasswd.address}/{namespace}"
    index = IndexClient(base, docker_htpasswd.auth, http)
    index.published(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")
    assert docker_htpasswd.auth is not None
    username, password = docker_htpasswd.auth
    both = ["--source-username", username, "--target-username", username]
    stdin = ["--source-password-stdin", "--target-password-stdin"]
    lines = f"{password}\n{password}\n"
    done = command("copy", f"{base}/", f"{base}-b/", "foo", *both, *stdin, stdin=lines)
    assert done.status == 0, done.output
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {LOOPBACK} login {username} password {password}\n")
    from_file = command("copy", f"{base}/", f"{base}-c/", "foo", environ={"NETRC": str(netrc)})
    assert from_file.status == 0, from_file.output
    assert password not in done.output + from_file.output


def test_the_list_of_projects_is_read_with_the_credentials_of_the_source(
    app: RunningServer,
    docker_htpasswd: RunningRegistry,
    namespace: str,
    tmp_path: Path,
    http: requests.Session,
) -> None:
    base = f"{app.url}/{docker_htpasswd.address}/{namespace}"
    IndexClient(base, docker_htpasswd.auth, http).published(
        make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0"
    )
    assert docker_htpasswd.auth is not None
    username, password = docker_htpasswd.auth
    environ = {"PYOCI_SOURCE_USERNAME": username, "PYOCI_SOURCE_PASSWORD": password}
    environ |= {"PYOCI_TARGET_USERNAME": username, "PYOCI_TARGET_PASSWORD": password}
    done = command("copy", f"{base}/", f"{base}-b/", environ=environ)
    assert done.status == 0, done.output
    assert "copied 1 file " in done.output
