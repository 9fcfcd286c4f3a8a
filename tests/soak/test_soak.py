"""The soak test itself: it runs, and its verdict notices what it is there for."""

from pathlib import Path

import pytest

from tests.soak.measure import Sample, Usage, faults
from tests.soak.run import soak

_MIB = 1024 * 1024


def _samples(*, memory: float = 0, files: float = 0, threads: float = 0) -> list[Sample]:
    """Five minutes, with this many more MiB, files or threads each minute."""
    return [
        Sample(
            minute,
            (
                Usage(1, 50 * _MIB, 6, 1),
                Usage(
                    2,
                    int((60 + memory * minute) * _MIB),
                    int(40 + files * minute),
                    int(30 + threads * minute),
                ),
            ),
        )
        for minute in range(5)
    ]


def test_a_server_that_keeps_what_it_has_passes() -> None:
    assert faults(_samples(memory=0.9, files=1, threads=1)) == []


@pytest.mark.parametrize(
    ("what", "slope"), [("memory", 1.1), ("files", 1.5), ("threads", 1.5)], ids=str
)
def test_growth_is_a_fault(what: str, slope: float) -> None:
    [fault] = faults(_samples(**{what: slope}))
    assert f" {what}" in f" {fault}"


def test_a_worker_that_was_replaced_is_a_fault() -> None:
    samples = _samples()
    samples[-1] = Sample(5, (samples[0].processes[0], Usage(3, _MIB, 6, 1)))
    assert "minute 5.0: another set of processes" in faults(samples)


@pytest.mark.acceptance
def test_a_few_seconds_of_mixed_load_are_all_answered_as_they_should(tmp_path: Path) -> None:
    lines: list[str] = []
    found = soak(tmp_path, 0.1, seed=1, write=lines.append, every=2.0)
    # So soon after the start, memory, files and threads still grow, which is not yet a problem.
    assert [fault for fault in found if "memory grows" not in fault and "warm" not in fault] == []
    assert " 0 failed" in lines[0]
