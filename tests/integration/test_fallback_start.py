"""What the start of a server says about the settings of the fallback."""

import subprocess
import sys
from pathlib import Path

import pytest

from pyoci_flask.errors import ConfigurationError
from pyoci_flask.settings import Settings
from tests.integration.fallback_checks import (
    EMPTY,
    FALLBACK,
    SETTINGS,
)
from tests.patience import PATIENCE
from tests.servers import ROOT, environment


def _start(tmp_path: Path, settings: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Load the application as a WSGI server does, with these settings."""
    return subprocess.run(
        [sys.executable, "-c", "import wsgi"],
        cwd=ROOT,
        env=environment(tmp_path, settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def test_a_start_without_any_exclusion_warns(tmp_path: Path) -> None:
    started = _start(tmp_path, {"PYOCI_FALLBACK_INDEX": FALLBACK})

    assert started.returncode == 0, started.stderr
    warnings = [line for line in started.stderr.splitlines() if "level=WARNING" in line]
    assert any("PYOCI_FALLBACK_EXCLUDE" in line for line in warnings), started.stderr


def test_a_start_with_an_exclusion_does_not_warn(tmp_path: Path) -> None:
    started = _start(tmp_path, SETTINGS)

    assert started.returncode == 0, started.stderr
    assert "PYOCI_FALLBACK_EXCLUDE" not in started.stderr


def test_a_start_that_redirects_empty_projects_warns(tmp_path: Path) -> None:
    started = _start(tmp_path, EMPTY)

    assert started.returncode == 0, started.stderr
    warnings = [line for line in started.stderr.splitlines() if "level=WARNING" in line]
    assert any("PYOCI_FALLBACK_EMPTY" in line for line in warnings), started.stderr


@pytest.mark.parametrize("setting", ["PYOCI_FALLBACK_DENIED", "PYOCI_FALLBACK_EMPTY"])
def test_a_start_that_redirects_more_without_an_exclusion_is_refused(
    tmp_path: Path, setting: str
) -> None:
    environ = {"PYOCI_FALLBACK_INDEX": FALLBACK, setting: "redirect"}

    with pytest.raises(ConfigurationError, match="PYOCI_FALLBACK_EXCLUDE"):
        Settings.from_env(environ)
    started = _start(tmp_path, environ)
    assert started.returncode != 0
    assert "PYOCI_FALLBACK_EXCLUDE" in started.stderr


@pytest.mark.parametrize(
    "value", ["public.example/simple", "ftp://public.example", "https://u:p@public.example/simple"]
)
def test_a_fallback_that_is_no_plain_url_is_refused_at_the_start(value: str) -> None:
    with pytest.raises(ConfigurationError, match="PYOCI_FALLBACK_INDEX"):
        Settings.from_env({"PYOCI_FALLBACK_INDEX": value})
