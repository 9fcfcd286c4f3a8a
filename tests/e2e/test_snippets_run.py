"""Every snippet of every tab is run as it is shown, with a token that is hard to quote.

The commands are pasted into an interactive shell on a terminal, and the questions are answered.
What stands in a file is written there. CI jobs are run line by line, with the variables of their
service. Renovate does not run here, so its file is only compared with its documentation.
"""

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

from tests.clients import twine_upload
from tests.packages import make_sdist, make_wheel
from tests.pages import BROWSER, snippets_of
from tests.registries import RunningRegistry, docker_registry
from tests.run_lab import PublicIndex
from tests.servers import RunningServer, gunicorn
from tests.snippet_desk import Desk

pytestmark = pytest.mark.acceptance

USER, TOKEN = "alice", r"p@/:% $x y\"&'#;"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    folder = tmp_path_factory.mktemp("hard")
    with docker_registry(folder, htpasswd=(USER, TOKEN)) as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("server")
    with gunicorn(folder) as running:
        yield running


@dataclass(frozen=True, slots=True)
class Shown:
    """A new index, the snippets that the page shows for it, and a desk to use them at."""

    url: str
    page: str
    snippets: dict[str, str]
    desk: Desk

    def text(self, key: str, package: str = "hello") -> str:
        """Return a snippet, such as `pip-1`."""
        return self.snippets[key].replace("PACKAGE", package).replace("YOUR_USER_NAME", USER)

    def paste(self, key: str, *, asked: str = "") -> str:
        """Paste a snippet into a terminal."""
        return self.desk.paste(self.text(key), asked=asked)

    def published(self, *files: Path) -> None:
        """Publish files to the index."""
        twine_upload(self.desk.home, self.url, *files, auth=(USER, TOKEN))

    def hello(self) -> None:
        """Publish the package that snippets install, which needs one of the public index."""
        folder = self.desk.home / "elsewhere"
        folder.mkdir()
        self.published(make_wheel(folder, "hello", "1.0", requires=["common-lib"]))

    def versions(self, project: str) -> list[str]:
        """Return the files of a project in the index."""
        found = requests.get(
            f"{self.url}{project}/",
            auth=(USER, TOKEN),
            headers={"Accept": "application/vnd.pypi.simple.v1+json"},
            timeout=60,
        ).json()
        return sorted(file["filename"] for file in found["files"])


@pytest.fixture
def shown(
    server: RunningServer,
    registry: RunningRegistry,
    public: PublicIndex,
    http: requests.Session,
    tmp_path: Path,
) -> Shown:
    namespace = f"ns-{uuid.uuid4().hex[:12]}"
    form = {"registry": registry.url, "namespace": namespace, "credentials": "1"}
    page = http.get(f"{server.url}/", params=form).text
    desk = Desk.create(tmp_path / "home", USER, TOKEN, public.url)
    url = f"{server.url}/{registry.address}/{namespace}/"
    return Shown(url, page, snippets_of(page), desk)


def _dist(shown: Shown) -> None:
    make_wheel(shown.desk.home / "dist", "hello", "1.0")


def test_pip_with_the_command_and_its_files(shown: Shown) -> None:
    folder = shown.desk.home / "elsewhere"
    folder.mkdir()
    shown.published(make_wheel(folder, "hello", "1.0"))
    desk = shown.desk

    assert "Successfully installed hello-1.0" in shown.paste("pip-1")

    shown.paste("keyring-1")
    (desk.home / "pip.conf").write_text(shown.text("pip-2"))
    desk.paste("pip uninstall -y hello && pip install hello")
    (desk.home / "pip.conf").write_text("")
    (desk.home / "requirements.txt").write_text(shown.text("pip-3"))
    desk.paste("pip uninstall -y hello && pip install -r requirements.txt")
    assert desk.installed["hello"] == "1.0"
    assert (desk.home / ".netrc").stat().st_mode & 0o777 == 0o600


