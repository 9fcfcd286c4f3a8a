"""An OCI registry on a folder, for one machine.

Distribution specification 1.1 over HTTP, one OCI image layout per repository on disk.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from pyoci_flask.registry.app import Registry

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def create_registry(
    storage: Path,
    users: Path | None = None,
    *,
    prepare: bool = True,
    public_url: str | None = None,
) -> "WSGIApplication":
    """Return the registry of the folder `storage`.

    It answers at `/v2/`. `users` is an htpasswd file of who may use it; without one, everybody
    may do everything. While that file cannot be used, requests are answered with 503.

    With `prepare`, the folder is made if it is missing. Raises `UsersFileError` (a `ValueError`) if
    the users file cannot be used, and `OSError` if the folder cannot be made. Without it, what is
    wrong with either shows in the answers only.

    `public_url` is an address of this server besides those that requests name: pages of its origin
    may send changes.
    """
    return Registry(storage, users, prepare=prepare, public_url=public_url)
