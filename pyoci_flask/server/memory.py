"""What the C library keeps of memory that was given back."""

import contextlib
import ctypes

_M_ARENA_MAX = -8
"""glibc's `mallopt(3)`."""
_ARENAS = 2


def keep_few_arenas() -> None:
    """Let the threads of this process, and of those it forks, share few pools of memory.

    glibc gives up to eight to each processor, and each keeps some of what its threads gave back:
    a worker with many threads grows for hours. They take turns in Python anyway. Other C
    libraries have no such call, and no such pools.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
