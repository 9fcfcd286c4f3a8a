"""`pyoci-flask run` as a user runs it: a registry that wants a password, homes and projects."""

import base64
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from pyoci_flask.app import create_app
from pyoci_flask.cli.run.addresses import fixed
from pyoci_flask.settings import PinnedIndex, Settings
from pyoci_flask.web.services import EXTENSION
from tests.clients import PATIENT
from tests.doubles import Recorder, wsgi_server
from tests.integration.index_client import IndexClient
from tests.patience import PATIENCE
from tests.registries import RunningRegistry, docker_registry
from tests.servers import ROOT

USER, PASSWORD = "alice", "s3cret-of-alice"


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended: its exit status and what it wrote."""

    status: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Both outputs, for messages."""
        return f"status {self.status}\n{self.stdout}\n{self.stderr}"


@dataclass(frozen=True, slots=True)
class RunLab:
    """A registry, an index in it, and a folder for homes and projects."""

    registry: RunningRegistry
    folder: Path
    namespace: str = "acme"

    @property
    def index(self) -> str:
        """Return the index as `--index` takes it."""
        return f"{self.registry.url}/{self.namespace}"

    @property
    def address(self) -> str:
        """Return the address that is the same in every run."""
        return fixed(PinnedIndex.parse(self.index))

    def home(self, name: str = "home", login: tuple[str, str] | None = (USER, PASSWORD)) -> Path:
        """Return a home. A new one has the login, if any, as `docker login` writes it."""
        home = self.folder / name
        if not home.exists():
            home.mkdir()
            if login is not None:
                write_config(home, {"auths": {self.registry.netloc: auth(*login)}})
        return home

    def publish(self, *files: Path) -> None:
        """Publish files, with the application and not under `run`, because this is quicker."""
        with _application({}) as (url, _):
            _publish(f"{url}/{self.registry.address}/{self.namespace}", self.registry.auth, files)

    def project(self, name: str, pyproject: str | None = None) -> Path:
        """Return a new folder, with a pyproject.toml if a text is given."""
        folder = self.folder / name
        folder.mkdir()
        if pyproject is not None:
            (folder / "pyproject.toml").write_text(pyproject)
        return folder


@contextlib.contextmanager
def run_lab(folder: Path, namespace: str = "acme") -> Iterator[RunLab]:
    """Start docker-registry with htpasswd and one user."""
    with docker_registry(folder, htpasswd=(USER, PASSWORD)) as registry:
        yield RunLab(registry, folder, namespace)


@dataclass(frozen=True, slots=True)
class PublicIndex:
    """An index that everybody can read, and the requests to it."""

    url: str
    recorder: Recorder

    def asked_for(self, project: str) -> list[str]:
        """Return the paths of the requests for a project."""
        paths = (call.path for call in self.recorder.calls if call.method != "POST")
        return [path for path in paths if f"/{project}/" in path]


@contextlib.contextmanager
def public_index(folder: Path, *files: Path) -> Iterator[PublicIndex]:
    """Serve files from an index that stands in for the public one."""
    storage = folder / "public"
    with _application({"PYOCI_STORAGE": str(storage)}) as (url, recorder):
        _publish(f"{url}/simple", None, files)
        yield PublicIndex(f"{url}/simple/", recorder)


@contextlib.contextmanager
def _application(environ: Mapping[str, str]) -> Iterator[tuple[str, Recorder]]:
    app = create_app(Settings.from_env(environ))
    services = app.extensions[EXTENSION]
    recorder = Recorder(app)
    with (
        contextlib.closing(services.transport),
        contextlib.closing(services.versions),
        wsgi_server(recorder) as url,
    ):
        yield url, recorder


def _publish(base: str, login: tuple[str, str] | None, files: Sequence[Path]) -> None:
    with requests.Session() as session:
        session.trust_env = False
        client = IndexClient(base, login, session)
        for file in files:
            name, version = file.name.removesuffix(".tar.gz").split("-")[:2]
            answer = client.publish(file, name, version)
            assert answer.ok, answer.text


def auth(username: str, password: str) -> dict[str, str]:
    """Return an entry of `auths` in a config.json."""
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


def write_config(home: Path, config: Mapping[str, object]) -> None:
    """Write a config.json of Docker into a home."""
    folder = home / ".docker"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))


def write_helper(folder: Path, name: str, username: str, secret: str) -> None:
    """Write a credential helper, `docker-credential-NAME`, that gives this login for any host."""
    folder.mkdir(exist_ok=True)
    program = folder / f"docker-credential-{name}"
    answer = json.dumps({"ServerURL": "", "Username": username, "Secret": secret})
    program.write_text(f"#!/bin/sh\nread -r host\ncat <<'END'\n{answer}\nEND\n")
    program.chmod(0o755)


def lab_environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a user without settings, whose PATH begins with `~/bin`."""
    path = [str(home / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    return {
        "PATH": os.pathsep.join(path),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        "PDM_CHECK_UPDATE": "false",
        "NO_COLOR": "1",
        **PATIENT,
        **(extra or {}),
    }


def run_command(options: Sequence[str | Path], *command: str | Path) -> list[str]:
    """Return the command line of `run` with these options."""
    return [
        sys.executable,
        "-m",
        "pyoci_flask",
        "run",
        *map(str, options),
        "--",
        *map(str, command),
    ]


def run_under(
    lab: RunLab,
    *command: str | Path,
    options: Sequence[str | Path] | None = None,
    home: Path | None = None,
    project: Path | None = None,
    environ: Mapping[str, str] | None = None,
    succeeds: bool | None = True,
) -> Done:
    """Run a command under `run` to its end, in a project's folder (or in the home).

    `options` are those of `run`; by default, `--index` with the lab's index. The command must
    succeed or fail as `succeeds` says; None: it may do both.
    """
    home = home or lab.home()
    chosen = ["--index", lab.index] if options is None else options
    done = subprocess.run(
        run_command(chosen, *command),
        env=lab_environment(home, environ),
        cwd=project or home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        text=True,
    )
    result = Done(done.returncode, done.stdout, done.stderr)
    assert succeeds is None or (done.returncode == 0) is succeeds, result.output
    return result
