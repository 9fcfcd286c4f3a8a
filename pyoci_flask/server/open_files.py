"""How many files a process may have open: each connection is one.

A worker that has no number left for a connection cannot accept it, which ends gunicorn's worker
with all its transfers; and 1024, the usual soft limit, is soon reached by idle clients.
"""

import resource

_ENOUGH = 65536
"""Where the hard limit is in the millions, that is for nobody to use up."""


def raise_limit() -> int:
    """Raise this process's soft limit as far as it may, for the workers that it forks, too.

    Returns:
        How many files it may have open now.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _ENOUGH if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft  # macOS has another limit of its own, and does not tell
    return wanted


def connections_that_fit(wanted: int, limit: int, *, threads: int, fetch_threads: int) -> int:
    """Say how many of the `wanted` connections a worker may keep where `limit` files can be open.

    Beside them are the files of the process itself, connections to registries and what uploads
    need. Half of the files are for clients whatever the rest come to: it is rare that all of them
    are needed at once.
    """
    requests = 2 * threads  # two calls side by side each
    downloads = 4 * threads  # as many are under way at most while their clients are slow
    uploads = 4 * max(1, threads // 2)  # a spooled file, a lock, and two calls side by side each
    others = 64 + requests + downloads + uploads + 2 * fetch_threads
    return max(1, min(wanted, max(limit - others, limit // 2)))
