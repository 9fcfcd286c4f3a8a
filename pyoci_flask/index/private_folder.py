"""Folders that only this user may enter, in places such as /tmp where others may write.

The locks and the listing cache both need one.
"""

import os
from pathlib import Path


class NotOursError(OSError):
    """The folder belongs to another user."""


def make_private(folder: Path) -> None:
    """Make `folder` for this user only, if it is not there yet.

    Raises:
        NotOursError: the path is a link, or a folder of another user.
        OSError: the folder cannot be made.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.geteuid() or folder.is_symlink():
        raise NotOursError(f"{folder.name} belongs to another user")
