"""`pyoci-flask check` with registries that exist and registries that do not."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from werkzeug.serving import make_server

from pyoci_flask.registry import create_registry
from tests.command_line import check, command
from tests.conftest import AppServer
from tests.doubles import (
    LOOPBACK,
    Recorder,
    closed_port,
    wsgi_server,
)
from tests.patience import PATIENCE
from tests.registries import RunningRegistry, docker_registry, write_htpasswd
from tests.servers import self_signed

_WRITE = ("publish", "list", "download", "yank", "remove", "left")


def _files(folder: Path | None) -> set[Path]:
    assert folder is not None
    return {path for path in folder.rglob("*") if path.is_file()}


def test_the_embedded_registry_lets_its_user_do_everything(
    embedded_socket: RunningRegistry, namespace: str
) -> None:
    done = check(embedded_socket.url, auth=embedded_socket.auth, namespace=namespace)
    assert done.lines == [
        f"{embedded_socket.url}/{namespace}",
        "ok   name       127.0.0.1 is at 127.0.0.1",
        f"ok   connection port {embedded_socket.netloc.partition(':')[2]} takes connections",
        "ok   API        /v2/ returns 401, as expected of a registry",
        "ok   asks for   user name and password (Basic)",
        "ok   sign-in    takes the credentials of bob",
        "ok   pull       reading is allowed",
        "ok   missing    404 for what does not exist, as PYOCI_FALLBACK_INDEX needs",
        "ok   push       an upload was begun and cancelled",
        "ok   delete     deletion is not refused (use --write to test whether it works)",
        f"ok   catalog    lists 0 projects in {namespace}",
        "note format     not tried: --write publishes a tiny package and removes it",
    ]
    assert done.status == 0


def test_without_write_nothing_is_changed(embedded_socket: RunningRegistry, namespace: str) -> None:
    before = _files(embedded_socket.storage)
    assert check(embedded_socket.url, auth=embedded_socket.auth, namespace=namespace).status == 0
    assert _files(embedded_socket.storage) == before


def test_with_write_a_package_comes_and_goes(
    docker_htpasswd: RunningRegistry, namespace: str
) -> None:
    done = check(docker_htpasswd.url, "--write", auth=docker_htpasswd.auth, namespace=namespace)
    assert done.status == 0
    marks = done.marks()
    assert [marks[step] for step in _WRITE] == ["ok", "ok", "ok", "ok", "ok", "note"]
    assert f"the empty repository {namespace}/pyoci_probe" in done.output
    again = check(
        docker_htpasswd.url,
        "--project",
        "pyoci-probe",
        auth=docker_htpasswd.auth,
        namespace=namespace,
    )
    assert f"{namespace}/pyoci_probe has 0 tags" in again.output


def test_the_probe_that_a_registry_keeps_is_not_shown(
    tmp_path: Path, app_server: AppServer, http: requests.Session
) -> None:
    with docker_registry(tmp_path, delete=False) as registry:
        assert check(registry.url, "--write").status == 0
        index = f"{app_server({'PYOCI_INDEX': f'{registry.url}/team'})}/simple/"
        listed = requests.get(f"{registry.url}/v2/_catalog", timeout=PATIENCE).json()
        assert listed == {"repositories": ["team/pyoci_probe"]}
        assert "pyoci" not in http.get(index, timeout=PATIENCE).text
        assert http.get(index, timeout=PATIENCE).status_code == 200
        for accept in ("application/vnd.pypi.simple.v1+json", "text/html"):
            for name in ("pyoci-probe", "PyOCI.Probe"):
                headers = {"Accept": accept}
                page = http.get(f"{index}{name}/", headers=headers, timeout=PATIENCE)
                assert page.status_code == 404
        again = check(registry.url)
    assert "ok   catalog    lists 0 projects in team" in again.lines


def test_distribution_takes_the_right_password(
    docker_htpasswd: RunningRegistry, namespace: str
) -> None:
    done = check(docker_htpasswd.url, auth=docker_htpasswd.auth, namespace=namespace)
    assert done.status == 0
    assert set(done.marks().values()) == {"ok", "note"}
    assert "takes the credentials of alice" in done.output


def test_distribution_refuses_a_wrong_password_and_it_is_not_shown(
    docker_htpasswd: RunningRegistry,
) -> None:
    done = check(docker_htpasswd.url, auth=("alice", "guessed-wrongly"))
    assert done.status == 1
    reason = "refuses the credentials of alice (401: UNAUTHORIZED authentication required)"
    assert done.lines[-2:] == [
        "FAIL sign-in    check the user name and password, and whether they have expired",
        f"{docker_htpasswd.netloc} {reason}",
    ]
    assert "pull" not in done.marks()
    assert "guessed-wrongly" not in done.output


def test_distribution_refuses_users_without_a_password(docker_htpasswd: RunningRegistry) -> None:
    done = check(docker_htpasswd.url)
    assert done.status == 1
    reason = "requires credentials: UNAUTHORIZED authentication required"
    assert done.lines[-2:] == [
        "FAIL sign-in    give credentials: --username NAME --password-stdin",
        f"{docker_htpasswd.netloc} {reason}",
    ]


def test_a_port_without_a_server_is_reported() -> None:
    with closed_port() as url:
        done = check(url, auth=("alice", "unneeded"))
    port = url.rpartition(":")[2]
    assert done.status == 1
    assert done.lines == [
        f"{url}/team",
        "ok   name       127.0.0.1 is at 127.0.0.1",
        "FAIL connection check that the registry is running and that the port is correct",
        f"port {port} of 127.0.0.1: Connection refused",
    ]


def test_a_host_name_that_does_not_resolve_is_reported() -> None:
    done = command("check", "registry.invalid/team")
    assert done.status == 1
    assert done.lines[1].startswith("FAIL name       check the spelling")
    assert done.lines[2].startswith("registry.invalid is not known: ")


def test_credentials_may_stand_in_the_environment_or_in_netrc(
    docker_htpasswd: RunningRegistry, tmp_path: Path
) -> None:
    assert docker_htpasswd.auth is not None
    username, password = docker_htpasswd.auth
    both = {"PYOCI_USERNAME": username, "PYOCI_PASSWORD": password}
    assert command("check", f"{docker_htpasswd.url}/team", environ=both).status == 0
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login {username} password {password}\n")
    done = command("check", f"{docker_htpasswd.url}/team", environ={"NETRC": str(netrc)})
    assert done.status == 0


def test_tokens_are_asked_for_where_the_registry_names(
    zuul: RunningRegistry, namespace: str
) -> None:
    done = check(zuul.url, "--write", auth=zuul.auth, namespace=namespace)
    assert done.status == 0
    assert f"a Bearer token from {zuul.url}/auth/token" in done.output
    assert done.marks()["catalog"] == "note"
    assert f"its bytes in {namespace}/pyoci_probe: this registry does not delete" in done.output


def test_a_registry_that_deletes_nothing_still_takes_packages(tmp_path: Path) -> None:
    with docker_registry(tmp_path, delete=False) as registry:
        done = check(registry.url, "--write")
    assert done.status == 0
    assert done.marks()["delete"] == "note"
    assert "ok   remove     the version was removed from the index" in done.output


def test_a_user_who_may_only_pull_from_the_embedded_registry(tmp_path: Path) -> None:
    users = tmp_path / "users"
    write_htpasswd(users, [("eve", "only-reading")])
    users.write_text(users.read_text().strip() + ":read\n")
    storage = tmp_path / "storage"
    storage.mkdir()
    with wsgi_server(create_registry(storage, users)) as url:
        done = check(url, auth=("eve", "only-reading"))
        writing = check(url, "--write", auth=("eve", "only-reading"))
    marks = done.marks()
    assert [marks[step] for step in ("sign-in", "pull", "catalog")] == ["ok", "ok", "ok"]
    assert (marks["push"], marks["delete"]) == ("note", "note")
    assert "to publish, give these credentials the right to push" in done.lines
    assert "to delete files, give these credentials the right to delete" in done.lines
    rights = "may read: yes, may publish: -, may delete: -, may list projects: yes"
    assert f"note rights     {rights}" in done.lines
    assert done.status == 0
    assert writing.status == 1
    assert (writing.marks()["push"], writing.marks()["delete"]) == ("FAIL", "FAIL")


def test_the_embedded_registry_of_this_machine_is_looked_at_without_a_server(
    tmp_path: Path,
) -> None:
    storage = {"PYOCI_STORAGE": str(tmp_path)}
    done = command("check", "embedded/python", "--write", environ=storage)
    assert done.status == 0
    assert "called within this process" in done.output
    without = command("check", "embedded/python")
    assert without.status == 1
    assert without.output == (
        "Error: to check the embedded registry, set PYOCI_STORAGE to its folder\n"
    )


def test_each_call_is_logged_when_asked_for_and_no_secret_with_it(
    docker_htpasswd: RunningRegistry,
) -> None:
    quiet = check(docker_htpasswd.url, auth=docker_htpasswd.auth)
    verbose = check(docker_htpasswd.url, "--verbose", auth=docker_htpasswd.auth)
    assert "method=GET" not in quiet.output
    assert "path=/v2/team/pyoci_probe/tags/list" in verbose.output
    assert docker_htpasswd.password is not None
    assert docker_htpasswd.password not in verbose.output


@contextmanager
def _tls_server(folder: Path) -> Iterator[tuple[str, Path]]:
    certificate, key = self_signed(folder)
    app = Recorder(create_registry(folder, None))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = make_server(LOOPBACK, 0, app, threaded=True, ssl_context=context)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"https://{LOOPBACK}:{server.port}", certificate
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_self_signed_certificate_is_refused_until_it_is_trusted(tmp_path: Path) -> None:
    with _tls_server(tmp_path) as (url, certificate):
        refused = check(url)
        trusted = command("check", f"{url}/team", environ={"REQUESTS_CA_BUNDLE": str(certificate)})
    assert refused.status == 1
    assert refused.lines[-2].startswith("FAIL TLS        to trust your own certificate authority")
    assert refused.lines[-2].endswith("set REQUESTS_CA_BUNDLE to its certificate")
    assert refused.lines[-1].startswith("the certificate of 127.0.0.1:")
    assert trusted.status == 0
    assert trusted.marks()["TLS"] == "ok"


def test_a_port_without_tls_is_distinguished_from_one_with_tls(
    docker_open: RunningRegistry,
) -> None:
    done = command("check", f"{docker_open.netloc}/team")
    assert done.status == 1
    advice = f"if the registry has no TLS, write http://{docker_open.netloc}/NAMESPACE"
    assert done.lines[-2] == f"FAIL TLS        {advice}"
    assert "does not respond with TLS" in done.lines[-1]
