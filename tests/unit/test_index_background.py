import gc
import logging
import threading
import weakref
from contextvars import ContextVar

import flask
import pytest

from pyoci_flask.index.background import Background
from pyoci_flask.index.fetch import FetchPool
from tests.patience import PATIENCE
from tests.servers import wait_until

number: ContextVar[int] = ContextVar("number", default=0)
ONE, OTHER = "one.example", "other.example"


class Hanging:
    """A function that runs until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.began = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)

    def __call__(self) -> None:
        self.began.release()
        self.let_go.wait(PATIENCE)
        self.ended.release()


@pytest.fixture
def hang() -> Hanging:
    return Hanging()


def test_functions_use_a_quarter_of_the_threads_and_one_registry_half_of_that(
    hang: Hanging,
) -> None:
    pool = FetchPool(8)
    assert [pool.begin_background(ONE, hang) for _ in range(3)] == [True, True, False]
    assert [pool.begin_background(OTHER, hang) for _ in range(3)] == [True, True, False]
    assert not pool.begin_background("third.example", hang)
    hang.let_go.set()
    for _ in range(4):
        assert hang.ended.acquire(timeout=PATIENCE)
    wait_until(lambda: pool.begin_background(ONE, lambda: None), PATIENCE)
    pool.close()


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_small_pool_has_one_thread_for_the_background(hang: Hanging, width: int) -> None:
    pool = FetchPool(width)
    assert pool.begin_background(ONE, hang)
    assert not pool.begin_background(ONE, hang)
    assert not pool.begin_background(OTHER, hang)
    hang.let_go.set()
    pool.close()


def test_a_listing_has_its_whole_width_beside_the_background(hang: Hanging) -> None:
    pool = FetchPool(4)
    while pool.begin_background(ONE, hang):
        pass
    together = threading.Barrier(4)
    threads = pool.map(
        ONE, lambda _: (together.wait(PATIENCE), threading.current_thread().name)[1], range(4)
    )
    assert all(name.startswith("fetch") for name in threads)
    hang.let_go.set()
    pool.close()


def test_nothing_runs_in_the_background_while_listings_use_all_threads(hang: Hanging) -> None:
    pool = FetchPool(1)
    listings = [
        threading.Thread(target=pool.map, args=(name, lambda _: hang(), [1])) for name in "ab"
    ]
    for one in listings:
        one.start()
    for _ in listings:
        assert hang.began.acquire(timeout=PATIENCE)
    assert not pool.begin_background(ONE, hang)
    hang.let_go.set()
    for one in listings:
        one.join()
    wait_until(lambda: pool.begin_background(ONE, lambda: None), PATIENCE)
    pool.close()


def test_a_closed_pool_begins_nothing(hang: Hanging) -> None:
    pool = FetchPool(8)
    assert pool.begin_background(ONE, hang)
    assert not pool.closed
    pool.close()
    assert pool.closed
    assert not pool.begin_background(ONE, hang)
    hang.let_go.set()


def test_a_refused_thread_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    background, ended = Background(1), threading.Event()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert not background.begin(ONE, lambda: None, ended.set)
    assert not ended.is_set()
    assert background.begin(ONE, lambda: None, ended.set)
    assert ended.wait(PATIENCE)


def test_an_error_is_logged_and_ends_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    background, ended = Background(1), threading.Event()
    with caplog.at_level(logging.ERROR, "pyoci.index"):
        assert background.begin(ONE, {}.popitem, ended.set)
        assert ended.wait(PATIENCE)
    assert "work in the background failed" in caplog.text
    assert "KeyError" in caplog.text
    ended.clear()
    assert background.begin(ONE, lambda: None, ended.set)
    assert ended.wait(PATIENCE)


def test_functions_see_the_context_but_do_not_keep_the_request_alive(hang: Hanging) -> None:
    app = flask.Flask("test")
    background, ended = Background(1), threading.Event()
    seen: list[tuple[int, bool]] = []

    def look() -> None:
        seen.append((number.get(), flask.has_request_context()))
        number.set(1)
        hang()

    with app.test_request_context():
        request = weakref.ref(flask.request._get_current_object())
        number.set(7)
        assert background.begin(ONE, look, ended.set)
    assert hang.began.acquire(timeout=PATIENCE)
    gc.collect()
    assert request() is None
    assert seen == [(7, False)]
    assert number.get() == 7
    hang.let_go.set()
    assert ended.wait(PATIENCE)
