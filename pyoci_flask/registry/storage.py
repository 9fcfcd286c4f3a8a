"""The folder of all repositories: where each one is stored, and which ones exist."""

import logging
import os
import stat
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from pyoci_flask.registry.errors import DistributionError, name_unknown, unforeseen
from pyoci_flask.registry.files import FOLDER_MODE, FileCache, make_folders
from pyoci_flask.registry.layout import ImageLayout
from pyoci_flask.registry.layout_index import parse_index
from pyoci_flask.registry.layout_paths import INDEX_FILE, LAYOUT_FILE
from pyoci_flask.registry.names import RepositoryName, parse_name

logger = logging.getLogger(__name__)

CACHED_INDEXES = 256
UPLOADS = ".uploads"

# A repository is stored in the folder of its name. That folder also contains the repositories whose
# names begin with that name. The three components that a layout uses for its own files get a prefix
# with which no component can begin.
_LAYOUT_NAMES = frozenset({"blobs", INDEX_FILE, LAYOUT_FILE})
_ESCAPE = "_"


class Storage:
    """The repositories in a folder. The whole folder must be on one file system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.uploads = self.folder / UPLOADS
        self._mark = str(self.uploads)
        self._places = lru_cache(maxsize=CACHED_INDEXES)(self._place)

    def make(self) -> None:
        """Make the folder if it is missing; raise `OSError` if that fails."""
        make_folders(self.folder)
        self.prepare()

    def prepare(self) -> None:
        """Make what the storage needs in its folder; raise `OSError` if the folder is missing.

        If the folder has disappeared, its disk may not be mounted. A new folder in its place would
        receive new content, which would be hidden once the disk is mounted.

        This removes other users' access to the folder, because older versions made folders and
        files that everyone could read.
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
        """Raise `DistributionError` (503) if the folder is not the one that was prepared.

        Its disk may have been unmounted. The error "no such repository" would then be wrong, and
        clients would look for the package in another index, where anyone may have published it.
        """
        if not os.path.isdir(self._mark):  # noqa: PTH112 - every call asks, and this is faster
            logger.error("%s is not there. Is the disk of the storage mounted?", self.uploads)
            raise unforeseen(
                "the registry's storage is not there (is its disk not mounted?)", status=503
            )

    def layout(self, name: RepositoryName) -> ImageLayout:
        """Return the layout of a repository, which need not exist.

        Raises `DistributionError`: NAME_UNKNOWN if a symbolic link leads out of the storage, 503 if
        the storage is missing, 500 if the repository has lost its index.
        """
        self.check()
        layout, within, above = self._places(name)
        if not self._is_inside(layout.folder, within, above):
            logger.warning("%s is not served: a symbolic link leads out of the storage", name)
            raise name_unknown(name)
        if layout.has_lost_index():
            logger.error("%s has blobs and no %s", layout.folder, INDEX_FILE)
            raise unforeseen(f"this repository has lost its {INDEX_FILE}")
        return layout

    def _place(self, name: RepositoryName) -> tuple[ImageLayout, tuple[str, ...], tuple[str, ...]]:
        """Return a layout, the paths within it, and those from its folder up to the storage."""
        folder = self.folder.joinpath(*(_file_name(part) for part in name.split("/")))
        cache = FileCache(folder / INDEX_FILE, parse_index, parse_index)
        layout = ImageLayout(folder, name, self.uploads, cache)
        within = (
            folder / "blobs",
            *layout.blob_folders,
            layout.markers,
            layout.referrers,
            folder / INDEX_FILE,
        )
        parents = folder.parents[: len(folder.relative_to(self.folder).parts)]
        return layout, tuple(map(str, within)), tuple(map(str, (folder, *parents)))

    def _is_inside(self, folder: Path, within: Iterable[str], above: Iterable[str]) -> bool:
        if any(map(os.path.islink, within)):
            return False
        if not any(map(os.path.islink, above)):
            return True
        return Path(os.path.realpath(folder)).is_relative_to(self.folder)

    def repositories(self) -> Iterator[RepositoryName]:
        """Yield the names of all repositories, in no particular order.

        Raises `DistributionError` (503) if the storage is missing.
        """
        self.check()
        for folder, below, files in os.walk(self.folder):
            below[:] = [name for name in below if name != "blobs" and not name.startswith(".")]
            if INDEX_FILE not in files:
                continue
            parts = Path(folder).relative_to(self.folder).parts
            try:
                yield parse_name("/".join(part.removeprefix(_ESCAPE) for part in parts))
            except DistributionError:
                logger.warning("%s is not the folder of a repository", folder)


def _file_name(component: str) -> str:
    return _ESCAPE + component if component in _LAYOUT_NAMES else component