def test_the_pip_command_alone_asks_for_both(shown: Shown) -> None:
    folder = shown.desk.home / "elsewhere"
    folder.mkdir()
    shown.published(make_wheel(folder, "hello", "1.0"))
    (alone,) = re.findall(r"^pip install .*$", shown.text("pip-1"), re.MULTILINE)

    assert "pip then asks for both" in shown.page
    shown.desk.answer(
        alone,
        [("User for ", USER), ("Password: ", TOKEN)],
        {"PIP_KEYRING_PROVIDER": "disabled"},
    )
    assert shown.desk.installed["hello"] == "1.0"


def test_uv_in_an_environment_and_in_a_project(shown: Shown) -> None:
    desk = shown.desk
    shown.hello()

    shown.paste("uv-1")
    assert {"hello": "1.0", "common_lib": "2.0"}.items() <= desk.installed.items()

    desk.project(shown.text("uv-2"))
    desk.paste(shown.text("uv-3"), environ={"VIRTUAL_ENV": ""})
    lock = (desk.home / "uv.lock").read_text()
    assert f'name = "hello"\nversion = "1.0"\nsource = {{ registry = "{shown.url}" }}' in lock
    assert f'version = "2.0"\nsource = {{ registry = "{desk.public}" }}' in lock


def test_uv_publishes_and_skips_what_is_there(shown: Shown) -> None:
    _dist(shown)
    shown.paste("uv-4")

    shown.desk.project(shown.text("uv-2"))
    make_sdist(shown.desk.home / "dist", "hello", "1.0")
    again = shown.paste("uv-5")

    assert "already exists" in again
    assert shown.versions("hello") == ["hello-1.0-py3-none-any.whl", "hello-1.0.tar.gz"]


def test_poetry_publishes_and_installs(shown: Shown) -> None:
    desk = shown.desk
    desk.project(name="hello")
    (desk.home / "hello").mkdir()
    (desk.home / "hello" / "__init__.py").touch()
    pyproject = (desk.home / "pyproject.toml").read_text()
    poetry = 'requires = ["poetry-core"]\nbuild-backend = "poetry.core.masonry.api"'
    (desk.home / "pyproject.toml").write_text(
        re.sub(r"requires = \[\]\n.*\n.*", poetry, pyproject, count=1)
    )
    shown.paste("poetry-3")
    assert shown.versions("hello") == ["hello-1.0-py3-none-any.whl", "hello-1.0.tar.gz"]

    desk.project(shown.text("poetry-1"), "[tool.poetry]\npackage-mode = false\n")
    shown.paste("poetry-2")
    assert desk.installed["hello"] == "1.0"
    assert f'url = "{shown.url.rstrip("/")}"' in (desk.home / "poetry.lock").read_text()


def test_pdm_publishes_and_installs(shown: Shown) -> None:
    desk = shown.desk
    desk.project(name="hello")
    make_sdist(desk.home / "prebuilt", "hello", "1.0")
    shown.paste("pdm-3")
    assert shown.versions("hello") == ["hello-1.0-py3-none-any.whl", "hello-1.0.tar.gz"]

    (desk.home / "prebuilt" / "hello-1.0-py3-none-any.whl").unlink()
    desk.project(
        shown.text("pdm-1"), f'[[tool.pdm.source]]\nname = "pypi"\nurl = "{desk.public}"\n'
    )
    shown.paste("pdm-2")
    assert desk.installed["hello"] == "1.0"


def test_twine_publishes_with_and_without_its_file(shown: Shown) -> None:
    _dist(shown)
    shown.paste("twine-1")

    (shown.desk.home / ".pypirc").write_text(shown.text("twine-2"))
    for file in (shown.desk.home / "dist").iterdir():
        file.unlink()
    make_sdist(shown.desk.home / "dist", "hello", "1.0")
    shown.paste("twine-3", asked="Enter your password: ")

    assert shown.versions("hello") == ["hello-1.0-py3-none-any.whl", "hello-1.0.tar.gz"]


