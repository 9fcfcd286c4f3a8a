import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bcrypt
import pytest
from requests.auth import HTTPBasicAuth

from pyoci_flask.registry import create_registry
from pyoci_flask.registry.users import UsersFileError
from tests.unit.registry.client import RegistryClient, digest_of, error, in_process, index


def entry(name: str, password: str, role: str = "", cost: int = 4) -> str:
    password_hash = bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()
    return f"{name}:{password_hash}{role}\n"


USERS = {
    "writer": ("writer", "write: pässword"),
    "explicit": ("explicit", "x"),
    "reader": ("reader", "read"),
}


@pytest.fixture(scope="module")
def users_text() -> str:
    lines = ["# who may use the registry\n", "\n"]
    lines += [entry(*USERS["writer"]).replace("$2b$", "$2y$")]  # as htpasswd writes it
    lines += [entry(*USERS["explicit"], ":write"), entry(*USERS["reader"], ":read")]
    return "".join(lines)


@pytest.fixture
def users(tmp_path: Path, users_text: str) -> Path:
    path = tmp_path / "htpasswd"
    path.write_text(users_text)
    return path


@pytest.fixture
def guarded(storage: Path, users: Path) -> Iterator[RegistryClient]:
    client = in_process(create_registry(storage, users))
    with client.session:
        yield client


def log_in(client: RegistryClient, name: str, password: str) -> None:
    # As bytes, so that requests does not write them in Latin-1.
    client.session.auth = HTTPBasicAuth(name.encode(), password.encode())


@pytest.mark.parametrize("path", ["/v2/", "/v2/_catalog", "/v2/a/tags/list", "/nothing/here"])
def test_without_credentials_everything_is_challenged(guarded: RegistryClient, path: str) -> None:
    response = guarded.get(path)

    assert error(response) == (401, "UNAUTHORIZED")
    assert response.headers["WWW-Authenticate"] == 'Basic realm="PyOCI registry"'


@pytest.mark.parametrize("user", ["writer", "explicit"])
def test_a_writer_may_pull_push_and_delete(guarded: RegistryClient, user: str) -> None:
    log_in(guarded, *USERS[user])

    guarded.push_image("acme/app", "1.0", b"layer")

    assert guarded.get("/v2/acme/app/manifests/1.0").status_code == 200
    assert guarded.request("DELETE", "/v2/acme/app/manifests/1.0").status_code == 202


def test_a_reader_may_only_pull(guarded: RegistryClient) -> None:
    log_in(guarded, *USERS["writer"])
    pushed = guarded.push_image("acme/app", "1.0", b"layer")
    upload = guarded.begin_upload("acme/app")
    log_in(guarded, *USERS["reader"])

    assert guarded.get("/v2/").status_code == 200
    assert guarded.get("/v2/acme/app/manifests/1.0").content == pushed
    assert guarded.tags("acme/app") == ["1.0"]
    blob = f"/v2/acme/app/blobs/{digest_of(b'layer')}"
    assert guarded.get(blob).content == b"layer"
    for method, path in [
        ("POST", "/v2/acme/app/blobs/uploads/"),
        ("PATCH", upload),
        ("PUT", f"{upload}?digest={digest_of(b'')}"),
        ("DELETE", upload),
        ("DELETE", blob),
        ("PUT", "/v2/acme/app/manifests/2.0"),
        ("DELETE", "/v2/acme/app/manifests/1.0"),
    ]:
        assert error(guarded.request(method, path)) == (403, "DENIED")


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("writer", "wrong"),
        ("writer", ""),
        ("nobody", "write: pässword"),
        ("", ""),
        ("writer", "x" * 73),
        ("writer", "ü" * 37),
        ("nobody", "x" * 5000),
        ("writer", "write: pässword\0"),
    ],
)
def test_wrong_credentials_are_challenged(
    guarded: RegistryClient, name: str, password: str
) -> None:
    log_in(guarded, name, password)

    assert error(guarded.get("/v2/")) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize(
    "authorization", ["Basic", "Basic !!", "Basic bm9jb2xvbg==", "Basic /w==", "Bearer x", "x"]
)
def test_malformed_credentials_are_challenged(guarded: RegistryClient, authorization: str) -> None:
    assert error(guarded.get("/v2/", Authorization=authorization)) == (401, "UNAUTHORIZED")


