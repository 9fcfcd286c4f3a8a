"""What the start says: unknown variables, proxies without a list, and where packages are kept."""

import pytest

from pyoci_flask.server.announcement import how_to, listening, where_kept
from pyoci_flask.server.start import reachable_hosts
from pyoci_flask.settings import Settings
from pyoci_flask.settings.names import unknown_variables
from pyoci_flask.transport.network import Network


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("PYOCI_INDX", "; did you mean PYOCI_INDEX?"),
        ("PYOCI_REGISTRY", "; did you mean PYOCI_REGISTRIES?"),
        ("PYOCI_PORT", "; did you mean PORT?"),
        ("PYOCI_QQQQQQ", "docs/settings.md lists all settings"),
    ],
)
def test_an_unknown_variable_is_warned_of_with_the_nearest_name_and_without_its_value(
    name: str, nearest: str
) -> None:
    [warning] = unknown_variables({name: "hunter2"})
    assert warning.startswith(f"{name} is not a setting")
    assert nearest in warning
    assert "hunter2" not in warning


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PYOCI_INDEX", "ghcr.io/acme"),
        ("PYOCI_PASSWORD", "secret"),
        ("PYOCI_FLASK_STARTED", "1:2"),
        ("PYOCI_FLASK_PORT", "tcp://10.0.0.1:80"),
        ("PYOCI_FLASK_SERVICE_HOST", "10.0.0.1"),
        ("PYOCI_FLASK_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("PYOCI_INDX", ""),
    ],
)
def test_no_other_variable_is_warned_of(name: str, value: str) -> None:
    assert unknown_variables({name: value}) == []


@pytest.mark.parametrize(
    ("environ", "refused", "direct"),
    [
        ({}, None, "any host"),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "*"}, None, "any host"),
        ({"HTTPS_PROXY": "http://p"}, "calls to https registries", "any http URL directly"),
        ({"HTTP_PROXY": "http://p"}, "calls to http registries", "any https URL directly"),
        ({"ALL_PROXY": "http://p"}, "calls to https and http registries", None),
        ({"ALL_PROXY": "http://p", "NO_PROXY": "x"}, "calls to https and", "the hosts in NO_PROXY"),
    ],
)
def test_the_warning_says_which_calls_are_refused_and_which_are_made(
    environ: dict[str, str], refused: str | None, direct: str | None
) -> None:
    said = reachable_hosts(Network.from_env(environ), private=True)
    assert ("refuses them" in said) == (refused is not None)
    assert (refused or "") in said
    assert ("nybody who reaches" in said) == (direct is not None)
    assert (direct or "") in said


@pytest.mark.parametrize(
    ("environ", "kept"),
    [
        ({"PYOCI_STORAGE": "/srv/data"}, "in the folder /srv/data (embedded/python)"),
        ({"PYOCI_INDEX": "ghcr.io/acme"}, "in the registry ghcr.io/acme,"),
        ({"PYOCI_INDEX": "ghcr.io/acme", "PYOCI_STORAGE": "/srv/data"}, "registry ghcr.io/acme,"),
        ({}, "in the registry and namespace that each address contains"),
    ],
)
def test_the_log_says_where_packages_are_kept(environ: dict[str, str], kept: str) -> None:
    settings = Settings.from_env(environ)
    assert kept in where_kept(settings)
    assert kept in how_to(settings)


@pytest.mark.parametrize(
    ("addresses", "port"),
    [
        ([("127.0.0.1", 8391)], 8391),
        (["/run/pyoci.sock", ("::1", 8391, 0, 0)], 8391),
        (["/run/pyoci.sock"], 8080),
    ],
)
def test_the_log_contains_the_port_that_the_server_listens_on(
    addresses: list[object], port: int
) -> None:
    settings = listening(Settings.from_env({"PYOCI_INDEX": "ghcr.io/acme"}), addresses)
    assert f"index: http://localhost:{port}/simple/" in where_kept(settings)


_HUB = ["docker.io", "index.docker.io", "registry-1.docker.io"]


@pytest.mark.parametrize("host", _HUB)
@pytest.mark.parametrize("entry", _HUB)
def test_every_host_of_docker_hub_is_the_same_registry(entry: str, host: str) -> None:
    assert Settings.from_env({"PYOCI_REGISTRIES": entry}).lists("https", host, 443)
    index = [Settings.from_env({"PYOCI_INDEX": f"{one}/acme"}) for one in (entry, host)]
    assert index[0].index == index[1].index
    assert index[0].index is not None
    assert index[0].allows(index[0].index.registry, "acme")
    assert not index[0].lists("https", "evil.docker.io.example", 443)