def test_hatch_publishes_and_fills_an_environment(shown: Shown) -> None:
    desk = shown.desk
    _dist(shown)
    desk.project(name="hello")
    shown.paste("hatch-1")
    assert shown.versions("hello") == ["hello-1.0-py3-none-any.whl"]

    (desk.home / "prebuilt" / "hello-1.0-py3-none-any.whl").unlink()
    desk.project(shown.text("hatch-2"))
    shown.paste("hatch-3")
    assert "found" in desk.paste('hatch run python -c \'import hello; print("fo" + "und")\'')


def test_key_ring_serves_twine_pip_and_uv(shown: Shown) -> None:
    _dist(shown)
    desk = shown.desk

    shown.paste("keyring-2", asked="Password for 'alice' in")

    assert desk.installed["hello"] == "1.0"


def test_netrc_serves_pip_and_uv(shown: Shown) -> None:
    folder = shown.desk.home / "elsewhere"
    folder.mkdir()
    shown.published(make_wheel(folder, "hello", "1.0"))
    shown.paste("keyring-1")

    for client in ("pip", "uv pip"):
        shown.desk.paste(f"{client} install --index-url {shown.url} hello")
        assert shown.desk.installed["hello"] == "1.0"
        shown.desk.paste("uv pip uninstall hello")


def _secrets(text: str) -> str:
    """Return what GitHub puts in the place of an expression."""
    known = {"secrets.REGISTRY_USER": USER, "secrets.REGISTRY_TOKEN": TOKEN}
    return re.sub(r"\$\{\{ (\S+) \}\}", lambda found: known[found[1]], text)


def _run_steps(desk: Desk, steps: list[dict[str, object]]) -> None:
    for step in steps:
        if "run" in step:
            env = step.get("env", {})
            assert isinstance(env, dict)
            desk.run_job(
                _secrets(str(step["run"])), {name: _secrets(value) for name, value in env.items()}
            )


def test_steps_of_github(shown: Shown) -> None:
    desk = shown.desk
    desk.project(name="hello")
    make_sdist(desk.home / "prebuilt", "hello", "1.0")
    workflow = yaml.safe_load(shown.text("github-1"))
    for _ in range(2):  # a job that failed runs again
        _run_steps(desk, workflow["jobs"]["publish"]["steps"])
    assert shown.versions("hello") == ["hello-1.0-py3-none-any.whl", "hello-1.0.tar.gz"]

    for key in ("github-2", "github-3"):
        _run_steps(desk, yaml.safe_load(shown.text(key)))
        assert desk.installed["hello"] == "1.0"
        desk.run_job("uv pip uninstall hello", {})


def _run_script(desk: Desk, job: dict[str, object]) -> None:
    """Run a job as GitLab does: all lines in one shell, and each `$` in `variables` is expanded."""
    variables = job.get("variables", {})
    script = job["script"]
    assert isinstance(variables, dict)
    assert isinstance(script, list)
    assert not any("$" in value for value in variables.values())
    login = {"REGISTRY_USER": USER, "REGISTRY_TOKEN": TOKEN}
    desk.run_job("\n".join(script), {**login, **variables})


def test_jobs_of_gitlab(shown: Shown) -> None:
    desk = shown.desk
    desk.project(name="hello")
    make_sdist(desk.home / "prebuilt", "hello", "1.0")
    for _ in range(2):
        _run_script(desk, yaml.safe_load(shown.text("gitlab-1"))["publish"])
    assert shown.versions("hello") == ["hello-1.0-py3-none-any.whl", "hello-1.0.tar.gz"]

    for key in ("gitlab-2", "gitlab-3"):
        _run_script(desk, yaml.safe_load(shown.text(key))["test"])
        assert desk.installed["hello"] == "1.0"
        desk.run_job("uv pip uninstall hello", {})


def test_configuration_of_renovate_has_documented_fields(shown: Shown) -> None:
    """Renovate does not run here. The fields are those of its documentation."""
    found = json.loads(shown.text("renovate-1"))

    assert found.keys() == {"extends", "hostRules", "packageRules"}
    (login,), (rule,) = found["hostRules"], found["packageRules"]
    assert login == {
        "matchHost": shown.url,
        "username": "{{ secrets.REGISTRY_USER }}",
        "password": "{{ secrets.REGISTRY_TOKEN }}",
    }
    assert rule == {
        "matchDatasources": ["pypi"],
        "matchPackageNames": ["hello"],
        "registryUrls": [shown.url],
    }


