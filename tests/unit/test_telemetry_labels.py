"""The labels of metrics: few, whatever a registry or a client sends."""

import pytest

from pyoci_flask.telemetry.labels import status_label


@pytest.mark.parametrize(
    ("status", "label"),
    [(None, "error"), (200, "200"), (429, "429"), (299, "2xx"), (520, "5xx"), (999, "9xx")],
)
def test_a_status_that_http_does_not_define_counts_with_its_class(
    status: int | None, label: str
) -> None:
    assert status_label(status) == label


def test_registries_can_begin_few_series() -> None:
    assert len({status_label(status) for status in range(100, 1000)}) < 80
