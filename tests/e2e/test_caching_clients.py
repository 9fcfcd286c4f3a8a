"""pip with its own cache: what it asks for again, what it resumes, what has changed."""

import hashlib
import random
import zipfile
from pathlib import Path

import pytest
import requests

from tests.access_log import answers
from tests.clients import installed, run, twine_upload
from tests.packages import make_wheel
from tests.relay import relay
from tests.servers import LOOPBACK, RunningServer

# pip caches responses over plain http only from trusted hosts.
_OPTIONS = ["--disable-pip-version-check", "--trusted-host", LOOPBACK]
_CUT = 2_500_000
_BUFFERED = 500_000
"""More than what is in transit through sockets when a connection is cut."""


def _pip_install(home: Path, index: str, target: Path, *arguments: str | Path) -> dict[str, str]:
    """Install with the cache in `home`; return the installed versions."""
    cache, to = ["--cache-dir", str(home / "cache")], ["--target", str(target)]
    run(home, "pip", "install", *_OPTIONS, *cache, *to, "--index-url", index, *arguments)
    return installed(target)


def _statuses(app: RunningServer, url: str, expected: int) -> list[str]:
    return [answer["status"] for answer in answers(app, "GET", url, expected)]


@pytest.mark.acceptance
def test_an_unchanged_page_and_file_are_not_sent_twice(
    app: RunningServer, open_index: str, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "some-pkg", "1.0")
    twine_upload(tmp_path, open_index, wheel)
    page = f"{open_index}some-pkg/"

    assert _pip_install(tmp_path, open_index, tmp_path / "first", "some-pkg") == {"some-pkg": "1.0"}
    assert _statuses(app, page, 1) == ["200"]
    assert _statuses(app, f"{page}{wheel.name}", 1) == ["200"]

    assert _pip_install(tmp_path, open_index, tmp_path / "again", "some-pkg") == {"some-pkg": "1.0"}
    assert _statuses(app, page, 2) == ["200", "304"]
    assert _statuses(app, f"{page}{wheel.name}", 2) == ["200", "304"]

    # A new version changes the page, and shows immediately.
    twine_upload(tmp_path, open_index, make_wheel(tmp_path, "some-pkg", "1.1"))
    assert _pip_install(tmp_path, open_index, tmp_path / "newer", "some-pkg") == {"some-pkg": "1.1"}
    assert _statuses(app, page, 3) == ["200", "304", "200"]


@pytest.mark.parametrize("cache", [True, False], ids=["cached", "uncached"])
def test_a_download_that_is_cut_is_resumed_where_it_ended(
    app: RunningServer, open_index: str, tmp_path: Path, *, cache: bool
) -> None:
    wheel = make_wheel(tmp_path, "some-pkg", "1.0")
    with zipfile.ZipFile(wheel, "a") as archive:
        # All parts differ, so a missing or repeated part is noticed.
        archive.writestr("some_pkg/noise.bin", random.Random(7).randbytes(6_000_000))
    twine_upload(tmp_path, open_index, wheel)

    with relay(app.port, cut_after=_CUT) as cutting:
        index = f"{cutting.url}{open_index.removeprefix(app.url)}"
        where = ["--index-url", index, "--dest", str(tmp_path / "got")]
        kept = ["--cache-dir", str(tmp_path / "cache")] if cache else ["--no-cache-dir"]
        run(tmp_path, "pip", "download", *_OPTIONS, *kept, *where, "some-pkg")
        assert cutting.cuts == 1

    got = tmp_path / "got" / wheel.name
    assert hashlib.sha256(got.read_bytes()).digest() == hashlib.sha256(wheel.read_bytes()).digest()
    # What had already arrived is not sent again.
    whole, rest = answers(app, "GET", f"{open_index}some-pkg/{wheel.name}", 2)
    assert [whole["status"], rest["status"]] == ["200", "206"]
    assert 0 <= int(rest["bytes_out"]) - (wheel.stat().st_size - _CUT) < _BUFFERED


@pytest.mark.acceptance
def test_a_file_that_was_deleted_and_published_again_replaces_the_one_in_pips_cache(
    open_index: str, http: requests.Session, tmp_path: Path
) -> None:
    first = make_wheel(tmp_path, "some-pkg", "1.0", summary="The first")
    twine_upload(tmp_path, open_index, first)
    assert _pip_install(tmp_path, open_index, tmp_path / "first", "some-pkg") == {"some-pkg": "1.0"}
    before = first.read_bytes()
    assert http.delete(f"{open_index}some-pkg/{first.name}").status_code == 200

    second = make_wheel(tmp_path, "some-pkg", "1.0", summary="The second")
    assert (second.name, second.read_bytes()) != (first.name, before)
    twine_upload(tmp_path, open_index, second)
    assert _pip_install(tmp_path, open_index, tmp_path / "then", "some-pkg") == {"some-pkg": "1.0"}

    [info] = (tmp_path / "then").glob("*.dist-info")
    assert "Summary: The second" in (info / "METADATA").read_text()
