"""Each client that installs, under `run`."""

import pytest

from tests.packages import make_wheel
from tests.run_lab import RunLab, run_under

_USER = '[project]\nname = "user"\nversion = "1"\nrequires-python = ">=3.11"\n'


@pytest.mark.slow
def test_uv_locks_and_installs_a_private_package(lab: RunLab) -> None:
    lab.publish(make_wheel(lab.folder, "acme-lib", "1.0"))
    project = lab.project("project", f'{_USER}dependencies = ["acme-lib"]\n')

    run_under(lab, "uv", "sync", project=project)

    assert f'registry = "{lab.address}"' in (project / "uv.lock").read_text()
    said = run_under(lab, "uv", "run", "python", "-c", "import acme_lib", project=project)
    assert said.status == 0
