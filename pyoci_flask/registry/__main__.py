"""Maintenance of a storage folder: `python -m pyoci_flask.registry gc FOLDER`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pyoci_flask.registry.errors import DistributionError
from pyoci_flask.registry.gc import Freed, collect_repository, collect_uploads
from pyoci_flask.registry.layout_index import DamagedIndexError
from pyoci_flask.registry.storage import UPLOADS, Storage


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 1 if a repository could not be collected."""
    parser = argparse.ArgumentParser(prog="python -m pyoci_flask.registry")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    gc = commands.add_parser("gc", help="remove stale uploads and content that no tag refers to")
    gc.add_argument("folder", type=Path, help="the storage folder (PYOCI_STORAGE)")
    gc.add_argument("--dry-run", action="store_true", help="only print what would be removed")
    options = parser.parse_args(arguments)
    if not (options.folder / UPLOADS).is_dir():
        parser.error(f"{options.folder} is not a storage folder")
    return _collect(Storage(options.folder), dry_run=options.dry_run)


def _collect(storage: Storage, *, dry_run: bool) -> int:
    failed = 0
    freed = [collect_uploads(storage, dry_run=dry_run)]
    _print("uploads", freed[0])
    for name in sorted(storage.repositories()):
        try:
            freed.append(collect_repository(storage, name, dry_run=dry_run))
        except (DistributionError, DamagedIndexError, OSError) as error:
            failed = 1
            sys.stderr.write(f"{name}: left alone: {error}\n")
        else:
            _print(name, freed[-1])
    total = Freed(sum(part.files for part in freed), sum(part.size for part in freed))
    _print("would be freed" if dry_run else "freed", total)
    return failed


def _print(what: str, freed: Freed) -> None:
    sys.stdout.write(f"{what}: {freed.files} files, {freed.size} bytes\n")


if __name__ == "__main__":
    sys.exit(main())
