"""The files that deploy the server agree with it and with each other."""

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from werkzeug.wrappers import Request, Response

from pyoci_flask.cli.main import main
from pyoci_flask.settings import Settings
from tests.doubles import wsgi_server
from tests.ports import free_port
from tests.servers import ROOT
from tests.setting_names import setting_names

_DEPLOY = ROOT / "deploy"
_SIZES = {"k": 10**3, "m": 10**6, "g": 10**9, "Mi": 2**20, "Gi": 2**30}


def _size(text: str) -> int:
    found = re.fullmatch(r"([0-9]+)(\w+)", text)
    assert found is not None, text
    return int(found[1]) * _SIZES[found[2]]


def _dockerfile() -> list[tuple[str, str]]:
    """Its instructions, with continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    split = (line.partition(" ") for line in lines if line.strip())
    return [(name, argument.strip()) for name, _, argument in split]


def _instruction(name: str) -> str:
    """The argument of an instruction; the last, which is that of the final stage."""
    return [argument for found, argument in _dockerfile() if found == name][-1]


def _service() -> dict[str, list[str]]:
    """What systemd's unit says in its part about the service; a name may stand there often."""
    text = (_DEPLOY / "pyoci-flask.service").read_text()
    said: dict[str, list[str]] = {}
    part = text.partition("[Service]\n")[2].partition("\n[")[0]
    for name, value in re.findall(r"^(\w+)=(.*)$", part, re.MULTILINE):
        said.setdefault(name, []).append(value)
    return said


DOCKERFILE = _dockerfile()
KUBERNETES = {
    each["kind"]: each for each in yaml.safe_load_all((_DEPLOY / "kubernetes.yaml").read_text())
}
POD = KUBERNETES["Deployment"]["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]
COMPOSE = yaml.safe_load((_DEPLOY / "compose.yaml").read_text())
SERVICE = _service()
DEFAULTS = Settings()


@pytest.fixture(scope="module")
def gunicorn() -> dict[str, Any]:
    """What gunicorn.conf.py says without a variable of the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.environ", {})
        return runpy.run_path(str(ROOT / "gunicorn.conf.py"))


def _environments() -> dict[str, dict[str, str]]:
    return {
        "kubernetes": KUBERNETES["ConfigMap"]["data"],
        "compose": COMPOSE["services"]["pyoci"]["environment"],
        "systemd": dict(each.split("=", 1) for each in SERVICE["Environment"]),
        "dockerfile": dict(
            each.split("=", 1) for each in shlex.split(_instruction("ENV")) if "PYOCI" in each
        ),
    }


@pytest.mark.parametrize("where", _environments())
def test_each_variable_is_one_that_the_application_reads_and_takes(
    where: str, tmp_path: Path
) -> None:
    environ = _environments()[where]
    assert environ.keys() <= setting_names()
    (tmp_path / "pyoci-flask").mkdir()
    Settings.from_env({name: each.replace("%C", str(tmp_path)) for name, each in environ.items()})


def test_the_image_serves_as_the_procfile_says() -> None:
    web = (ROOT / "Procfile").read_text().removeprefix("web: ").split()
    assert json.loads(_instruction("CMD")) == web
    assert [name for name, _ in DOCKERFILE].count("CMD") == 1
    assert len({re.split(" AS ", text)[0] for name, text in DOCKERFILE if name == "FROM"}) == 1


def test_the_image_holds_what_is_copied_and_nothing_else_is_sent_to_the_build() -> None:
    copied = set()
    for name, argument in DOCKERFILE:
        if name == "COPY" and not argument.startswith("--from"):
            *sources, _ = argument.split()
            copied |= set(sources)
    assert all((ROOT / source).exists() for source in copied)
    everything, *allowed = (
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#") and line != "**/__pycache__"
    )
    assert everything == "*"
    assert {line.removeprefix("!") for line in allowed} == copied
    assert any("--require-hashes" in text for name, text in DOCKERFILE if name == "RUN")


def test_the_port_is_the_same_everywhere(gunicorn: dict[str, Any]) -> None:
    assert {port for _, _, port in (each.rpartition(":") for each in gunicorn["bind"])} == {"8080"}
    assert DEFAULTS.port == 8080
    assert _instruction("EXPOSE") == "8080"
    assert [port["containerPort"] for port in CONTAINER["ports"]] == [8080]
    assert [each.split(":")[-1] for each in COMPOSE["services"]["pyoci"]["ports"]] == ["8080"]
    assert "server 127.0.0.1:8080;" in (_DEPLOY / "nginx.conf").read_text()


def test_the_user_is_the_same_number_everywhere_and_not_root() -> None:
    user, group = map(int, _instruction("USER").split(":"))
    assert user > 0
    assert group > 0
    context = POD["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (user, group)
    assert context["runAsNonRoot"] is True
    assert "user" not in COMPOSE["services"]["pyoci"]


def _health_check(port: str) -> int:
    """The exit status of the image's own check."""
    argument = _instruction("HEALTHCHECK")
    program, *arguments = json.loads(argument[argument.index("[") :])
    assert program == "python"
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PORT": port, "HTTP_PROXY": "http://127.0.0.1:9"},
        stderr=subprocess.DEVNULL,
        check=False,
    ).returncode


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_health_check_of_the_image_asks_for_health(status: int, *, healthy: bool) -> None:
    paths: list[str] = []

    @Request.application
    def application(request: Request) -> Response:
        paths.append(request.path)
        return Response(status=status)

    with wsgi_server(application) as url:
        assert (_health_check(url.rpartition(":")[2]) == 0) is healthy
    assert paths == ["/health"]


