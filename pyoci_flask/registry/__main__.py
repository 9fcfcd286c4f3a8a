"""Maintenance of a storage folder: `python -m pyoci_flask.registry gc FOLDER`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pyoci_flask.registry.errors import RegistryError
from pyoci_flask.registry.gc import Freed, collect_repository, collect_uploads
from pyoci_flask.registry.index import DamagedIndexError
from pyoci_flask.registry.storage import UPLOADS, Storage


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 1 if a repository had to be left alone."""
    parser = argparse.ArgumentParser(prog="python -m pyoci_flask.registry")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    gc = commands.add_parser("gc", help="remove what no tag leads to any more, and stale uploads")
    gc.add_argument("folder", type=Path, help="the storage folder (PYOCI_STORAGE)")
    gc.add_argument("--dry-run", action="store_true", help="only tell what would be removed")
    options = parser.parse_args(arguments)
    if not (options.folder / UPLOADS).is_dir():
        parser.error(f"{options.folder} is not a storage folder")
    return _collect(Storage(options.folder), dry_run=options.dry_run)


def _collect(storage: Storage, *, dry_run: bool) -> int:
    failed = 0
    freed = [collect_uploads(storage, dry_run=dry_run)]
    _tell("uploads", freed[0])
    for name in sorted(storage.repositories()):
        try:
            freed.append(collect_repository(storage, name, dry_run=dry_run))
        except (RegistryError, DamagedIndexError, OSError) as error:
            failed = 1
            sys.stderr.write(f"{name}: left alone: {error}\n")
        else:
            _tell(name, freed[-1])
    total = Freed(sum(part.files for part in freed), sum(part.size for part in freed))
    _tell("would be freed" if dry_run else "freed", total)
    return failed


def _tell(what: str, freed: Freed) -> None:
    sys.stdout.write(f"{what}: {freed.files} files, {freed.size} bytes\n")


if __name__ == "__main__":
    sys.exit(main())
