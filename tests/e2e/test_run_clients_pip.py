"""pip and pipx under `run`: one index, which sends them on for what it does not have."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest
from werkzeug.wrappers import Request, Response

from tests.client_tools import client_tool
from tests.doubles import wsgi_server
from tests.run_lab import PublicIndex, RunLab, run_under
from tests.run_projects import INSTALLED, SHOW, distributions, settings, urls

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

pytestmark = pytest.mark.slow
_ACCEPTANCE = pytest.mark.acceptance


def test_pip_installs_and_locks(acme: RunLab, public: PublicIndex) -> None:
    environ = settings(public)
    target = acme.folder / "target"
    said = run_under(acme, "pip", "install", "--target", target, "acme-app", environ=environ)
    assert said.stdout.count(acme.address) == 1  # there is only one index to look in
    assert distributions(target) == ["acme_app-1.0", "acme_lib-1.0", "common_lib-2.0"]

    run_under(acme, "pip", "lock", "acme-app", environ=environ)
    lock = (acme.home() / "pylock.toml").read_text()
    assert f'"{acme.address}%2Bsimple/acme-lib/acme_lib-1.0-py3-none-any.whl"' in lock
    assert all(url.startswith((acme.address, public.url)) for url in urls(lock))


@pytest.mark.parametrize("place", [pytest.param("variable", marks=_ACCEPTANCE), "file"])
def test_pip_asks_no_extra_index_for_private_names(
    acme: RunLab, public: PublicIndex, place: str
) -> None:
    environ = {**settings(public), "PIP_INDEX_URL": public.url.replace("127.0.0.1", "localhost")}
    if place == "variable":
        environ["PIP_EXTRA_INDEX_URL"] = public.url
    else:
        file = acme.home() / "pip.conf"
        file.write_text(f"[global]\nextra-index-url = {public.url}\n")
        environ["PIP_CONFIG_FILE"] = str(file)
    before = len(public.asked_for("acme-lib"))

    run_under(acme, "pip", "install", "--target", acme.folder / "it", "acme-app", environ=environ)

    assert "acme_lib-1.0" in distributions(acme.folder / "it")
    assert len(public.asked_for("acme-lib")) == before


@pytest.mark.acceptance
def test_pip_reads_the_index_of_a_requirements_file(acme: RunLab, public: PublicIndex) -> None:
    project = acme.project("project")
    (project / "requirements.txt").write_text(f"-i {acme.address}+simple/\nacme-app\n")
    install = ["pip", "install", "--target", project / "it", "-r", "requirements.txt"]
    run_under(acme, *install, options=[], project=project, environ=settings(public))
    assert "acme_lib-1.0" in distributions(project / "it")


@pytest.mark.acceptance
def test_pipx_runs_a_program_of_a_private_package(acme: RunLab, public: PublicIndex) -> None:
    pipx = client_tool("pipx")
    program = ["run", "--spec", "acme-app", "python", "-c", SHOW]
    said = run_under(acme, pipx, *program, environ=settings(public))
    assert said.stdout.splitlines() == INSTALLED


@pytest.mark.acceptance
def test_credentials_of_the_user_s_own_index_work_but_are_not_locked(
    acme: RunLab, public: PublicIndex
) -> None:
    def gate(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        sent = Request(environ).authorization
        if sent is None or (sent.username, sent.password) != ("carol", "own/secret"):
            refusal = Response("who?", 401, {"WWW-Authenticate": 'Basic realm="own"'})
            return refusal(environ, start)
        return public.recorder(environ, start)

    with wsgi_server(gate) as url:
        own = url.replace("//", "//carol:own%2Fsecret@") + "/simple/"
        install = ["pip", "install", "--target", acme.folder / "it", "acme-app"]
        run_under(acme, *install, environ={"PIP_INDEX_URL": own})
        assert "common_lib-2.0" in distributions(acme.folder / "it")

        (acme.home() / ".netrc").write_text("machine 127.0.0.1 login carol password own/secret\n")
        run_under(acme, "pip", "lock", "acme-app", environ={"PIP_INDEX_URL": own})
    lock = (acme.home() / "pylock.toml").read_text()
    assert f'"{url}/simple/common-lib/common_lib-2.0-py3-none-any.whl"' in lock
    log = acme.home() / ".local" / "state" / "pyoci-flask" / "run.log"
    assert "/+simple/common-lib/" in log.read_text()
    assert "secret" not in lock + log.read_text()
