"""How clients use what a page says about a file: its metadata, Python, time and yank."""

import io
import re
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
from pypi_simple import ACCEPT_HTML_ONLY, ACCEPT_JSON_ONLY, DistributionPackage, PyPISimple

from tests.client_tools import client_tool, run_tool
from tests.clients import installed, pip_install, run, twine_upload, uv_install
from tests.integration.oci_client import CREATED, OCIClient, push_original
from tests.packages import make_sdist, make_wheel
from tests.registries import RunningRegistry, docker_registry
from tests.relay import relay
from tests.servers import RunningServer

_LARGE = 200_000_000
_MOST_SERVED = 1_000_000

Install = Callable[..., dict[str, str]]


@pytest.fixture
def repository(
    docker_open: RunningRegistry, namespace: str, http: requests.Session
) -> Callable[[str], OCIClient]:
    """The registry's own view of a repository of the index."""
    return lambda name: OCIClient(docker_open, f"{namespace}/{name}", http)


@pytest.fixture
def short_lived(tmp_path: Path) -> Iterator[RunningRegistry]:
    """A docker-registry whose storage is removed after the test; pytest keeps its folders."""
    with docker_registry(tmp_path) as registry:
        yield registry
    shutil.rmtree(tmp_path)


@pytest.mark.acceptance
@pytest.mark.parametrize("stored", ["here", "by the original"])
def test_a_large_wheel_that_cannot_be_installed_is_not_downloaded(
    app: RunningServer,
    short_lived: RunningRegistry,
    http: requests.Session,
    tmp_path: Path,
    stored: str,
) -> None:
    small = make_wheel(tmp_path, "some-pkg", "1.0")
    large = make_wheel(tmp_path, "some-pkg", "2.0", requires=["nowhere-to-be-had"], size=_LARGE)
    if stored == "here":
        twine_upload(tmp_path, f"{app.url}/{short_lived.address}/team/", small, large)
    else:
        oci = OCIClient(short_lived, "team/some_pkg", http)
        push_original(oci, "1.0", {"py3-none-any.whl": small.read_bytes()})
        push_original(oci, "2.0", {"py3-none-any.whl": large.read_bytes()})

    for install in (pip_install, uv_install):
        with relay(int(short_lived.netloc.rpartition(":")[2])) as counted:
            index = f"{app.url}/{quote(counted.url, safe='')}/team/"
            target = tmp_path / install.__name__
            assert install(tmp_path, index, target, "some-pkg") == {"some-pkg": "1.0"}
            assert small.stat().st_size < counted.served < _MOST_SERVED


def _repacked(wheel: Path, method: int, *, twice: bool = False) -> bytes:
    """Return the wheel with METADATA compressed in another way, or contained twice."""
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(wheel) as read,
        zipfile.ZipFile(packed, "w") as archive,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        for name in read.namelist():
            if twice and name.endswith("/METADATA"):
                archive.writestr(name, b"Metadata-Version: 2.1\nName: another\nVersion: 9\n")
            archive.writestr(name, read.read(name), method)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("method", "twice"),
    [(zipfile.ZIP_BZIP2, False), (zipfile.ZIP_LZMA, False), (zipfile.ZIP_DEFLATED, True)],
    ids=["bzip2", "lzma", "twice"],
)
def test_pip_installs_what_the_original_stored_however_its_metadata_is_packed(
    open_index: str,
    repository: Callable[[str], OCIClient],
    tmp_path: Path,
    method: int,
    *,
    twice: bool,
) -> None:
    wheel = _repacked(make_wheel(tmp_path, "some-pkg", "1.0"), method, twice=twice)
    push_original(repository("some_pkg"), "1.0", {"py3-none-any.whl": wheel})

    assert pip_install(tmp_path, open_index, tmp_path / "it", "some-pkg") == {"some-pkg": "1.0"}


