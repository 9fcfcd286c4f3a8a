"""gunicorn.conf.py, read the way gunicorn reads it."""

import gc
import os
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config

_FILE = Path(__file__).resolve().parent.parent.parent / "gunicorn.conf.py"

Read = Callable[..., tuple[Config, dict[str, Any]]]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    """Evaluate the file with these variables only; what gunicorn makes of it, and its names."""

    def read(**environ: str) -> tuple[Config, dict[str, Any]]:
        with monkeypatch.context() as patch:
            patch.setattr("os.environ", environ)
            names = runpy.run_path(str(_FILE))
        config = Config()
        for name, value in names.items():
            if name in config.settings:
                config.set(name, value)
        config.validate()
        return config, names

    return read


def _server(*addresses: object) -> SimpleNamespace:
    """As much of gunicorn's arbiter as the hooks look at."""
    listeners = [
        SimpleNamespace(getsockname=lambda address=address: address) for address in addresses
    ]
    cfg = SimpleNamespace(address=list(addresses), uid=os.geteuid(), gid=os.getegid())
    return SimpleNamespace(cfg=cfg, LISTENERS=listeners)


def test_the_variables_of_the_environment_arrive(read: Read) -> None:
    config, _ = read(PORT="9000", WEB_CONCURRENCY="3", PYOCI_THREADS="5")
    assert {port for _, port in config.address} == {9000}
    assert (config.workers, config.threads) == (3, 5)


def test_kept_alive_connections_have_room_beside_the_most_threads(read: Read) -> None:
    config, _ = read(PYOCI_THREADS="4096")
    assert config.worker_connections - config.threads == 1000


@pytest.mark.parametrize(
    ("level", "gunicorns"),
    [("", "info"), ("debug", "info"), ("warning", "warning"), ("error", "error")],
)
def test_the_log_level_arrives_but_for_debug(read: Read, level: str, gunicorns: str) -> None:
    """At debug gunicorn prints addresses with what stands in them."""
    config, _ = read(LOG_LEVEL=level)
    assert config.loglevel == gunicorns


def test_the_control_socket_is_off_and_long_headers_are_taken(read: Read) -> None:
    config, _ = read()
    assert config.control_socket_disable
    assert config.limit_request_field_size == 32 * 1024
    assert config.worker_class.__name__ == "ClientTimeoutThreadWorker"
    assert config.accesslog is None


def test_forwarded_headers_are_trusted_from_loopback_only(read: Read) -> None:
    config, _ = read()
    assert set(config.forwarded_allow_ips) == {"127.0.0.1", "::1"}


def test_a_bad_setting_ends_with_one_line_that_names_it(read: Read) -> None:
    with pytest.raises(SystemExit) as caught:
        read(PYOCI_THREADS="many")
    assert str(caught.value).startswith("Error: PYOCI_THREADS must be ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("hook", ["on_starting", "when_ready"])
def test_open_storage_is_not_served_to_the_network(read: Read, tmp_path: Path, hook: str) -> None:
    _, names = read(PYOCI_STORAGE=str(tmp_path))
    names[hook](_server(("127.0.0.1", 8080), "/run/pyoci.sock"))
    with pytest.raises(SystemExit, match="PYOCI_STORAGE_USERS"):
        names[hook](_server(("0.0.0.0", 8080)))


@pytest.mark.parametrize("hook", ["on_starting", "when_ready"])
def test_storage_with_users_may_be_served_to_the_network(
    read: Read, tmp_path: Path, hook: str
) -> None:
    users = tmp_path / "users"
    users.touch()
    _, names = read(PYOCI_STORAGE=str(tmp_path), PYOCI_STORAGE_USERS=str(users))
    names[hook](_server(("0.0.0.0", 8080)))


def _shared(
    read: Read, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environ: dict[str, str]
) -> Path:
    """Return the folder of the listing cache that workers get."""
    _, names = read(PYOCI_SPOOL=str(tmp_path), **environ)
    monkeypatch.setattr("atexit.register", lambda _: None)
    with monkeypatch.context() as patch:
        environment: dict[str, str] = {}
        patch.setattr("os.environ", environment)
        names["on_starting"](_server(("127.0.0.1", 8080)))
    return Path(environment["PYOCI_FLASK_CACHE_FOLDER"])


def test_workers_share_the_folder_that_is_kept_if_it_can_be_used(
    read: Read, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, file = tmp_path / "cache", tmp_path / "file"
    file.touch()
    kept = _shared(read, monkeypatch, tmp_path, {"PYOCI_CACHE_FOLDER": str(folder)})
    assert kept.parent == folder
    for environ in ({}, {"PYOCI_CACHE_FOLDER": str(file)}):
        shared = _shared(read, monkeypatch, tmp_path, environ)
        assert shared.name.startswith("pyoci-flask-cache-")
        assert shared.parent == tmp_path


def test_what_was_kept_is_removed_by_a_server_that_counts_no_changes(
    read: Read, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environ = {"PYOCI_CACHE_FOLDER": str(tmp_path / "cache")}
    kept = _shared(read, monkeypatch, tmp_path, environ)
    assert kept.is_dir()
    more = {"PYOCI_CACHE_TTL": "0", "PYOCI_METRICS": "on"}
    assert _shared(read, monkeypatch, tmp_path, environ | more) != kept
    assert not kept.exists()


def test_the_collector_ignores_what_a_worker_has_loaded(read: Read) -> None:
    _, names = read()
    try:
        names["post_worker_init"](None)
        assert gc.get_freeze_count() > 1000
    finally:
        gc.unfreeze()
