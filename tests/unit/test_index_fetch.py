import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest

from pyoci_flask.index.fetch import FetchPool
from tests.patience import PATIENCE

number: ContextVar[int] = ContextVar("number", default=0)


def test_results_come_in_the_order_of_the_items() -> None:
    pool = FetchPool(8)
    assert pool.map("one.example", lambda item: item * 2, range(100)) == [
        item * 2 for item in range(100)
    ]
    assert pool.map("one.example", lambda item: item, []) == []
    pool.close()


def test_calls_to_one_registry_run_side_by_side_and_no_more_than_the_width() -> None:
    pool = FetchPool(4)
    together = threading.Barrier(4)
    lock, running, most = threading.Lock(), 0, 0

    def call(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(PATIENCE)
        with lock:
            running -= 1

    pool.map("one.example", call, range(8))
    assert most == 4
    pool.close()


def test_registry_that_hangs_leaves_threads_to_another() -> None:
    pool = FetchPool(2)
    let_go = threading.Event()
    slow = threading.Thread(
        target=pool.map, args=("slow.example", lambda _: let_go.wait(PATIENCE), range(8))
    )
    slow.start()
    try:
        assert pool.map("one.example", lambda item: item, range(8)) == list(range(8))
        assert slow.is_alive()
    finally:
        let_go.set()
        slow.join()
        pool.close()


def test_where_all_threads_hang_a_listing_makes_its_calls_itself() -> None:
    pool = FetchPool(2)
    let_go = threading.Event()
    hanging = threading.Semaphore(0)

    def hang(_: int) -> None:
        hanging.release()
        let_go.wait(PATIENCE)

    slow = [
        threading.Thread(target=pool.map, args=(f"{number}.example", hang, range(2)))
        for number in range(2)
    ]
    for one in slow:
        one.start()
    try:
        for _ in range(4):
            assert hanging.acquire(timeout=PATIENCE)
        number.set(7)
        calls = pool.map("one.example", lambda item: (item, number.get()), range(8))
        assert calls == [(item, 7) for item in range(8)]
        with pytest.raises(KeyError):
            pool.map("one.example", {}.__getitem__, range(8))
    finally:
        let_go.set()
        for one in slow:
            one.join()
        pool.close()


def test_calls_see_the_callers_context_and_change_none() -> None:
    pool = FetchPool(1)
    number.set(7)

    def change(item: int) -> int:
        seen = number.get()
        number.set(item)
        return seen

    assert pool.map("one.example", change, [1, 2]) == [7, 7]
    assert number.get() == 7
    pool.close()


def test_first_error_is_raised_and_the_rest_is_dropped() -> None:
    pool = FetchPool(1)
    done: list[int] = []

    def fail(item: int) -> None:
        done.append(item)
        raise KeyError(item)

    with pytest.raises(KeyError, match="0"):
        pool.map("one.example", fail, range(1000))
    pool.close()
    assert len(done) < 1000


def test_a_short_listing_does_not_wait_for_the_end_of_a_long_one() -> None:
    pool = FetchPool(4)
    done: list[str] = []
    begun = threading.Event()

    def call(name: str) -> None:
        begun.set()
        time.sleep(0.002)  # as long as a call may take; nothing is to be won by it
        done.append(name)

    with ThreadPoolExecutor(1) as other:
        long = other.submit(pool.map, "registry", call, ["long"] * 500)
        assert begun.wait(PATIENCE)
        pool.map("registry", call, ["short"] * 6)
        before = done.count("long")
        long.result()
    pool.close()
    assert before < 250


def test_calls_of_several_listings_stay_within_the_width() -> None:
    pool = FetchPool(3)
    lock, running, most = threading.Lock(), 0, 0

    def call(item: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0)  # let others run
        with lock:
            running -= 1
        return item

    with ThreadPoolExecutor(6) as listings:
        found = list(listings.map(lambda _: pool.map("registry", call, range(50)), range(6)))
    pool.close()
    assert found == [list(range(50))] * 6
    assert most <= 3


def test_an_error_does_not_wait_for_calls_that_hang() -> None:
    pool = FetchPool(2)
    let_go, hangs = threading.Event(), threading.Event()

    def call(item: int) -> None:
        if item == 0:
            hangs.set()
            let_go.wait(PATIENCE)
        else:
            assert hangs.wait(PATIENCE)
            raise KeyError(item)

    try:
        with pytest.raises(KeyError, match="1"):
            pool.map("one.example", call, range(8))
    finally:
        let_go.set()
        pool.close()


def test_an_error_keeps_nothing_alive_once_it_is_handled() -> None:
    class Kept:
        """Stands for a connection."""

    pool, kept = FetchPool(2), []

    def fail(_: int) -> None:
        connection = Kept()
        kept.append(weakref.ref(connection))
        raise KeyError

    gc.disable()
    try:
        with pytest.raises(KeyError):
            pool.map("one.example", fail, range(2))
        pool.close()  # the pool's threads forget a call when they end or begin the next
        assert pool.map("one.example", lambda item: item, range(2)) == [0, 1]
        assert [one() for one in kept] == [None] * len(kept)
    finally:
        gc.enable()


def test_calls_that_have_not_begun_when_the_pool_closes_are_dropped() -> None:
    pool = FetchPool(1)
    let_go, hangs = threading.Event(), threading.Semaphore(0)

    def hang(_: int) -> None:
        hangs.release()
        let_go.wait(PATIENCE)

    listing = threading.Thread(target=pool.map, args=("one.example", hang, range(2)))
    listing.start()
    assert hangs.acquire(timeout=PATIENCE)
    pool.close()
    assert pool.map("other.example", lambda item: item, range(3)) == [0, 1, 2]
    let_go.set()
    listing.join()
