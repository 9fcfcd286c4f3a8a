"""Poetry, PDM and Pipenv under `run`: what they need is in the project."""

import pytest

from tests.client_tools import client_tool
from tests.run_lab import PublicIndex, RunLab, run_under
from tests.run_projects import INSTALLED, NEEDS_APP, second_machine, settings, shown, urls

pytestmark = pytest.mark.acceptance


def _poetry_sources(lab: RunLab, public: PublicIndex) -> str:
    return (
        "[tool.poetry]\npackage-mode = false\n"
        f'[[tool.poetry.source]]\nname = "acme"\nurl = "{lab.address}"\npriority = "primary"\n'
        f'[[tool.poetry.source]]\nname = "public"\nurl = "{public.url}"\n'
        'priority = "supplemental"\n'
    )


def _pdm_sources(lab: RunLab) -> str:
    return (
        f'[[tool.pdm.source]]\nname = "acme"\nurl = "{lab.address}"\nverify_ssl = false\n'
        '[[tool.pdm.source]]\nname = "pypi"\n'
        "[tool.pdm.resolution]\nrespect-source-order = true\n"
    )


def test_poetry_locks_for_every_machine(acme: RunLab, public: PublicIndex) -> None:
    poetry = client_tool("poetry")
    pyproject = f"{NEEDS_APP}{_poetry_sources(acme, public)}"
    locks = []
    for name, more in (("first", {}), ("second", second_machine(acme))):
        project = acme.project(f"{name}-project", pyproject)
        environ, home = {**settings(public), **more}, acme.home(name)
        run_under(acme, poetry, "lock", options=[], home=home, project=project, environ=environ)
        locks.append((project / "poetry.lock").read_bytes())
        run_under(acme, poetry, "install", options=[], home=home, project=project, environ=environ)
        assert shown(project) == INSTALLED

    assert locks[0] == locks[1]
    places = {acme.address.rstrip("/"), public.url.rstrip("/")}
    assert urls(locks[0].decode()) == places


def test_pdm_locks_for_every_machine(acme: RunLab, public: PublicIndex) -> None:
    pdm = client_tool("pdm")
    pyproject = f"{NEEDS_APP}{_pdm_sources(acme)}"
    locks = []
    for name, more in (("first", {}), ("second", second_machine(acme))):
        project = acme.project(f"{name}-project", pyproject)
        environ, home = {**settings(public), **more}, acme.home(name)
        for command in (["lock"], ["install", "--no-self"]):
            run_under(acme, pdm, *command, options=[], home=home, project=project, environ=environ)
        locks.append((project / "pdm.lock").read_bytes())
        assert shown(project) == INSTALLED

    assert locks[0] == locks[1]
    assert urls(locks[0].decode()) == set()


@pytest.mark.parametrize("named", ["by option", "in the Pipfile"])
def test_pipenv_locks_and_installs(acme: RunLab, public: PublicIndex, named: str) -> None:
    pipenv = client_tool("pipenv")
    project = acme.project("project")
    source = f'[[source]]\nname = "acme"\nurl = "{acme.address}+simple/"\nverify_ssl = true\n'
    pipfile = '[packages]\nacme-app = "*"\n'
    options = ["--index", acme.index] if named == "by option" else []
    (project / "Pipfile").write_text(pipfile if options else f"{source}{pipfile}")

    for command in ("lock", "sync"):
        run_under(acme, pipenv, command, options=options, project=project, environ=settings(public))

    assert shown(project) == INSTALLED
    assert urls((project / "Pipfile.lock").read_text()) == {f"{acme.address}+simple/"}