def test_a_password_of_72_bytes_passes(guarded: RegistryClient, users: Path) -> None:
    users.write_text(entry("long", "x" * 72))
    log_in(guarded, "long", "x" * 72)

    assert guarded.get("/v2/").status_code == 200


def test_the_users_file_is_read_again_when_it_changes(guarded: RegistryClient, users: Path) -> None:
    log_in(guarded, *USERS["writer"])
    assert guarded.get("/v2/").status_code == 200

    users.write_text(entry("writer", "new password"))

    assert guarded.get("/v2/").status_code == 401
    log_in(guarded, "writer", "new password")
    assert guarded.get("/v2/").status_code == 200


def test_a_user_who_loses_the_role_may_no_longer_push(guarded: RegistryClient, users: Path) -> None:
    log_in(guarded, *USERS["explicit"])
    guarded.push_manifest("acme/app", index(), "1.0")

    users.write_text(users.read_text().replace(":write", ":read"))

    assert error(guarded.request("POST", "/v2/acme/app/blobs/uploads/")) == (403, "DENIED")


def test_nobody_gets_in_while_the_users_file_is_unusable(
    guarded: RegistryClient, users: Path, users_text: str, caplog: pytest.LogCaptureFixture
) -> None:
    log_in(guarded, *USERS["writer"])
    assert guarded.get("/v2/").status_code == 200

    users.write_text(users_text + "typo\n")
    broken = guarded.get("/v2/")
    users.unlink()
    missing = guarded.get("/v2/")
    users.write_text(users_text)

    assert (broken.status_code, missing.status_code) == (503, 503)
    assert f"{users}, line 6" in caplog.text
    assert guarded.get("/v2/").status_code == 200


HASH = "$2y$10$" + "a" * 53


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("alice", "expected name:hash"),
        ("alice:", "expected name:hash"),
        (f":{HASH}", "expected name:hash"),
        ("alice:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=", "bcrypt"),
        ("alice:$apr1$abc$def", "bcrypt"),
        (f"alice:{HASH[:-1]}", "bcrypt"),
        (f"alice:{HASH}:admin", "role"),
        (f"alice:{HASH}:read:write", "role"),
        (f"first:{HASH}", "twice"),
    ],
)
def test_a_malformed_line_stops_the_start(
    storage: Path, tmp_path: Path, line: str, reason: str
) -> None:
    users = tmp_path / "htpasswd"
    users.write_text(f"first:{HASH}\n# comment\n{line}\n")

    with pytest.raises(UsersFileError) as raised:
        create_registry(storage, users)

    text = str(raised.value)
    assert isinstance(raised.value, ValueError)
    assert (str(users) in text, "line 3" in text, reason in text) == (True, True, True)
    assert "$" not in text


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_stops_the_start(
    storage: Path, tmp_path: Path, content: bytes | None
) -> None:
    users = tmp_path / "htpasswd"
    if content is not None:
        users.write_bytes(content)

    with pytest.raises(UsersFileError, match="htpasswd"):
        create_registry(storage, users)


def test_with_an_empty_users_file_nobody_gets_in(storage: Path, tmp_path: Path) -> None:
    users = tmp_path / "htpasswd"
    users.touch()
    client = in_process(create_registry(storage, users))
    log_in(client, "alice", "x")

    assert client.get("/v2/").status_code == 401


