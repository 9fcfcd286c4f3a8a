import socket
import threading
from concurrent.futures import ThreadPoolExecutor

from pyoci_flask.transport.deadline import Deadlines
from tests.patience import PATIENCE


def test_what_takes_too_long_is_aborted() -> None:
    here, there = socket.socketpair()
    with here, there, Deadlines().limit(0.1, lambda: here.shutdown(socket.SHUT_RDWR)) as limit:
        here.settimeout(PATIENCE)
        assert here.recv(1) == b""
        assert limit.expired


def test_what_is_done_in_time_is_never_aborted() -> None:
    deadlines, aborted, later = Deadlines(), threading.Event(), threading.Event()
    with deadlines.limit(0.5, aborted.set) as limit:
        pass
    with deadlines.limit(0.6, later.set):  # its time comes after that of the first
        assert later.wait(PATIENCE)
    assert not limit.expired
    assert not aborted.is_set()


def test_short_limit_does_not_wait_for_a_long_one_that_began_before() -> None:
    deadlines, long, short = Deadlines(), threading.Event(), threading.Event()
    with deadlines.limit(2 * PATIENCE, long.set), deadlines.limit(0.05, short.set):
        assert short.wait(PATIENCE)
        assert not long.is_set()


def test_abort_that_fails_does_not_end_the_watch() -> None:
    deadlines, failed, second = Deadlines(), threading.Event(), threading.Event()

    def fail() -> None:
        failed.set()
        raise OSError("the socket is closed")

    with deadlines.limit(0.01, fail):
        assert failed.wait(PATIENCE)
    with deadlines.limit(0.01, second.set):
        assert second.wait(PATIENCE)


def test_many_limits_at_once_expire_each_for_itself() -> None:
    deadlines = Deadlines()

    def one(number: int) -> tuple[bool, bool]:
        aborted = threading.Event()
        expires = number % 2 == 0
        with deadlines.limit(0.05 if expires else 2 * PATIENCE, aborted.set) as limit:
            if expires:
                aborted.wait(PATIENCE)
        return limit.expired, aborted.is_set()

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(one, range(64)))
    assert results == [(number % 2 == 0, number % 2 == 0) for number in range(64)]


def test_all_limits_are_watched_by_one_thread() -> None:
    before = threading.active_count()
    deadlines = Deadlines()
    for _ in range(20):
        with deadlines.limit(60, lambda: None):
            pass
    assert threading.active_count() <= before + 1