@pytest.mark.acceptance
def test_a_pip_that_knows_no_digest_of_metadata_takes_a_wheel(
    open_index: str, tmp_path: Path
) -> None:
    twine_upload(tmp_path, open_index, make_wheel(tmp_path, "some-pkg", "1.0"))
    options = ["--no-cache-dir", "--disable-pip-version-check", "--dest", "got"]
    pip = client_tool("pip-23.0", "pip")
    said = run_tool(pip, tmp_path, "download", *options, "--index-url", open_index, "some-pkg")
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["some_pkg-1.0-py3-none-any.whl"]
    assert "Error" not in said


def test_the_newest_version_that_this_python_may_run_is_chosen(
    open_index: str, tmp_path: Path
) -> None:
    files = [
        make_wheel(tmp_path, "some-pkg", "1.0", requires_python=">=3.8"),
        make_wheel(tmp_path, "some-pkg", "2.0", requires_python=">=3.11, <4"),
        make_wheel(tmp_path, "some-pkg", "3.0", requires_python=">=99"),
    ]
    twine_upload(tmp_path, open_index, *files)
    assert uv_install(tmp_path, open_index, tmp_path / "uv", "some-pkg") == {"some-pkg": "2.0"}

    # uv ignores an upper bound.
    twine_upload(
        tmp_path, open_index, make_wheel(tmp_path, "some-pkg", "4.0", requires_python="<3.11")
    )
    assert pip_install(tmp_path, open_index, tmp_path / "pip", "some-pkg") == {"some-pkg": "2.0"}


@pytest.mark.parametrize("client", [["pip"], ["uv", "pip"]], ids=["pip", "uv"])
def test_a_yanked_version_is_skipped_unless_it_is_pinned(
    open_index: str, http: requests.Session, tmp_path: Path, client: list[str]
) -> None:
    files = [make_wheel(tmp_path, "some-pkg", version) for version in ("1.0", "2.0")]
    twine_upload(tmp_path, open_index, *files)
    yank = {"yanked": "it loses data"}
    assert http.patch(f"{open_index}some-pkg/2.0", json=yank).status_code == 200

    def install(target: Path, requirement: str) -> str:
        where = ["--no-cache-dir", "--index-url", open_index, "--target", str(target)]
        return run(tmp_path, *client, "install", *where, requirement)

    said = install(tmp_path / "any", "some-pkg")
    assert installed(tmp_path / "any") == {"some-pkg": "1.0"}
    assert "it loses data" not in said

    said = install(tmp_path / "this", "some-pkg==2.0")
    assert installed(tmp_path / "this") == {"some-pkg": "2.0"}
    assert "yanked" in said
    assert "it loses data" in said

    assert http.patch(f"{open_index}some-pkg/2.0", json={"yanked": False}).status_code == 200
    install(tmp_path / "again", "some-pkg")
    assert installed(tmp_path / "again") == {"some-pkg": "2.0"}


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("install", "options"),
    [
        (pip_install, ["--uploaded-prior-to", "2025-01-01T00:00:00Z"]),
        (uv_install, ["--exclude-newer", "2025-01-01T00:00:00Z"]),
    ],
)
@pytest.mark.parametrize("stored", ["here", "by the original"])
def test_the_newest_file_before_a_given_time_is_chosen(
    open_index: str,
    repository: Callable[[str], OCIClient],
    tmp_path: Path,
    install: Install,
    options: list[str],
    stored: str,
) -> None:
    older, newer = (make_wheel(tmp_path, "some-pkg", version) for version in ("1.0", "2.0"))
    oci = repository("some_pkg")
    if stored == "here":
        twine_upload(tmp_path, open_index, older)
        _date(oci, "1.0", "2024-05-06T07:08:09.123456Z")
    else:
        push_original(oci, "1.0", {"py3-none-any.whl": older.read_bytes()})
    twine_upload(tmp_path, open_index, newer)

    chosen = install(tmp_path, open_index, tmp_path / "then", *options, "some-pkg")
    assert chosen == {"some-pkg": "1.0"}
    assert install(tmp_path, open_index, tmp_path / "now", "some-pkg") == {"some-pkg": "2.0"}


