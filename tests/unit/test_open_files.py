import resource

import pytest

from pyoci_flask.server.master import connections_that_fit, raise_limit


@pytest.mark.parametrize(
    ("wanted", "limit", "threads", "fetch_threads", "fitting"),
    [
        (1064, 65536, 64, 32, 1064),
        (1064, 1704, 64, 32, 1064),
        (1064, 1703, 64, 32, 1063),
        (1064, 1024, 64, 32, 512),
        (1064, 256, 64, 32, 128),
        (5096, 1024, 4096, 32, 512),
        (100, 1024, 4, 4, 100),
        (1064, 1, 64, 32, 1),
    ],
)
def test_connections_leave_room_for_what_else_is_open(
    wanted: int, limit: int, threads: int, fetch_threads: int, fitting: int
) -> None:
    found = connections_that_fit(wanted, limit, threads=threads, fetch_threads=fetch_threads)
    assert found == fitting


def test_the_limit_is_told_and_never_lowered() -> None:
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = raise_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (told, hard)
    assert told >= before
    assert raise_limit() == told
