"""What the benchmarks' rows about old versions, processor time and the embedded registry use."""

import contextlib
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.calls import Call
from benchmarks.clients import client
from benchmarks.embedded import embedded_page
from benchmarks.filling import ARCHITECTURES, LayoutWriter
from benchmarks.idle import Views
from benchmarks.lab import Lab
from benchmarks.machine import describe, hashing_seconds
from benchmarks.processes import MASK, begin, processor_seconds, result
from benchmarks.registry import Registry
from benchmarks.results import Series
from pyoci_flask.index.project import CREATED

_WITHOUT_SHA = ":~0x20000000"


def test_the_quartiles_are_those_of_the_measurements() -> None:
    assert Series((5.0, 1.0, 3.0, 2.0, 4.0)).quartiles == (2.0, 4.0)
    assert Series((5.0,)).quartiles is None


def test_the_processor_time_of_a_process_is_what_it_says_itself() -> None:
    before = time.process_time()
    seen = processor_seconds([os.getpid()])
    after = time.process_time()
    assert before <= seen <= after


def test_the_processor_times_of_processes_are_added() -> None:
    own = processor_seconds([os.getpid()])
    assert processor_seconds([os.getpid()] * 2) >= 2 * own


def test_all_bytes_are_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    class Counting:
        def update(self, data: memoryview) -> None:
            sizes.append(len(data))

    monkeypatch.setattr("hashlib.new", lambda _: Counting())
    hashing_seconds("sha256", 600_000)
    assert sum(sizes) == 600_000


def test_programs_get_the_mask_of_the_processors_instructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"import json, os; print(json.dumps(os.environ.get({MASK!r})))"
    seen = []
    for mask in (_WITHOUT_SHA, None):
        if mask is None:
            monkeypatch.delenv(MASK, raising=False)
        else:
            monkeypatch.setenv(MASK, mask)
        log = tmp_path / "log"
        seen.append(result(begin([sys.executable, "-c", code], log), log))
    assert seen == [_WITHOUT_SHA, None]


def test_the_heading_tells_how_fast_sha256_is_and_with_what_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MASK, _WITHOUT_SHA)
    text = describe(tmp_path)["sha256"]
    assert " MB/s in hashlib, with" in text
    assert text.endswith(f"{MASK}={_WITHOUT_SHA}")


def test_a_registry_is_quiet_when_its_log_has_not_grown(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("a call\n")
    begun = time.monotonic()
    Registry(1, log).wait_until_quiet(0.1)
    assert time.monotonic() - begun >= 0.1


def test_versions_can_be_of_another_day_and_have_further_files(tmp_path: Path) -> None:
    day = datetime(2020, 5, 17, tzinfo=UTC)
    LayoutWriter(tmp_path / "old").fill("project", ["1.0"], day, (*ARCHITECTURES, "x.whl"))
    layout = json.loads((tmp_path / "old" / "index.json").read_text())
    [described] = layout["manifests"]
    blobs = tmp_path / "old" / "blobs" / "sha256"
    index = json.loads((blobs / described["digest"].removeprefix("sha256:")).read_text())
    times = {entry["annotations"][CREATED] for entry in (index, *index["manifests"])}
    assert len(index["manifests"]) == 4
    assert [datetime.fromisoformat(text) for text in times] == [day]


def test_a_call_that_ended_after_the_answer_was_not_waited_for() -> None:
    waited, running, later = Call("a", 1, 0, 1), Call("b", 2, 0.5, 3), Call("c", 1, 2.5, 4)
    seen = Views.of([waited, running, later], 2.0, [])
    assert (seen.before, seen.behind) == ([waited], [running, later])


def test_the_server_of_the_baseline_is_that_of_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "wsgi.py").write_text(
        "def app(environ, start):\n"
        "    start('200 OK', [('Content-Length', '8')])\n"
        "    return [b'baseline']\n"
    )
    with contextlib.ExitStack() as stack:
        lab = Lab(tmp_path, 0.0, quick=True, workers=1, stack=stack)
        server = stack.enter_context(lab.fresh_baseline(folder))
        caller = stack.enter_context(client(server.url))
        assert caller.get("/").body == b"baseline"


def test_the_first_page_of_the_embedded_registry_is_measured(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        [line] = embedded_page(Lab(tmp_path, 0.0, quick=True, workers=1, stack=stack))
    assert len(line.figure.values) == 2
    assert line.floor is not None
    assert 0 < line.floor.best < line.figure.best


def test_a_baseline_needs_an_application(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--baseline", str(tmp_path)])
    with pytest.raises(SystemExit):
        command.main()
    assert "no wsgi.py" in capsys.readouterr().err
