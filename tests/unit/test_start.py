"""What is looked at once per start: the files and folders that settings name."""

from pathlib import Path

import pytest

from pyoci_flask.errors import ConfigurationError
from pyoci_flask.server.start import check_paths, keep_cache, prepare_folders, seen_at_start
from pyoci_flask.settings import Settings


def test_the_folder_of_the_embedded_registry_is_made(tmp_path: Path) -> None:
    storage = tmp_path / "new" / "folder"
    for _ in range(2):
        check_paths(Settings(storage=storage))
        assert storage.is_dir()


def test_storage_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"^PYOCI_STORAGE must be a folder .*, not '/.*'$"):
        check_paths(Settings(storage=tmp_path / "file" / "below"))


def test_users_must_be_an_existing_file_and_spool_an_existing_folder(tmp_path: Path) -> None:
    users, missing = tmp_path / "users", tmp_path / "missing"
    users.touch()
    check_paths(Settings(storage_users=users, spool=tmp_path))
    for path in (missing, tmp_path):
        with pytest.raises(ConfigurationError, match=r"^PYOCI_STORAGE_USERS must be an existing f"):
            check_paths(Settings(storage_users=path))
    for path in (missing, users):
        with pytest.raises(ConfigurationError, match=r"^PYOCI_SPOOL must be an existing folder"):
            check_paths(Settings(spool=path))


def test_a_worker_that_begins_later_makes_nothing_in_an_empty_mount_point(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    storage.mkdir()
    settings = Settings(storage=storage, spool=tmp_path)
    seen = seen_at_start(settings)
    prepare_folders(settings, seen)  # the first worker may be the one who can
    assert (storage / ".uploads").is_dir()

    away = storage.rename(tmp_path / "away")
    storage.mkdir()
    with pytest.raises(
        ConfigurationError, match=r"^PYOCI_STORAGE is not the same folder as at startup"
    ):
        prepare_folders(settings, seen)
    assert not list(storage.iterdir())

    storage.rmdir()
    away.rename(storage)
    prepare_folders(settings, "another device: mounted again")


def test_without_a_setting_no_cache_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    assert keep_cache(Settings()) is None
    assert not caplog.records


def test_the_kept_cache_is_made_with_its_parents(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "cache"
    kept = keep_cache(Settings(cache_folder=folder))
    assert kept is not None
    assert (kept.parent, kept.is_dir()) == (folder, True)


def test_without_caching_no_old_listing_waits_for_a_later_start(tmp_path: Path) -> None:
    kept = keep_cache(Settings(cache_folder=tmp_path))
    assert kept is not None
    assert kept.is_dir()
    assert keep_cache(Settings(cache_folder=tmp_path, cache_ttl=0)) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("below", "reason"),
    [("", "it is not a folder"), ("below", "/file/below: Not a directory")],
)
def test_a_folder_that_cannot_be_kept_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, below: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    assert keep_cache(Settings(cache_folder=tmp_path / "file" / below)) is None
    [record] = caplog.records
    assert record.getMessage().startswith("PYOCI_CACHE_FOLDER cannot be used, so the listing cache")
    assert record.getMessage().endswith(reason)