def _date(oci: OCIClient, tag: str, created: str) -> None:
    """Change the upload time of the files of a version."""
    index = oci.document(tag)
    for entry in index["manifests"]:
        entry["annotations"][CREATED] = created
    oci.push(index, tag)


def test_html_and_json_contain_the_same_data(
    open_index: str,
    repository: Callable[[str], OCIClient],
    http: requests.Session,
    tmp_path: Path,
) -> None:
    files = [
        make_wheel(tmp_path, "some-pkg", "1.0"),
        make_sdist(tmp_path, "some-pkg", "1.0", requires_python=">=3.8"),
        make_wheel(tmp_path, "some-pkg", "1!2.0+cpu.1", build="1", requires_python=">=3.9, <4"),
        make_wheel(tmp_path, "some-pkg", "3.0"),
    ]
    twine_upload(tmp_path, open_index, *files)
    original = make_wheel(tmp_path, "some-pkg", "0.9")
    push_original(repository("some_pkg"), "0.9", {"py3-none-any.whl": original.read_bytes()})
    for name, yanked in {files[0].name: True, "3.0": 'for "this" & <that>'}.items():
        answer = http.patch(f"{open_index}some-pkg/{name}", json={"yanked": yanked})
        assert answer.status_code == 200, answer.text

    in_json = _told(open_index, ACCEPT_JSON_ONLY)
    in_html = _told(open_index, ACCEPT_HTML_ONLY)

    assert [_facts(each) for each in in_html] == [_facts(each) for each in in_json]
    assert {each.filename for each in in_json} == {file.name for file in [*files, original]}
    reasons = {each.filename: each.yanked_reason or "" for each in in_json if each.is_yanked}
    assert reasons == {files[0].name: "", files[3].name: 'for "this" & <that>'}
    assert all(each.upload_time is not None for each in in_json)
    assert {each.has_metadata for each in in_json if each.package_type == "wheel"} == {True}


def _told(index: str, accept: str) -> list[DistributionPackage]:
    with requests.Session() as session:
        session.trust_env = False
        with PyPISimple(index, session=session, accept=accept) as client:
            return client.get_project_page("some-pkg").packages


def _facts(package: DistributionPackage) -> tuple[object, ...]:
    """Return everything that both forms of a page can say about a file."""
    return (
        package.filename,
        package.url.partition("#")[0],
        package.version,
        package.digests,
        package.requires_python,
        package.is_yanked,
        package.yanked_reason or "",
        package.has_metadata,
        package.metadata_digests,
    )


def test_the_metadata_that_is_announced_is_what_the_wheel_holds(
    open_index: str,
    repository: Callable[[str], OCIClient],
    tmp_path: Path,
) -> None:
    here = make_wheel(tmp_path, "some-pkg", "1.0", summary="Published here")
    twine_upload(tmp_path, open_index, here)
    there = make_wheel(tmp_path, "some-pkg", "0.9", summary="By the original")
    push_original(repository("some_pkg"), "0.9", {"py3-none-any.whl": there.read_bytes()})

    with requests.Session() as session:
        session.trust_env = False
        with PyPISimple(open_index, session=session) as client:
            page = client.get_project_page("some-pkg")
            texts = {
                each.version: client.get_package_metadata(each, verify=bool(each.metadata_digests))
                for each in page.packages
            }
    verified = {each.version for each in page.packages if each.metadata_digests}
    assert verified == {"1.0"}
    summaries = {
        version: re.findall("(?m)^Summary: (.*)$", text) for version, text in texts.items()
    }
    assert summaries == {"1.0": ["Published here"], "0.9": ["By the original"]}
