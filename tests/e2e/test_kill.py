"""Workers that are killed in the middle of uploads leave no broken file in a listing."""

import hashlib
import os
import random
import signal
import threading
from pathlib import Path

import pytest
import requests

from tests.integration.index_client import IndexClient
from tests.packages import make_wheel
from tests.servers import RunningServer, gunicorn, wait_until

pytestmark = pytest.mark.acceptance

_KILLS = 20
_PUBLISHERS = 4
_SIZE = 200_000
_TRIES = 100


class _Publisher(threading.Thread):
    """Publishes files of versions that it shares with the others until it is stopped.

    Like twine, it sends a file again when the response is 5xx or missing.
    """

    def __init__(self, base: str, folder: Path, number: int, stop: threading.Event) -> None:
        super().__init__()
        self._base = base
        self._folder = folder
        self._number = number
        self._stop_asked = stop
        self.done: dict[str, str] = {}
        """Filename to sha256 of the accepted files."""
        self.repeated = 0
        self.faults: list[str] = []

    def run(self) -> None:
        count = 0
        while not self._stop_asked.is_set():
            count += 1
            # Three of each publisher's files per version, so that versions grow during the test.
            version, build = f"1.{count // 3}", f"{self._number}{count % 3}"
            wheel = make_wheel(self._folder, "killed", version, build=build, size=_SIZE + count)
            if not self._accepted(wheel, version):
                return
            self.done[wheel.name] = hashlib.sha256(wheel.read_bytes()).hexdigest()

    def _accepted(self, wheel: Path, version: str) -> bool:
        answer = "none"
        for attempt in range(_TRIES):
            with requests.Session() as session:
                session.trust_env = False
                try:
                    response = IndexClient(self._base, None, session).publish(
                        wheel, "killed", version
                    )
                except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                    self.repeated += 1
                    continue
            # The response for this file was lost, so it already exists.
            if response.status_code == 200 or (attempt and response.status_code == 409):
                return True
            answer = f"{response.status_code} {response.text}"
            if response.status_code < 500:
                break
        self.faults.append(f"{wheel.name}: {answer}")
        return False


def _kill(server: RunningServer, publishers: list[_Publisher], chance: random.Random) -> None:
    """Kill one worker once both run and more files were accepted."""
    accepted = sum(len(publisher.done) for publisher in publishers)
    wait_until(
        lambda: (
            len(server.workers) == 2
            and sum(len(publisher.done) for publisher in publishers) > accepted
        )
    )
    os.kill(chance.choice(server.workers), signal.SIGKILL)


def test_everything_listed_is_whole_after_20_workers_were_killed_amid_uploads(
    tmp_path: Path, http: requests.Session
) -> None:
    settings = {
        "WEB_CONCURRENCY": "2",
        "PYOCI_STORAGE": str(tmp_path / "storage"),
        "PYOCI_MAX_VERSIONS": "0",
    }
    stop, chance = threading.Event(), random.Random(20)
    with gunicorn(tmp_path, settings) as server:
        base = f"{server.url}/simple"
        publishers = [
            _Publisher(base, tmp_path, number, stop) for number in range(1, _PUBLISHERS + 1)
        ]
        for publisher in publishers:
            publisher.start()
        try:
            for _ in range(_KILLS):
                _kill(server, publishers, chance)
        finally:
            stop.set()
            for publisher in publishers:
                publisher.join()
        assert [publisher.faults for publisher in publishers] == [[]] * _PUBLISHERS
        # Otherwise no upload was interrupted.
        assert sum(publisher.repeated for publisher in publishers) >= _KILLS // 2

        accepted = {name: digest for one in publishers for name, digest in one.done.items()}
        index = IndexClient(base, None, http)
        listed = index.page("killed")
        assert sorted(link.text for link in listed) == sorted(accepted)
        for link in listed:
            content = index.follow("killed", link).content
            assert hashlib.sha256(content).hexdigest() == accepted[link.text]
