"""A wheel that does not fit into memory."""

import hashlib
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.clients import twine_upload
from tests.packages import make_wheel
from tests.registries import RunningRegistry
from tests.servers import RunningServer, gunicorn

pytestmark = pytest.mark.acceptance

_SIZE = 1_500_000_000
_MOST_GROWTH_KIB = 32 * 1024
_STREAMS = 32


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that is removed after the test; pytest keeps its own."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def _peak_kib(server: RunningServer) -> int:
    """Return the most resident memory that the one worker has ever had."""
    [worker] = server.workers
    status = Path(f"/proc/{worker}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_a_large_wheel_goes_up_and_comes_down_in_constant_memory(
    folder: Path, docker_open: RunningRegistry
) -> None:
    settings = {
        "PYOCI_MAX_BODY": str(2 * _SIZE),
        "PYOCI_SPOOL": str(folder),
        "PYOCI_STORAGE": str(folder / "storage"),
    }
    wheel = make_wheel(folder, "large", "1.0", size=_SIZE)
    expected = _digest(wheel)
    with gunicorn(folder, settings) as server:
        before = _peak_kib(server)
        for index in ["simple", f"{docker_open.address}/large"]:
            url = f"{server.url}/{index}/"
            twine_upload(folder, url, wheel)
            digest = hashlib.sha256()
            with (
                requests.Session() as session,
                session.get(f"{url}large/{wheel.name}", stream=True) as answer,
            ):
                for chunk in answer.iter_content(1 << 20):
                    digest.update(chunk)
            assert digest.hexdigest() == expected
        assert _peak_kib(server) - before < _MOST_GROWTH_KIB


def test_32_parallel_downloads_of_100_mb_take_little_memory(
    folder: Path, docker_open: RunningRegistry
) -> None:
    settings = {"PYOCI_MAX_BODY": str(_SIZE), "PYOCI_SPOOL": str(folder)}
    wheel = make_wheel(folder, "streamed", "1.0", size=100_000_000)
    with gunicorn(folder, settings) as server:
        url = f"{server.url}/{docker_open.address}/streams/"
        twine_upload(folder, url, wheel)
        before = _peak_kib(server)
        with ThreadPoolExecutor(_STREAMS) as pool:
            sizes = list(pool.map(_drained, [f"{url}streamed/{wheel.name}"] * _STREAMS))
        assert sizes == [wheel.stat().st_size] * _STREAMS
        assert _peak_kib(server) - before < _MOST_GROWTH_KIB


def _drained(url: str) -> int:
    """The bytes of a response, which are not kept."""
    with requests.Session() as session, session.get(url, stream=True) as answer:
        return sum(len(chunk) for chunk in answer.iter_content(1 << 20))
