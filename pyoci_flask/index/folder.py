"""Folders of this process's own in places that others may write to, such as /tmp."""

import os
from pathlib import Path


class NotOursError(OSError):
    """The folder belongs to another user."""


def make_private(folder: Path) -> None:
    """Make `folder`, for this user only, unless it is there.

    Raises:
        NotOursError: somebody else's folder, or a link, has the name.
        OSError: it cannot be made.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.geteuid() or folder.is_symlink():
        raise NotOursError(f"{folder.name} is of another user")
