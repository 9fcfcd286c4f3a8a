import itertools
from collections.abc import Callable

import pytest

from pyoci_flask.errors import RateLimitedError
from pyoci_flask.transport.pace import Paces

HOST = "registry.example.com"


def clock(*times: float) -> Callable[[], float]:
    """Show these times one after the other, and the last one from then on."""
    left = list(times)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_a_registry_that_refuses_nothing_is_called_at_once() -> None:
    paces = Paces(clock(5.0))
    assert [paces.wait(HOST) for _ in range(100)] == [5.0] * 100


def test_calls_after_a_refusal_are_apart() -> None:
    paces = Paces()
    paces.slow(HOST, paces.wait(HOST), 0.0)
    began = [paces.wait(HOST) for _ in range(3)]
    assert min(later - one for one, later in itertools.pairwise(began)) >= 0.05


def test_a_refusal_of_one_host_slows_no_other() -> None:
    paces = Paces(clock(5.0))
    paces.slow(HOST, 5.0, 3.0)
    assert paces.wait("other.example.com") == 5.0


def test_calls_that_are_refused_together_slow_once() -> None:
    paces = Paces(clock(5.0, 5.0, 5.0, 5.0, 5.06))
    for _ in range(3):
        paces.slow(HOST, 4.9, 0.0)
    assert paces.wait(HOST) == 5.06


def test_a_call_that_waits_too_long_is_left_to_the_client() -> None:
    paces = Paces(clock(0.0, 0.0, 11.0))
    paces.slow(HOST, 0.0, 100.0)
    with pytest.raises(RateLimitedError, match="asks to slow down") as caught:
        paces.wait(HOST)
    assert caught.value.retry_after == "89"


def test_a_pace_is_forgotten_when_nothing_is_refused_any_more() -> None:
    paces = Paces(clock(0.0))
    paces.slow(HOST, 0.0, 0.0)
    for _ in range(100):
        paces.ease(HOST)
    assert paces.wait(HOST) == 0.0


def test_a_call_that_may_not_wait_takes_no_turn_of_others() -> None:
    paces = Paces(clock(5.0))
    assert paces.wait(HOST, may_wait=False) == 5.0
    paces.slow(HOST, 5.0, 2.5)
    with pytest.raises(RateLimitedError) as caught:
        paces.wait(HOST, may_wait=False)
    assert caught.value.retry_after == "3"


def test_a_call_that_may_not_wait_gives_up_even_if_it_is_its_turn() -> None:
    paces = Paces(clock(5.0, 5.0, 9.0))
    paces.slow(HOST, 4.9, 2.5)
    with pytest.raises(RateLimitedError) as caught:
        paces.wait(HOST, may_wait=False)
    assert caught.value.retry_after == "1"
    assert paces.wait(HOST) == 9.0
