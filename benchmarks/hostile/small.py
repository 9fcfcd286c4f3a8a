"""Long numbers, passwords and bodies: what anyone can send without credentials."""

import base64
import http.client
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import requests

from benchmarks.hostile.attack import Attack, Target
from tests.servers import LOOPBACK

_PATIENCE = 60.0
_COST = 12
_GUESSES = 128


def _status(target: Target, method: str, path: str, headers: dict[str, str]) -> str:
    connection = http.client.HTTPConnection(LOOPBACK, target.port, timeout=_PATIENCE)
    try:
        connection.request(method, path, headers=headers)
        return str(connection.getresponse().status)
    except OSError as error:
        return type(error).__name__
    finally:
        connection.close()


def _long_version(target: Target) -> str:
    fields = {":action": "file_upload", "name": "foo", "version": "9" * 5000}
    file = {"content": ("foo-1.0.tar.gz", b"x")}
    url = f"{target.url}/localhost:1/acme/"
    return str(requests.post(url, fields, files=file, timeout=_PATIENCE).status_code)


def _guesses(target: Target) -> str:
    def guess(number: int) -> str:
        login = base64.b64encode(f"alice:wrong {number}".encode()).decode()
        return _status(target, "GET", "/v2/", {"Authorization": f"Basic {login}"})

    with ThreadPoolExecutor(_GUESSES) as pool:
        statuses = Counter(pool.map(guess, range(_GUESSES)))
    return ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))


_STORAGE = {"PYOCI_STORAGE": "{folder}/storage"}

ATTACKS = [
    Attack("8", "a version of 5,000 digits in the form of an upload", _long_version),
    Attack(
        "13",
        f"{_GUESSES} concurrent wrong passwords for a user with a bcrypt hash of cost {_COST}",
        _guesses,
        {**_STORAGE, "PYOCI_STORAGE_USERS": "{folder}/users"},
        {"users": f"alice:$2b${_COST}${'.' * 53}\n"},  # a hash that matches no password
    ),
]
