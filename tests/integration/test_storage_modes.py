"""Other users of the machine cannot read what the server stores."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.integration.index_client import IndexClient
from tests.packages import make_wheel


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
def test_only_the_server_can_read_what_it_stores(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    storage, spool = tmp_path / "above" / "storage", tmp_path / "spool"
    spool.mkdir()
    url = app_server({"PYOCI_STORAGE": str(storage), "PYOCI_SPOOL": str(spool)})
    index = IndexClient(f"{url}/simple", None, http)
    index.published(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")
    assert http.post(f"{url}/v2/python/bar/blobs/uploads/").status_code == 202
    assert http.get(f"{url}/simple/foo/").status_code == 200
    _assert_closed(storage)
    for folder in spool.iterdir():  # everything below cannot be reached
        assert not stat.S_IMODE(folder.stat().st_mode) & 0o077, folder


def _assert_closed(folder: Path) -> None:
    found = [folder, *folder.rglob("*")]
    assert len(found) > 10
    open_to_others = [path for path in found if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert open_to_others == []


@pytest.mark.usefixtures("no_umask")
def test_a_storage_that_everyone_could_read_is_closed_to_other_users(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    storage.mkdir(0o2775)
    storage.chmod(0o2775)
    (storage / "kept").write_text("")

    create_registry(storage)

    # The group is the operator's choice.
    assert stat.S_IMODE(storage.stat().st_mode) == 0o2770
    assert stat.S_IMODE((storage / "kept").stat().st_mode) == 0o666
