from concurrent.futures import ThreadPoolExecutor

import pytest

from pyoci_flask.errors import BusyError
from pyoci_flask.oci.shares import Share
from pyoci_flask.web.gate import NoPlaceError, RegistryGate


@pytest.mark.parametrize(
    ("threads", "most"), [(1, 1), (2, 1), (3, 1), (4, 2), (16, 14), (64, 56), (128, 112)]
)
def test_registry_has_all_threads_but_an_eighth(threads: int, most: int) -> None:
    gate = RegistryGate(threads)
    for _ in range(most):
        gate.enter(Share("slow.example"))
    with pytest.raises(BusyError, match=rf"{most} of them for slow\.example"):
        gate.enter(Share("slow.example"))


def test_full_registry_leaves_the_others_alone() -> None:
    gate = RegistryGate(3)
    gate.enter(Share("slow.example"))
    gate.enter(Share("quick.example"))
    gate.leave(Share("quick.example"))
    gate.enter(Share("quick.example"))
    with pytest.raises(BusyError):
        gate.enter(Share("slow.example"))


@pytest.mark.slow
def test_each_further_registry_that_hangs_takes_less_of_what_is_left() -> None:
    gate = RegistryGate(64)
    for host, places in [("one.example", 56), ("two.example", 6), ("three.example", 1)]:
        for _ in range(places):
            gate.enter(Share(host))
        with pytest.raises(BusyError):
            gate.enter(Share(host))
    with pytest.raises(BusyError):
        gate.enter(Share("four.example"))  # the last thread answers /health
    gate.leave(Share("one.example"))
    gate.enter(Share("four.example"))


def test_place_is_free_again_after_leaving() -> None:
    gate = RegistryGate(3)
    for _ in range(10):
        gate.enter(Share("one.example"))
        gate.leave(Share("one.example"))
    gate.enter(Share("one.example"))


@pytest.mark.slow
def test_refused_request_takes_no_place() -> None:
    gate = RegistryGate(3)
    gate.enter(Share("one.example"))
    for _ in range(5):
        with pytest.raises(BusyError):
            gate.enter(Share("one.example"))
    gate.leave(Share("one.example"))
    gate.enter(Share("one.example"))


def test_threads_at_once_are_counted_exactly() -> None:
    gate = RegistryGate(16)

    def pass_through(_: int) -> None:
        try:
            gate.enter(Share("one.example"))
        except BusyError:
            return
        gate.leave(Share("one.example"))

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(pass_through, range(2000)))
    for _ in range(14):
        gate.enter(Share("one.example"))
    with pytest.raises(BusyError):
        gate.enter(Share("one.example"))


def test_registries_that_no_setting_names_have_one_share_together() -> None:
    gate = RegistryGate(64, 32)
    entered = 0
    for number in range(70):
        try:
            gate.enter(Share(f"{number}.example", is_named=False), may_postpone=False)
        except BusyError:
            continue
        entered += 1
    assert entered == 32
    for _ in range(27):
        gate.enter(Share("named.example"), may_postpone=False)


def test_a_request_that_may_wait_elsewhere_does_not_wait_in_its_thread() -> None:
    gate = RegistryGate(3)
    gate.enter(Share("slow.example"), may_postpone=True)
    with pytest.raises(NoPlaceError) as caught:
        gate.enter(Share("slow.example"), may_postpone=True)
    assert caught.value.places() == 0
    gate.leave(Share("slow.example"))
    assert caught.value.places() == 1
