"""An OCI registry for one machine, which keeps everything in a folder.

It speaks the distribution specification 1.1 and stores each repository as an OCI image layout.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from pyoci_flask.registry.wsgi import EmbeddedRegistry

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def create_registry(
    storage: Path,
    users: Path | None = None,
    *,
    prepare: bool = True,
    public_url: str | None = None,
) -> "WSGIApplication":
    """Return the registry that stores its repositories in the folder `storage`.

    It answers at `/v2/`. `users` is an htpasswd file of its users. Without one, everybody may do
    everything. While the file is not valid, every request is answered with 503.

    If `prepare` is true, the folder is made if it is missing; raises `UsersFileError` (a
    `ValueError`) if the users file is not valid, and `OSError` if the folder cannot be made. If it
    is false, only the answers show that something is wrong with the file or the folder.

    `public_url` is another address of this server, besides the one that a request names. Pages of
    its origin may send changes.
    """
    return EmbeddedRegistry(storage, users, prepare=prepare, public_url=public_url)
