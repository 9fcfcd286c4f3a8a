from concurrent.futures import ThreadPoolExecutor

import pytest

from pyoci_flask.errors import BusyError
from pyoci_flask.web.gate import RegistryGate


@pytest.mark.parametrize(
    ("threads", "most"), [(1, 1), (2, 1), (3, 1), (4, 2), (16, 14), (64, 56), (128, 112)]
)
def test_registry_has_all_threads_but_an_eighth(threads: int, most: int) -> None:
    gate = RegistryGate(threads)
    for _ in range(most):
        gate.enter("slow.example")
    with pytest.raises(BusyError, match=rf"{most} of them for slow\.example"):
        gate.enter("slow.example")


def test_full_registry_leaves_the_others_alone() -> None:
    gate = RegistryGate(3)
    gate.enter("slow.example")
    gate.enter("quick.example")
    gate.leave("quick.example")
    gate.enter("quick.example")
    with pytest.raises(BusyError):
        gate.enter("slow.example")


def test_each_further_registry_that_hangs_takes_less_of_what_is_left() -> None:
    gate = RegistryGate(64)
    for host, places in [("one.example", 56), ("two.example", 6), ("three.example", 1)]:
        for _ in range(places):
            gate.enter(host)
        with pytest.raises(BusyError):
            gate.enter(host)
    with pytest.raises(BusyError):
        gate.enter("four.example")  # the last thread answers /health
    gate.leave("one.example")
    gate.enter("four.example")


def test_place_is_free_again_after_leaving() -> None:
    gate = RegistryGate(3)
    for _ in range(10):
        gate.enter("one.example")
        gate.leave("one.example")
    gate.enter("one.example")


def test_refused_request_takes_no_place() -> None:
    gate = RegistryGate(3)
    gate.enter("one.example")
    for _ in range(5):
        with pytest.raises(BusyError):
            gate.enter("one.example")
    gate.leave("one.example")
    gate.enter("one.example")


def test_threads_at_once_are_counted_exactly() -> None:
    gate = RegistryGate(16)

    def pass_through(_: int) -> None:
        try:
            gate.enter("one.example")
        except BusyError:
            return
        gate.leave("one.example")

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(pass_through, range(2000)))
    for _ in range(14):
        gate.enter("one.example")
    with pytest.raises(BusyError):
        gate.enter("one.example")
