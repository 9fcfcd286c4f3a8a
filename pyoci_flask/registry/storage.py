"""The folder of all repositories: where each is kept, and which there are."""

import logging
import os
import stat
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from pyoci_flask.registry.errors import RegistryError, name_unknown, unforeseen
from pyoci_flask.registry.files import FOLDER_MODE, FileCache, make_folder
from pyoci_flask.registry.index import LayoutIndex, parse_index
from pyoci_flask.registry.layout import INDEX_FILE, LAYOUT_FILE, Repository
from pyoci_flask.registry.names import RepositoryName, parse_name

logger = logging.getLogger(__name__)

CACHED_INDEXES = 256
UPLOADS = ".uploads"

# A repository lies in the folder of its name, and below it those whose names go on. The three
# components that would meet a layout's own files begin with a character that no component has.
_LAYOUT_NAMES = frozenset({"blobs", INDEX_FILE, LAYOUT_FILE})
_ESCAPE = "_"


class Storage:
    """The repositories below one folder, which has to be one file system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.uploads = self.folder / UPLOADS
        self._index = lru_cache(maxsize=CACHED_INDEXES)(_index_cache)

    def make(self) -> None:
        """Make the folder, if it is missing; raises `OSError` if it cannot be made."""
        make_folder(self.folder)
        self.prepare()

    def prepare(self) -> None:
        """Make what is needed in the folder; raises `OSError` if it cannot be, or is missing.

        A folder that is missing all at once may be a disk that is not mounted: one made in its
        place would take what is pushed and hide it later.

        A folder that other users of the machine can enter is closed to them: older versions
        made folders and files that everyone could read.
        """
        self.uploads.mkdir(FOLDER_MODE, exist_ok=True)
        mode = stat.S_IMODE(self.folder.stat().st_mode)
        if mode & stat.S_IRWXO:
            try:
                self.folder.chmod(mode & ~stat.S_IRWXO)
            except OSError as error:
                reason = error.strerror
                logger.warning("every user of this machine can enter %s: %s", self.folder, reason)

    def check(self) -> None:
        """Raise `RegistryError` (503) if the folder is not the one that was prepared.

        It may be a disk that went away, and "no such repository" would then be a lie that sends
        clients to look elsewhere, where anybody may have published under that name.
        """
        if not self.uploads.is_dir():
            logger.error("%s is not there: is the disk of the storage mounted?", self.uploads)
            raise unforeseen(
                "the registry's storage is not there (a disk that is not mounted?)", status=503
            )

    def repository(self, name: RepositoryName) -> Repository:
        """Return the repository of that name, there or not.

        Raises `RegistryError`: NAME_UNKNOWN if a symbolic link leads out of the storage, 503 if the
        storage is not there, 500 if the repository has lost its index.
        """
        self.check()
        folder = self.folder.joinpath(*(_file_name(part) for part in name.split("/")))
        cache = self._index(folder / INDEX_FILE)
        repository = Repository(name, folder, self.uploads, cache)
        if not self._is_inside(repository):
            logger.warning("repository %s leads out of the storage and is not served", name)
            raise name_unknown(name)
        if repository.has_lost_index():
            logger.error("%s has blobs and no %s", folder, INDEX_FILE)
            raise unforeseen(f"this repository has lost its {INDEX_FILE}")
        return repository

    def _is_inside(self, repository: Repository) -> bool:
        own = (
            repository.folder / "blobs",
            *repository.blob_folders,
            repository.markers,
            repository.referrers,
            repository.folder / INDEX_FILE,
        )
        if any(path.is_symlink() for path in own):
            return False
        return Path(os.path.realpath(repository.folder)).is_relative_to(self.folder)

    def repositories(self) -> Iterator[RepositoryName]:
        """Yield the names of all repositories, in no particular order.

        Raises `RegistryError` (503) if the storage is not there.
        """
        self.check()
        for folder, below, files in os.walk(self.folder):
            below[:] = [name for name in below if name != "blobs" and not name.startswith(".")]
            if INDEX_FILE not in files:
                continue
            parts = Path(folder).relative_to(self.folder).parts
            try:
                yield parse_name("/".join(part.removeprefix(_ESCAPE) for part in parts))
            except RegistryError:
                logger.warning("%s is not a repository's folder", folder)


def _index_cache(path: Path) -> FileCache[LayoutIndex]:
    return FileCache(path, parse_index, parse_index)


def _file_name(component: str) -> str:
    return _ESCAPE + component if component in _LAYOUT_NAMES else component
