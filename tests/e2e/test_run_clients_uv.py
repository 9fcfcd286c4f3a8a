"""uv under `run`: lock files are the same on every machine, and private names come first."""

import shutil
from collections.abc import Callable

import pytest

from tests.run_lab import PublicIndex, RunLab, run_under
from tests.run_projects import (
    INSTALLED,
    NEEDS_APP,
    SHOW,
    distributions,
    second_machine,
    settings,
    shown,
    urls,
)

pytestmark = pytest.mark.slow
_ACCEPTANCE = pytest.mark.acceptance


def _uv_index(lab: RunLab, *more: str) -> str:
    return "\n".join(["[[tool.uv.index]]", 'name = "acme"', f'url = "{lab.address}"', *more, ""])


def _by_option(_: RunLab) -> str:
    return ""


def _by_pyproject(lab: RunLab) -> str:
    return _uv_index(lab)


def _explicit(lab: RunLab) -> str:
    sources = '[tool.uv.sources]\nacme-app = { index = "acme" }\nacme-lib = { index = "acme" }\n'
    constraint = '[tool.uv]\nconstraint-dependencies = ["acme-lib>=0"]\n'
    return f"{_uv_index(lab, 'explicit = true')}{sources}{constraint}"


@pytest.mark.parametrize(
    "configuration",
    [_by_option, *(pytest.param(one, marks=_ACCEPTANCE) for one in (_by_pyproject, _explicit))],
)
def test_uv_locks_for_every_machine(
    acme: RunLab, public: PublicIndex, configuration: Callable[[RunLab], str]
) -> None:
    pyproject = f"{NEEDS_APP}{configuration(acme)}"
    options = ["--index", acme.index] if configuration is _by_option else []
    locks = []
    for name, more in (("first", {}), ("second", second_machine(acme))):
        project = acme.project(f"{name}-project", pyproject)
        environ = {**settings(public), **more}
        home = acme.home(name)
        run_under(acme, "uv", "sync", options=options, home=home, project=project, environ=environ)
        assert shown(project) == INSTALLED
        locks.append((project / "uv.lock").read_bytes())

    assert locks[0] == locks[1]
    lock = locks[0].decode()
    for name in ("acme-app", "acme-lib"):
        source = f'name = "{name}"\nversion = "1.0"\nsource = {{ registry = "{acme.address}" }}'
        assert source in lock
    assert f'name = "common-lib"\nversion = "2.0"\nsource = {{ registry = "{public.url}" }}' in lock
    assert all(url.startswith((acme.address, public.url)) for url in urls(lock))


def test_a_lock_of_uv_is_accepted_on_another_machine(acme: RunLab, public: PublicIndex) -> None:
    environ = settings(public)
    project = acme.project("project", NEEDS_APP)
    run_under(acme, "uv", "lock", project=project, environ=environ)
    lock = (project / "uv.lock").read_bytes()
    elsewhere = {**environ, **second_machine(acme)}
    home = acme.home("second")

    for option in ("--locked", "--frozen"):
        shutil.rmtree(project / ".venv", ignore_errors=True)
        run_under(acme, "uv", "sync", option, home=home, project=project, environ=elsewhere)
        assert shown(project) == INSTALLED
    assert (project / "uv.lock").read_bytes() == lock


@pytest.mark.acceptance
def test_uv_falls_back_to_the_index_of_an_old_variable(acme: RunLab, public: PublicIndex) -> None:
    install = ["uv", "pip", "install", "--target", acme.folder / "it", "acme-app"]
    run_under(acme, *install, environ={"UV_INDEX_URL": public.url})
    assert "common_lib-2.0" in distributions(acme.folder / "it")
    assert "acme_lib-1.0" in distributions(acme.folder / "it")


@pytest.mark.acceptance
def test_uvx_runs_a_program_with_a_private_package(acme: RunLab, public: PublicIndex) -> None:
    program = ["uv", "tool", "run", "--with", "acme-app", "python", "-c", SHOW]
    said = run_under(acme, *program, environ=settings(public))
    assert said.stdout.splitlines() == INSTALLED
