"""An OCI registry for one machine, which stores everything in a folder.

It implements the distribution specification 1.1 and stores each repository as an OCI image layout.
"""

from pathlib import Path

from pyoci_flask.registry.wsgi import EmbeddedRegistry


def create_registry(
    storage: Path,
    users: Path | None = None,
    *,
    prepare: bool = True,
    public_url: str | None = None,
) -> EmbeddedRegistry:
    """Return the registry that stores its repositories in the folder `storage`.

    It is served below `/v2/`. `users` is an htpasswd file of its users. Without such a file, anyone
    may do anything. While the file is not valid, every request returns 503.

    If `prepare` is true, make the folder if it is missing; raise `UsersFileError` (a `ValueError`)
    if the users file is not valid, and `OSError` if the folder cannot be made. If `prepare` is
    false, only responses show that something is wrong with the file or the folder.

    `public_url` is another address of this server, besides the one in a request. Pages of that
    origin may send changes.
    """
    return EmbeddedRegistry(storage, users, prepare=prepare, public_url=public_url)