@pytest.fixture
def slow(storage: Path, tmp_path: Path) -> RegistryClient:
    """A registry whose passwords take bcrypt's usual time to check."""
    users = tmp_path / "slow"
    users.write_text(entry("alice", "right", cost=10))
    return in_process(create_registry(storage, users))


def seconds_of(client: RegistryClient, name: str, password: str) -> float:
    """The processor's time, which other processes on the machine do not change."""
    log_in(client, name, password)
    start = time.process_time()
    client.get("/v2/")
    return time.process_time() - start


def test_a_right_password_is_checked_once(slow: RegistryClient) -> None:
    first = seconds_of(slow, "alice", "right")
    later = min(seconds_of(slow, "alice", "right") for _ in range(5))

    assert later < first / 4


def test_time_does_not_tell_who_exists(slow: RegistryClient) -> None:
    wrong = min(seconds_of(slow, "alice", "wrong") for _ in range(3))
    unknown = min(seconds_of(slow, "nobody", "wrong") for _ in range(3))

    assert wrong / 3 < unknown < wrong * 3


def test_requests_that_arrive_together_share_one_check(slow: RegistryClient) -> None:
    one_check = seconds_of(slow, "alice", "wrong")
    log_in(slow, "alice", "right")

    start = time.process_time()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: slow.get("/v2/").status_code, range(16)))

    assert answers == [200] * 16
    assert time.process_time() - start < one_check * 5


def test_the_time_of_a_refusal_does_not_tell_which_names_exist(
    storage: Path, tmp_path: Path
) -> None:
    users = tmp_path / "htpasswd"
    # One step of the cost is twice the time: 32 times between these two.
    impossible = f"impossible:$2b$04${'z' * 53}\n"  # bits that no salt has
    users.write_text(entry("cheap", "x", cost=4) + entry("dear", "x", cost=9) + impossible)
    client = in_process(create_registry(storage, users))

    def quickest(name: str) -> float:
        taken = []
        for attempt in range(5):
            log_in(client, name, f"wrong {attempt}")
            begun = time.thread_time()
            assert client.get("/v2/").status_code == 401
            taken.append(time.thread_time() - begun)
        return min(taken)

    times = [quickest(name) for name in ("cheap", "dear", "impossible", "unknown")]

    assert max(times) < 2 * min(times), times


@pytest.mark.parametrize("cost", [17, 31])
def test_a_hash_whose_check_takes_too_long_is_refused_with_its_line(
    storage: Path, tmp_path: Path, cost: int
) -> None:
    users = tmp_path / "htpasswd"
    users.write_text(f"{entry('fine', 'x')}slow:$2b${cost}${'.' * 53}\n")

    with pytest.raises(UsersFileError, match="line 2"):
        create_registry(storage, users)


def test_few_wrong_passwords_are_checked_at_a_time(storage: Path, tmp_path: Path) -> None:
    users = tmp_path / "htpasswd"
    users.write_text(entry("alice", "right", cost=11))
    registry = create_registry(storage, users)

    def guess(number: int) -> int:
        client = in_process(registry)
        log_in(client, "alice", f"wrong {number}")
        return client.get("/v2/").status_code

    with ThreadPoolExecutor(64) as pool:
        statuses = list(pool.map(guess, range(64)))

    assert set(statuses) == {401, 503}


def test_a_wrong_password_that_comes_many_times_at_once_is_checked_once(
    storage: Path, tmp_path: Path
) -> None:
    users = tmp_path / "htpasswd"
    users.write_text(entry("alice", "right", cost=10))
    registry = create_registry(storage, users)

    def guess(_: int) -> int:
        client = in_process(registry)
        log_in(client, "alice", "wrong")
        return client.get("/v2/").status_code

    begun = time.process_time()
    assert guess(0) == 401
    one = time.process_time() - begun
    with ThreadPoolExecutor(32) as pool:
        assert set(pool.map(guess, range(32))) == {401}

    assert time.process_time() - begun < 10 * one
