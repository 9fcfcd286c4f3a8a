"""Which addresses the server listens on, and errors that prevent its start."""

import contextlib
import http.client
import os
import re
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.packages import make_wheel
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.servers import LOOPBACK, ROOT, environment, gunicorn, gunicorn_command, wait_until


def _failed_start(tmp: Path, environ: dict[str, str], *options: str) -> str:
    """Return what gunicorn wrote before it exited with an error but without a traceback."""
    done = subprocess.run(
        gunicorn_command(*options),
        cwd=ROOT,
        env=environment(tmp, environ),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        text=True,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [("PORT", "http"), ("PYOCI_MAX_BODY", "50 MB"), ("PYOCI_THREADS", "0"), ("LOG_LEVEL", "loud")],
)
def test_a_bad_setting_stops_the_start_and_is_named(
    tmp_path: Path, variable: str, value: str
) -> None:
    [line] = _failed_start(tmp_path, {variable: value}).splitlines()
    assert line.startswith(f"Error: {variable} must be ")
    assert value in line


def _make_run(tmp: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run what `make run` runs until it ends, which it does at once if a setting is bad."""
    return subprocess.run(
        ["scripts/run"],
        cwd=ROOT,
        env=environment(tmp, environ),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        text=True,
    )


@pytest.mark.parametrize(
    ("variable", "value"), [("PORT", "99999"), ("PYOCI_INDEX", "ghcr.io"), ("LOG_LEVEL", "loud")]
)
def test_make_run_says_which_setting_is_bad_before_anything_else(
    tmp_path: Path, variable: str, value: str
) -> None:
    done = _make_run(tmp_path, {"PYOCI_STORAGE": str(tmp_path), variable: value})
    assert done.returncode != 0
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith(f"Error: {variable} must be ")


@pytest.mark.parametrize(
    ("settings", "kept"),
    [({"PYOCI_INDEX": "ghcr.io/acme"}, "ghcr.io/acme"), ({"PYOCI_STORAGE": "{tmp}"}, "{tmp}")],
)
def test_the_banner_of_make_run_says_where_packages_are_kept(
    tmp_path: Path, settings: dict[str, str], kept: str
) -> None:
    environ = {name: value.format(tmp=tmp_path) for name, value in settings.items()}
    done = subprocess.run(
        [sys.executable, "scripts/banner.py"],
        cwd=ROOT,
        env=environment(tmp_path, environ),
        capture_output=True,
        timeout=PATIENCE,
        check=True,
        text=True,
    )
    assert f"Packages are kept in {kept.format(tmp=tmp_path)}\n" in done.stdout
    assert "./data" not in done.stdout


def test_a_variable_that_is_no_setting_is_a_warning_that_names_the_nearest(tmp_path: Path) -> None:
    with gunicorn(tmp_path, {"PYOCI_MAXBODY": "s3cret", "WEB_CONCURRENCY": "2"}) as server:
        pass
    said = server.logged()
    assert said.count("PYOCI_MAXBODY is not a setting") == 1
    assert "did you mean PYOCI_MAX_BODY?" in said
    assert "s3cret" not in said


def test_the_warning_about_a_proxy_without_a_list_says_what_happens(
    tmp_path: Path, http: requests.Session
) -> None:
    with gunicorn(tmp_path, {"HTTPS_PROXY": "http://127.0.0.1:9"}) as server:
        answer = http.get(f"{server.url}/ghcr.io/acme/hello/", timeout=PATIENCE)
    assert answer.status_code == 403
    said = server.logged()
    assert "calls through the proxy are refused with 403" in said
    assert "make it call any host" not in said


def test_a_setting_that_only_the_application_can_judge_stops_the_start_too(
    tmp_path: Path,
) -> None:
    users = tmp_path / "users"
    users.write_text("alice:not a hash\n")
    storage = {"PYOCI_STORAGE": str(tmp_path), "PYOCI_STORAGE_USERS": str(users)}
    settings = {**storage, "PORT": str(free_port()), "WEB_CONCURRENCY": "1"}
    said = _failed_start(tmp_path, settings)
    assert said.count("Error: PYOCI_STORAGE_USERS: ") == 1
    assert "Booting worker" not in said


@pytest.mark.parametrize("bad", ["alice:not a hash\n", None])
@pytest.mark.parametrize("ended", [signal.SIGKILL, signal.SIGHUP])
def test_a_users_file_that_turns_bad_or_vanishes_closes_the_registry_and_ends_no_server(
    tmp_path: Path, http: requests.Session, ended: signal.Signals, bad: str | None
) -> None:
    """A worker that is killed or reloaded is followed by one that starts with the bad file."""
    http.headers["Connection"] = "close"  # no connection is kept alive to a worker that ends
    users = tmp_path / "users"
    users.write_text("")
    storage = {"PYOCI_STORAGE": str(tmp_path / "storage"), "PYOCI_STORAGE_USERS": str(users)}
    with gunicorn(tmp_path, storage) as server:
        [before] = server.workers
        if bad is None:
            users.unlink()
        else:
            users.write_text(bad)
        os.kill(before if ended == signal.SIGKILL else server.process.pid, ended)
        wait_until(lambda: bool(server.workers) and before not in server.workers)
        assert http.get(f"{server.url}/v2/", timeout=PATIENCE).status_code == 503
        assert http.get(f"{server.url}/health", timeout=PATIENCE).ok
        users.write_text("")
        wait_until(lambda: http.get(f"{server.url}/v2/", timeout=PATIENCE).status_code == 401)


@pytest.mark.parametrize("ended", [signal.SIGKILL, signal.SIGHUP])
def test_folders_and_a_ca_bundle_that_vanish_end_no_server(
    tmp_path: Path, http: requests.Session, ended: signal.Signals
) -> None:
    http.headers["Connection"] = "close"  # no connection is kept alive to a worker that ends
    spool, bundle, storage = tmp_path / "spool", tmp_path / "bundle.pem", tmp_path / "storage"
    spool.mkdir()
    bundle.touch()
    settings = {"PYOCI_SPOOL": str(spool), "REQUESTS_CA_BUNDLE": str(bundle)}
    settings |= {"PYOCI_STORAGE": str(storage), "PYOCI_REGISTRIES": "127.0.0.1:*"}
    with gunicorn(tmp_path, settings) as server:
        [before] = server.workers
        bundle.unlink()
        for folder in (spool, storage):
            folder.rename(folder.with_suffix(".away"))
        os.kill(before if ended == signal.SIGKILL else server.process.pid, ended)
        wait_until(lambda: bool(server.workers) and before not in server.workers)
        assert http.get(f"{server.url}/health", timeout=PATIENCE).ok
        page = http.get(f"{server.url}/127.0.0.1:{free_port()}/team/pkg/", timeout=PATIENCE)
        assert page.status_code == 502
        assert "this server's CA bundle can no longer be read" in page.text
        body = {":action": "file_upload", "protocol_version": "1", "name": "a", "version": "1.0"}
        upload = http.post(
            f"{server.url}/127.0.0.1:{free_port()}/team/",
            data=body,
            files={"content": ("a-1-py3-none-any.whl", b"x" * 3_000_000)},
            timeout=PATIENCE,
        )
        assert upload.status_code == 507
        assert "PYOCI_SPOOL: No such file or directory" in upload.text
        for folder in (spool, storage):
            folder.with_suffix(".away").rename(folder)
        wheel = make_wheel(tmp_path, "a", "1.0")
        with wheel.open("rb") as content:
            files = {"content": (wheel.name, content)}
            done = http.post(f"{server.url}/simple/", data=body, files=files, timeout=PATIENCE)
        assert done.ok, done.text


def test_the_heartbeat_finds_another_place(tmp_path: Path, http: requests.Session) -> None:
    missing = tmp_path / "missing"
    with gunicorn(tmp_path, None, "--worker-tmp-dir", str(missing)) as server:
        assert http.get(f"{server.url}/health", timeout=PATIENCE).ok
        assert f"no heartbeat file in {missing} (" in server.logged()


def test_a_worker_that_starts_with_an_empty_mount_point_treats_the_storage_as_missing(
    tmp_path: Path, http: requests.Session
) -> None:
    http.headers["Connection"] = "close"  # no connection is kept alive to a worker that ends
    storage = tmp_path / "storage"
    with gunicorn(tmp_path, {"PYOCI_STORAGE": str(storage)}) as server:
        [before] = server.workers
        storage.rename(tmp_path / "away")
        storage.mkdir()
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: bool(server.workers) and before not in server.workers)
        assert http.get(f"{server.url}/v2/_catalog", timeout=PATIENCE).status_code == 503
        storage.rmdir()
        (tmp_path / "away").rename(storage)
        assert http.get(f"{server.url}/v2/_catalog", timeout=PATIENCE).json() == {
            "repositories": []
        }


def test_a_warning_is_logged_once_for_all_workers(tmp_path: Path) -> None:
    settings = {
        "WEB_CONCURRENCY": "3",
        "PYOCI_PATH": "/acme",
        "PYOCI_URL": "https://packages.example.com/other",
        "RUST_LOG": "nonsense!",
    }
    with gunicorn(tmp_path, settings) as server:
        wait_until(lambda: len(server.workers) == 3)
    said = server.logged()
    for text in ("RUST_LOG: ", "neither PYOCI_REGISTRIES", "does not end in PYOCI_PATH"):
        assert said.count(text) == 1


@pytest.mark.parametrize("url", ["https://packages.example.com/acme", "https://p.example/x/acme/"])
def test_a_public_address_with_the_sub_path_is_not_warned_of(tmp_path: Path, url: str) -> None:
    with gunicorn(tmp_path, {"PYOCI_PATH": "/acme", "PYOCI_URL": url}) as server:
        pass
    assert "PYOCI_PATH" not in server.logged()


def test_the_log_level_is_gunicorns_too(tmp_path: Path) -> None:
    with gunicorn(tmp_path, {"LOG_LEVEL": "error"}) as server:
        pass
    assert server.logged() == ""


def test_leftovers_of_a_killed_server_are_removed_at_the_next_start(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()

    def left() -> set[Path]:
        return set(spool.glob("pyoci-flask-cache-*"))

    with gunicorn(tmp_path, {"PYOCI_SPOOL": str(spool)}) as one:
        workers = [os.pidfd_open(pid) for pid in one.workers]
        one.process.kill()
        one.process.wait()
        for worker in workers:  # they end when they notice
            assert select.select([worker], [], [], PATIENCE)[0]
            os.close(worker)
    before = left()
    assert len(before) == 1
    with gunicorn(tmp_path, {"PYOCI_SPOOL": str(spool)}):
        assert len(left()) == 1
        with gunicorn(tmp_path, {"PYOCI_SPOOL": str(spool)}):
            assert len(left()) == 2
        assert not left() & before
    assert not left()


def test_a_storage_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A folder in which not even root can create anything."""
    settings = {"PYOCI_STORAGE": "/proc/self", "PORT": str(free_port()), "WEB_CONCURRENCY": "1"}
    said = _failed_start(tmp_path, settings)
    assert said.count("Error: PYOCI_STORAGE must be a writable folder (") == 1


def test_a_ca_bundle_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    settings = {"REQUESTS_CA_BUNDLE": "/nonexistent", "PORT": str(free_port())}
    said = _failed_start(tmp_path, {**settings, "WEB_CONCURRENCY": "1"})
    assert said.count("Error: REQUESTS_CA_BUNDLE must be ") == 1


def test_open_storage_listens_on_loopback_only(tmp_path: Path) -> None:
    with gunicorn(tmp_path, {"PYOCI_STORAGE": str(tmp_path / "storage")}) as server:
        [line] = [line for line in server.logged().splitlines() if "Listening at: " in line]
        addresses = re.findall(r"http://([^,\s]+):\d+", line)
    assert set(addresses) <= {"127.0.0.1", "[::1]"}
    assert "127.0.0.1" in addresses


@pytest.mark.parametrize("address", ["0.0.0.0", "[::]", ""])
def test_open_storage_refuses_to_be_bound_to_the_network(tmp_path: Path, address: str) -> None:
    storage = {"PYOCI_STORAGE": str(tmp_path / "storage")}
    text = _failed_start(tmp_path, storage, "--bind", f"{address}:{free_port()}")
    assert "Error: PYOCI_STORAGE without PYOCI_STORAGE_USERS" in text
    assert "Listening" not in text


def test_open_storage_refuses_a_socket_of_the_network_that_is_handed_over(tmp_path: Path) -> None:
    storage = environment(tmp_path, {"PYOCI_STORAGE": str(tmp_path / "storage")})
    with socket.create_server(("0.0.0.0", 0)) as listener:
        done = subprocess.run(
            gunicorn_command("--bind", f"fd://{listener.fileno()}"),
            cwd=ROOT,
            env=storage,
            pass_fds=[listener.fileno()],
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            text=True,
        )
    assert done.returncode != 0
    assert "Error: PYOCI_STORAGE without PYOCI_STORAGE_USERS" in done.stderr
    assert "Booting worker" not in done.stderr


def test_open_storage_may_be_served_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    storage = {"PYOCI_STORAGE": str(tmp_path / "storage")}
    with (
        gunicorn(tmp_path, storage, "--bind", f"unix:{path}", ready=path.is_socket) as server,
        socket.socket(socket.AF_UNIX) as client,
    ):
        client.connect(str(path))
        client.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.0 200 ")
    assert f"Listening at: unix:{path}" in server.logged()


def test_without_storage_it_listens_on_ipv4_and_ipv6(tmp_path: Path) -> None:
    with gunicorn(tmp_path) as server:
        for host in [LOOPBACK, *(["::1"] if _has_ipv6() else [])]:
            with contextlib.closing(http.client.HTTPConnection(host, server.port)) as client:
                client.request("GET", "/health")
                assert client.getresponse().status == 200


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_worker_that_is_just_starting_does_not_delay_the_stop(
    tmp_path: Path, sent: signal.Signals
) -> None:
    forked = tmp_path / "forked"
    conf = tmp_path / "conf.py"
    conf.write_text(
        f"import sys, time\nsys.path.insert(0, {str(ROOT)!r})\n"
        f"exec(open({str(ROOT / 'gunicorn.conf.py')!r}).read())\n"
        # It never gets as far as its own handlers.
        f"def post_fork(server, worker):\n"
        f"    open({str(forked)!r}, 'w').close()\n"
        f"    while True:\n        time.sleep(1)\n"
    )
    options = ("-c", str(conf), "--graceful-timeout", str(int(10 * PATIENCE)))
    with gunicorn(tmp_path, None, *options, ready=forked.exists) as server:
        server.process.send_signal(sent)
        assert server.process.wait(PATIENCE) == 0
