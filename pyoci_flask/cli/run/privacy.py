"""Keeps what this process knows from other processes of the same user, as far as the system can."""

import ctypes
import sys

_PR_SET_DUMPABLE = 4


def hide() -> None:
    """Make the memory and environment of this process unreadable for others (prctl(2)).

    Only Linux has this. The administrator can still read them.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
