"""Many processes publish different files of one version concurrently, and no file is lost."""

import hashlib
import multiprocessing
import time
from pathlib import Path

import pytest
import requests

from tests.integration.index_client import IndexClient
from tests.packages import make_wheel
from tests.patience import PATIENCE
from tests.registries import RunningRegistry
from tests.servers import gunicorn

_PROCESSES = 8
_FILES = 25
"""Of each process."""
_FILES_WITHOUT_LOCK = 3
"""Fewer, because each takes more than `_SETTLE`."""
_SETTLE = "2"
"""Seconds within which a writer finishes what it has begun, even on a slow machine."""


def _publish(base: str, files: list[Path]) -> None:
    """Publish one file after another; 5xx is sent again, as clients of the upload API do."""
    deadline = time.monotonic() + PATIENCE
    with requests.Session() as session:
        session.trust_env = False
        index = IndexClient(base, None, session)
        for file in files:
            response = index.publish(file, "crowd", "1.0")
            accepted = {200}
            while response.status_code >= 500 and time.monotonic() < deadline:
                accepted = {200, 409}  # it already exists if only the response came too late
                time.sleep(float(response.headers.get("Retry-After", "1")))
                response = index.publish(file, "crowd", "1.0")
            assert response.status_code in accepted, response.text


def _wheels(folder: Path, files: int) -> list[list[Path]]:
    return [
        [
            make_wheel(folder, "crowd", "1.0", build=str(process * files + number), size=process)
            for number in range(files)
        ]
        for process in range(_PROCESSES)
    ]


def _publish_side_by_side(bases: list[str], shares: list[list[Path]]) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_publish, args=(bases[number % len(bases)], share))
        for number, share in enumerate(shares)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
    assert [process.exitcode for process in processes] == [0] * len(processes)


def _assert_all_there(index: IndexClient, shares: list[list[Path]]) -> None:
    files = {file.name: file for share in shares for file in share}
    assert len(files) == _PROCESSES * len(shares[0])
    listed = index.page("crowd")
    assert sorted(link.text for link in listed) == sorted(files)
    for link in listed:
        digest = hashlib.sha256(index.follow("crowd", link).content).hexdigest()
        assert digest == hashlib.sha256(files[link.text].read_bytes()).hexdigest()
        assert link.href.endswith(f"#sha256={digest}")


@pytest.mark.acceptance
def test_8_processes_with_25_files_each_lose_none_over_two_workers(
    tmp_path: Path, http: requests.Session
) -> None:
    shares = _wheels(tmp_path, _FILES)
    settings = {"WEB_CONCURRENCY": "2", "PYOCI_STORAGE": str(tmp_path / "storage")}
    with gunicorn(tmp_path, settings) as server:
        base = f"{server.url}/simple"
        _publish_side_by_side([base], shares)
        _assert_all_there(IndexClient(base, None, http), shares)


@pytest.mark.acceptance
def test_8_processes_lose_no_file_over_two_servers_that_share_no_lock(
    tmp_path: Path, docker_open: RunningRegistry, namespace: str, http: requests.Session
) -> None:
    shares = _wheels(tmp_path, _FILES_WITHOUT_LOCK)
    spools = [tmp_path / "first", tmp_path / "second"]
    for spool in spools:
        spool.mkdir()
    first, second = (
        {"PYOCI_PUBLISH_SETTLE": _SETTLE, "PYOCI_SPOOL": str(spool)} for spool in spools
    )
    with gunicorn(spools[0], first) as one, gunicorn(spools[1], second) as other:
        bases = [f"{server.url}/{docker_open.address}/{namespace}" for server in (one, other)]
        _publish_side_by_side(bases, shares)
        _assert_all_there(IndexClient(bases[0], None, http), shares)
        # Otherwise the servers never conflicted, and nothing was tested.
        assert "does not contain what was written" in one.logged() + other.logged()