@pytest.fixture
def acme_page(shown: Shown, http: requests.Session) -> "Shown":
    """The page of a project with one private and one public dependency."""
    folder = shown.desk.home / "elsewhere"
    folder.mkdir()
    shown.published(
        make_wheel(folder, "acme-lib", "1.0"),
        make_wheel(folder, "acme-app", "1.0", requires=["acme-lib", "common-lib"]),
    )
    found = http.get(
        shown.url.replace("/http%3A", "/ui/http%3A", 1) + "acme-app/",
        auth=(USER, TOKEN),
        headers=BROWSER,
    )
    return Shown(shown.url, found.text, snippets_of(found.text), shown.desk)


def test_install_commands_of_a_project_with_dependencies_in_both_indexes(
    acme_page: Shown, public: PublicIndex
) -> None:
    desk = acme_page.desk
    wanted = {"acme_app": "1.0", "acme_lib": "1.0", "common_lib": "2.0"}

    for key in ("uv-1", "pip-1"):
        desk.paste(acme_page.snippets[key])
        assert wanted.items() <= desk.installed.items()
        desk.paste("uv pip uninstall acme-app acme-lib common-lib")
    desk.project()
    desk.paste(acme_page.snippets["uv-2"], environ={"VIRTUAL_ENV": ""})
    lock = (desk.home / "uv.lock").read_text()
    assert 'name = "acme-lib"\nversion = "1.0"' in lock
    assert 'name = "common-lib"\nversion = "2.0"' in lock

    desk.project("[tool.poetry]\npackage-mode = false\n")
    # Poetry knows the address of PyPI itself, so the public index of this test has another name.
    command = acme_page.snippets["poetry-1"]
    assert "--priority=supplemental PyPI &&" in command
    desk.paste(command.replace("supplemental PyPI", f"supplemental stand-in {public.url}"))
    assert wanted.items() <= desk.installed.items()


def test_pip_and_uv_install_a_package_whose_dependencies_are_all_elsewhere(
    public: PublicIndex, http: requests.Session, tmp_path: Path
) -> None:
    """A server as `make run` starts it; the package needs one that only the public index has."""
    desk = Desk.create(tmp_path / "home", USER, TOKEN, public.url)
    with gunicorn(tmp_path, {"PYOCI_STORAGE": str(tmp_path / "storage")}) as server:
        wheel = make_wheel(tmp_path, "acme-lib", "1.0", requires=["common-lib>=1"])
        twine_upload(desk.home, f"{server.url}/simple/", wheel, auth=("any", "any"))
        page = http.get(f"{server.url}/ui/simple/acme-lib/", headers=BROWSER).text
        assert "not here</span>" in page
        found = snippets_of(page)
        assert list(found) == ["uv-1", "uv-2", "poetry-1", "pip-1"]
        for key in ("pip-1", "uv-1"):
            asked = len(public.asked_for("acme-lib"))
            desk.paste(found[key])
            assert {"acme_lib": "1.0", "common_lib": "2.0"}.items() <= desk.installed.items()
            # Version 99.0 of the public index is another package, of somebody else.
            assert len(public.asked_for("acme-lib")) == asked
            desk.paste("uv pip uninstall acme-lib common-lib")
        desk.project()
        desk.paste(found["uv-2"], environ={"VIRTUAL_ENV": ""})
        assert "explicit = true" in (desk.home / "pyproject.toml").read_text()
        lock = (desk.home / "uv.lock").read_text()
        assert (
            f'name = "acme-lib"\nversion = "1.0"\nsource = {{ registry = "{server.url}/si' in lock
        )
        assert f'version = "2.0"\nsource = {{ registry = "{public.url}" }}' in lock


def test_every_snippet_is_used_here(shown: Shown) -> None:
    source = Path(__file__).read_text()

    assert len(shown.snippets) > 25
    assert [key for key in shown.snippets if f'"{key}"' not in source] == []
