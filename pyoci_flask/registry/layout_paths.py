"""Where the parts of an image layout are, and the files that every layout has."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pyoci_flask.common.grammar import HEX_DIGITS
from pyoci_flask.registry.layout_index import EMPTY_INDEX
from pyoci_flask.registry.names import Digest

LAYOUT_FILE = "oci-layout"
INDEX_FILE = "index.json"
LAYOUT = {"imageLayoutVersion": "1.0.0"}


@dataclass(frozen=True)
class LayoutPaths:
    """The paths of a layout in `folder`. Each is made once, because every call needs them."""

    folder: Path

    @cached_property
    def blob_folders(self) -> tuple[Path, ...]:
        """The folders of all content, including manifests: one for each digest algorithm."""
        return tuple(self.folder / "blobs" / algorithm for algorithm in HEX_DIGITS)

    @cached_property
    def index_file(self) -> Path:
        """The path of `index.json`."""
        return self.folder / INDEX_FILE

    @cached_property
    def markers(self) -> Path:
        """The folder of the files that mark blobs as manifests."""
        return self.folder / ".manifests"

    @cached_property
    def referrers(self) -> Path:
        """The folder of the files that record which manifests have which subject."""
        return self.folder / ".referrers"

    def blob(self, digest: Digest) -> Path:
        """Return the path of the content with that digest, which need not exist."""
        return self._by_algorithm[digest.algorithm] / digest.hex

    def blob_name(self, digest: Digest) -> str:
        """Return the same path as text, which takes less time to make than a `Path`."""
        return f"{self._names[digest.algorithm]}{digest.hex}"

    @cached_property
    def _names(self) -> Mapping[str, str]:
        return {algorithm: f"{path}/" for algorithm, path in self._by_algorithm.items()}

    @cached_property
    def _by_algorithm(self) -> Mapping[str, Path]:
        return dict(zip(HEX_DIGITS, self.blob_folders, strict=True))

    @cached_property
    def own_files(self) -> Mapping[Path, bytes]:
        """The files of a new layout."""
        return {
            self.folder / LAYOUT_FILE: json.dumps(LAYOUT).encode(),
            self.index_file: EMPTY_INDEX.serialize(),
        }