def test_the_health_check_of_the_image_sees_that_there_is_no_server() -> None:
    assert _health_check(str(free_port())) != 0


def test_all_probes_ask_for_health_at_the_container_s_port() -> None:
    [port] = CONTAINER["ports"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert CONTAINER[probe]["httpGet"] == {"path": "/health", "port": port["name"]}
    [published] = KUBERNETES["Service"]["spec"]["ports"]
    assert published["targetPort"] == port["name"]


def test_transfers_have_the_time_that_gunicorn_gives_them(gunicorn: dict[str, Any]) -> None:
    grace = gunicorn["graceful_timeout"]
    before = int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    assert POD["terminationGracePeriodSeconds"] >= grace + before
    assert int(SERVICE["TimeoutStopSec"][0]) > grace
    period = COMPOSE["services"]["pyoci"]["stop_grace_period"]
    assert int(period.removesuffix("s")) > grace


def test_the_pod_can_write_its_spool_and_nothing_else() -> None:
    context = CONTAINER["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert POD["automountServiceAccountToken"] is False
    [mount] = CONTAINER["volumeMounts"]
    [volume] = POD["volumes"]
    assert (mount["mountPath"], mount["name"]) == ("/tmp", volume["name"])
    assert "PYOCI_SPOOL" not in KUBERNETES["ConfigMap"]["data"]
    assert volume["emptyDir"].get("medium", "") == ""


def test_the_spool_of_a_pod_has_room_for_an_upload_in_each_thread() -> None:
    settings = Settings.from_env(KUBERNETES["ConfigMap"]["data"])
    uploads = settings.web_concurrency * settings.threads
    [volume] = POD["volumes"]
    assert _size(volume["emptyDir"]["sizeLimit"]) >= uploads * settings.max_body


def test_several_pods_look_again_at_what_they_wrote() -> None:
    assert KUBERNETES["Deployment"]["spec"]["replicas"] > 1
    assert Settings.from_env(KUBERNETES["ConfigMap"]["data"]).publish_settle > 0


def test_the_parts_of_the_manifest_name_each_other() -> None:
    deployment = KUBERNETES["Deployment"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    assert KUBERNETES["Service"]["spec"]["selector"] == labels
    sources = [next(iter(each.values())) for each in CONTAINER["envFrom"]]
    assert [each["name"] for each in sources] == [KUBERNETES["ConfigMap"]["metadata"]["name"]] * 2


def test_the_compose_file_names_its_project() -> None:
    """Otherwise, the volumes belong to a project called `deploy`, like those of other checkouts."""
    assert COMPOSE["name"] == "pyoci-flask"


def test_the_compose_file_serves_this_machine_only_and_spools_to_a_disk() -> None:
    pyoci, registry = COMPOSE["services"]["pyoci"], COMPOSE["services"]["registry"]
    assert all(each.startswith("127.0.0.1:") for each in pyoci["ports"])
    assert "ports" not in registry
    assert pyoci["read_only"] is True
    assert "tmpfs" not in pyoci
    mounted = [each.split(":") for each in [*pyoci["volumes"], *registry["volumes"]]]
    assert {name for name, _ in mounted} == COMPOSE["volumes"].keys()
    assert "/tmp" in [path for _, path in mounted]
    index = Settings.from_env(pyoci["environment"]).index
    assert index is not None
    assert index.registry.netloc == "registry:5000"


def test_the_service_starts_the_command_that_a_wheel_installs(gunicorn: dict[str, Any]) -> None:
    program, command = SERVICE["ExecStart"][0].split()
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert Path(program).name in scripts
    assert command in main.commands
    assert SERVICE["Type"] == ["notify"]  # test_docs_deployment.py waits for what gunicorn sends
    files = gunicorn["worker_connections"] + 3 * DEFAULTS.threads
    assert int(SERVICE["LimitNOFILE"][0]) > files


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_no_fault_in_the_service(tmp_path: Path) -> None:
    shipped = (_DEPLOY / "pyoci-flask.service").read_text()
    unit = tmp_path / "pyoci-flask.service"
    # It looks whether the program is there.
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", shipped))
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_nginx_lets_pass_what_the_application_takes(gunicorn: dict[str, Any]) -> None:
    text = (_DEPLOY / "nginx.conf").read_text()
    [body] = re.findall(r"client_max_body_size (\w+);", text)
    [header] = re.findall(r"large_client_header_buffers \d+ (\w+);", text)
    assert _size(body) > DEFAULTS.max_body
    assert _size(header) > gunicorn["limit_request_field_size"]
