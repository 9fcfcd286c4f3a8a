"""An OCI registry on a folder, for one machine.

Distribution specification 1.1 over HTTP, one OCI image layout per repository on disk.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from pyoci_flask.registry.app import Registry

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def create_registry(storage: Path, users: Path | None = None) -> "WSGIApplication":
    """Return the registry of the folder `storage`, which is made if it is missing.

    It answers at `/v2/`. `users` is an htpasswd file of who may use it; without one, everybody
    may do everything. Raises `UsersFileError` (a `ValueError`) if that file cannot be used, and
    `OSError` if the folder cannot be made.
    """
    return Registry(storage, users)
