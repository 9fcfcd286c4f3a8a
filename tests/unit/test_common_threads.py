"""Calls in the background, and threads that never outlive the block."""

import threading
from contextvars import ContextVar

import pytest

from pyoci_flask.common.threads import in_background
from tests.patience import PATIENCE


def test_the_call_runs_while_the_block_runs() -> None:
    in_call, in_block = threading.Event(), threading.Event()

    def call() -> bool:
        in_call.set()
        return in_block.wait(PATIENCE)

    with in_background(call) as result:
        assert in_call.wait(PATIENCE)
        in_block.set()
        assert result() is True
        assert result() is True


def test_what_the_call_raises_is_raised_where_its_result_is_wanted() -> None:
    def call() -> None:
        raise KeyError("gone")

    with in_background(call) as result:
        for _ in range(2):
            with pytest.raises(KeyError, match="gone"):
                result()


def test_an_error_of_the_call_is_dropped_if_its_result_is_not_asked_for() -> None:
    called = threading.Event()

    def call() -> None:
        called.set()
        raise KeyError("gone")

    with in_background(call):
        pass

    assert called.is_set()


def test_the_call_sees_the_context_of_the_block_and_does_not_change_it() -> None:
    variable = ContextVar("variable", default="outside")
    variable.set("of the block")

    def call() -> str:
        seen = variable.get()
        variable.set("of the call")
        return seen

    with in_background(call) as result:
        assert result() == "of the block"
    assert variable.get() == "of the block"


@pytest.mark.parametrize("error", [None, ValueError("the block fails"), GeneratorExit()])
def test_the_end_of_the_block_waits_for_the_call_however_it_ends(
    error: BaseException | None,
) -> None:
    leaving, ended = threading.Event(), threading.Event()

    def call() -> None:
        leaving.wait(PATIENCE)
        # Were the end not to wait, the check below would be made before this is set.
        threading.Event().wait(0.05)
        ended.set()

    def block() -> None:
        with in_background(call):
            leaving.set()
            if error is not None:
                raise error

    if error is None:
        block()
    else:
        with pytest.raises(type(error)):
            block()

    assert ended.is_set()
