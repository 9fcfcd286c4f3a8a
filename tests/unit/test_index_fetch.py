import threading
from contextvars import ContextVar

import pytest

from pyoci_flask.index.fetch import FetchPool

number: ContextVar[int] = ContextVar("number", default=0)


def test_results_come_in_the_order_of_the_items() -> None:
    pool = FetchPool(8)
    assert pool.map(lambda item: item * 2, range(100)) == [item * 2 for item in range(100)]
    assert pool.map(lambda item: item, []) == []
    pool.close()


def test_calls_run_side_by_side_and_no_more_than_the_pool_has_threads() -> None:
    pool = FetchPool(4)
    together = threading.Barrier(4)
    names = pool.map(lambda _: (together.wait(10), threading.current_thread().name)[1], range(8))
    assert len(set(names)) == 4
    pool.close()


def test_calls_see_the_callers_context_and_change_none() -> None:
    pool = FetchPool(1)
    number.set(7)

    def change(item: int) -> int:
        seen = number.get()
        number.set(item)
        return seen

    assert pool.map(change, [1, 2]) == [7, 7]
    assert number.get() == 7
    pool.close()


def test_first_error_is_raised_and_the_rest_is_dropped() -> None:
    pool = FetchPool(1)
    done: list[int] = []

    def fail(item: int) -> None:
        done.append(item)
        raise KeyError(item)

    with pytest.raises(KeyError, match="0"):
        pool.map(fail, range(1000))
    pool.close()
    assert len(done) < 1000
