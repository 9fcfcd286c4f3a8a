"""What the benchmarks' figures rest on: the relay, the count of calls, the comparison."""

import contextlib
import json
import os
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.wrappers import Response

from benchmarks.calls import Call, connections, longest_chain, read_calls, relay
from benchmarks.load import Target, downloads, pages
from benchmarks.profiling import report, waiting
from benchmarks.report import markdown, plain
from benchmarks.results import Result, Series, interleave
from benchmarks.results import Target as Limit
from tests.doubles import answering, wsgi_server
from tests.servers import LOOPBACK

_DELAY = 0.1
_BIG = 32 * 1024 * 1024


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(1 << 16):
            self.request.sendall(data)


@contextlib.contextmanager
def _echo() -> Iterator[int]:
    with socketserver.ThreadingTCPServer((LOOPBACK, 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _exchange(sock: socket.socket, content: bytes) -> float:
    """Send it and read it back; the seconds."""
    begun = time.monotonic()
    sender = threading.Thread(target=sock.sendall, args=(content,))
    sender.start()
    left = len(content)
    while left:
        left -= len(sock.recv(1 << 20))
    sender.join()
    return time.monotonic() - begun


def test_a_relay_costs_a_round_trip_and_another_one_on_a_new_connection(tmp_path: Path) -> None:
    with _echo() as port, relay(tmp_path, port, delay=_DELAY, logged=True) as link:
        begun = time.monotonic()
        with socket.create_connection((LOOPBACK, link.port)) as sock:
            _exchange(sock, b"GET / HTTP/1.1\r\n")
            first = time.monotonic() - begun
            later = [_exchange(sock, b"GET / HTTP/1.1\r\n") for _ in range(4)]
        assert first >= 2 * _DELAY
        assert _DELAY <= min(later) < 2 * _DELAY
        calls = link.calls()
    assert [call.line for call in calls] == ["GET / HTTP/1.1"] * 5
    assert [call.end - call.start >= _DELAY for call in calls] == [True] * 5
    assert connections(calls, calls[:1]) == 0


def test_the_delay_of_a_relay_caps_no_throughput(tmp_path: Path) -> None:
    with (
        _echo() as port,
        relay(tmp_path, port, delay=_DELAY) as link,
        socket.create_connection((LOOPBACK, link.port)) as sock,
    ):
        taken = _exchange(sock, bytes(_BIG))
    # One window of 64 KiB in each round trip would take 51 seconds.
    assert taken < 10


def test_the_rate_of_a_relay_is_kept(tmp_path: Path) -> None:
    size = 2_000_000
    with (
        _echo() as port,
        relay(tmp_path, port, rate=8 * size / 0.5) as link,
        socket.create_connection((LOOPBACK, link.port)) as sock,
    ):
        # The sockets' buffers may hold the first part of it.
        assert _exchange(sock, os.urandom(size)) >= 0.4


def _log(*events: tuple[int, str, float, str]) -> list[str]:
    return [json.dumps(event) for event in events]


def test_a_call_begins_where_a_client_sends_after_it_was_answered() -> None:
    lines = _log(
        (1, "request", 1.0, "PUT /a"),
        (1, "request", 1.1, "the body"),
        (2, "request", 1.2, "GET /b"),
        (1, "response", 2.0, ""),
        (1, "response", 2.5, ""),
        (1, "request", 3.0, "GET /c"),
        (2, "response", 3.5, ""),
        (1, "response", 4.0, ""),
    )
    assert read_calls(lines) == [
        Call("PUT /a", 1, 1.0, 2.5),
        Call("GET /b", 2, 1.2, 3.5),
        Call("GET /c", 1, 3.0, 4.0),
    ]


def test_the_longest_chain_leaves_out_what_ran_beside_it() -> None:
    calls = [
        Call("a", 1, 0, 1),
        Call("during all", 2, 0, 9),
        Call("b", 1, 1, 3),
        Call("during b", 3, 2, 4),
        Call("c", 1, 3, 5),
    ]
    assert [call.line for call in longest_chain(calls)] == ["a", "b", "c"]


def test_figure_and_floor_are_measured_in_turn() -> None:
    order: list[str] = []

    def measure(name: str) -> float:
        order.append(name)
        return float(len(order))

    figures, floors = interleave(2, lambda: measure("figure"), lambda: measure("floor"))
    assert order == ["floor", "figure", "floor", "figure"]
    assert (figures.values, floors.values) == ((2.0, 4.0), (1.0, 3.0))


@pytest.mark.parametrize(
    ("limit", "calls", "met"),
    [
        (Limit(1.5), None, True),
        (Limit(1.4), None, False),
        (Limit(1.5, at_least=True), None, True),
        (Limit(1.6, at_least=True), None, False),
        (Limit(2.0, calls=101), 101, True),
        (Limit(2.0, calls=101), 102, False),
        (Limit(2.0, calls=101), None, False),
    ],
)
def test_a_target_is_held_against_the_medians_and_the_calls(
    limit: Limit, calls: int | None, met: bool
) -> None:
    figure, floor = Series((1.0, 3.0, 9.0)), Series((1.0, 2.0, 4.0))
    result = Result("row", "title", "ms", figure, floor, "", "ratio", limit, calls)
    assert result.value == 1.5
    assert result.met is met


def test_the_table_tells_figure_floor_comparison_and_verdict() -> None:
    result = Result(
        "row",
        "a page",
        "ms",
        Series((5.0, 4.0, 6.5)),
        Series((2.0, 2.5, 3.0)),
        "one call",
        "difference",
        Limit(2.0, calls=1),
        1,
        ("a note",),
    )
    line = (
        "| a page | 5 (4; 4.50 to 5.75) ms | 2.50 (2; 2.25 to 2.75) ms | +2.50 (+2) ms | <= +2 ms "
        "| NO | 1 (<= 1) |"
    )
    assert line in markdown([result], ["a heading"]).splitlines()
    text = plain([result], ["a heading"])
    assert text.startswith("a heading\n")
    assert "a page: the floor is one call\na page: a note\n" in text


def test_clients_count_what_they_get() -> None:
    body = bytes(100_000)
    served = answering(Response(body))
    with wsgi_server(served) as url:
        target = Target.of(f"{url}/page", "text/html", close=True)
        fetched = downloads(target, clients=3, rate=None, seconds=None, spread=0.0)
        assert len(served.calls) == 3
        assert fetched["rate"] > 0


def test_a_client_that_is_refused_ends_the_measurement() -> None:
    with (
        wsgi_server(answering(Response("", 404))) as url,
        pytest.raises(RuntimeError, match="404"),
    ):
        pages(Target.of(url, None), clients=1, seconds=0.1)


def test_samples_are_summed_by_own_time_and_by_what_is_called() -> None:
    stacks = [
        "main (wsgi.py);view (pyoci_flask/web/a.py);read (socket.py) 30",
        "main (wsgi.py);view (pyoci_flask/web/a.py) 10",
        "run (threading.py);_worker (concurrent/futures/thread.py) 60",
    ]
    assert "30.0 %  socket.py read" in report(stacks)
    assert "40.0 %  pyoci_flask/web/a.py view" in report(stacks)
    assert "75.0 %  socket.py read" in waiting(stacks)
