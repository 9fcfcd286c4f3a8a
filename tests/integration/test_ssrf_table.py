"""Wherever a registry or a user points: which hosts are called, and which see the credentials."""

import subprocess
import sys
from pathlib import Path

import pytest
import requests
from werkzeug.wrappers import Response

from tests.conftest import AppServer
from tests.doubles import answering, tripwire, wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.integration.ssrf_world import (
    CREDENTIAL,
    ELSEWHERE,
    EVIL,
    METADATA,
    NEAR,
    NEXT_TO_IT,
    PRIVATE,
    TOKEN,
    VECTORS,
    Outcome,
    read,
)
from tests.packages import make_wheel
from tests.patience import PATIENCE
from tests.servers import ROOT

FOLLOWED = tuple(vector for vector in VECTORS if vector != "link")
BOTH = {*METADATA, *PRIVATE}
NO_HOST = {"decimal", "hex", "zero-short", "loopback-decimal", "loopback-hex"}
"""Spellings that are not a registry's host in the first place."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """The results in an isolated network with public and private addresses and names."""
    namespace = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
    try:
        # Containers often forbid this.
        subprocess.run([*namespace, "ip", "link"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this system does not allow network namespaces")
    hosts = tmp_path_factory.mktemp("world") / "hosts"
    done = subprocess.run(
        [*namespace, sys.executable, "-m", "tests.integration.ssrf_world", str(hosts)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return read(done.stdout)


@pytest.mark.parametrize("target", sorted(BOTH))
@pytest.mark.parametrize("vector", FOLLOWED)
def test_public_registry_leads_to_no_private_address(
    world: dict[str, Outcome], vector: str, target: str
) -> None:
    outcome = world[f"{vector} {target}"]
    assert outcome.status == 403, outcome.text
    assert outcome.connections == [EVIL]


@pytest.mark.parametrize("target", sorted({*BOTH, "elsewhere"}))
def test_link_to_another_host_is_asked_of_the_registry_itself(
    world: dict[str, Outcome], target: str
) -> None:
    outcome = world[f"link {target}"]
    assert outcome.status == 200, outcome.text
    assert outcome.connections == [EVIL]


def test_public_realm_is_given_the_credential_and_the_registry_the_token(
    world: dict[str, Outcome],
) -> None:
    outcome = world["realm elsewhere"]
    assert outcome.status == 200, outcome.text
    assert outcome.seen == {ELSEWHERE: [CREDENTIAL], EVIL: ["", f"Bearer {TOKEN}"]}


@pytest.mark.parametrize("vector", ["redirect", "location", "blob"])
@pytest.mark.parametrize(
    ("world_of", "other"),
    [("", ELSEWHERE), ("near ", ELSEWHERE), ("near ", NEXT_TO_IT), ("listed ", NEXT_TO_IT)],
)
def test_another_host_is_called_without_the_credential(
    world: dict[str, Outcome], vector: str, world_of: str, other: str
) -> None:
    outcome = world[f"{world_of}{vector} {'elsewhere' if other == ELSEWHERE else 'next'}"]
    assert outcome.seen[other] == [""]
    assert any(CREDENTIAL in sent for sent in outcome.seen.values())


def test_realm_at_another_private_host_needs_the_operators_list(
    world: dict[str, Outcome],
) -> None:
    refused, listed = world["near realm next"], world["listed realm next"]
    assert refused.status == 403
    assert refused.seen == {NEAR: [""]}
    assert "PYOCI_REGISTRIES" in refused.text
    assert listed.status == 200, listed.text
    assert listed.seen[NEXT_TO_IT] == [CREDENTIAL]


@pytest.mark.parametrize("vector", FOLLOWED)
def test_operators_list_opens_no_way_to_a_metadata_address(
    world: dict[str, Outcome], vector: str
) -> None:
    outcome = world[f"listed {vector} metadata"]
    assert outcome.status == 403, outcome.text
    assert outcome.connections == [EVIL]


@pytest.mark.parametrize("target", sorted(METADATA))
@pytest.mark.parametrize("setting", ["allow", "deny"])
def test_metadata_address_in_the_path_is_never_called(
    world: dict[str, Outcome], setting: str, target: str
) -> None:
    outcome = world[f"{setting} {target}"]
    assert outcome.status == (400 if target in NO_HOST else 403), outcome.text
    assert outcome.connections == []


@pytest.mark.parametrize("target", sorted(PRIVATE))
def test_private_address_in_the_path_is_called_unless_that_is_denied(
    world: dict[str, Outcome], target: str
) -> None:
    allowed, denied = world[f"allow {target}"], world[f"deny {target}"]
    assert denied.status == (400 if target in NO_HOST else 403), denied.text
    assert denied.connections == []
    if target in NO_HOST:
        assert (allowed.status, allowed.connections) == (400, [])
    else:
        assert "PYOCI_PRIVATE_NETWORKS" in denied.text
        assert allowed.status == 200, allowed.text
        assert len(allowed.connections) == 1


def test_public_registry_is_called_where_private_ones_are_denied(
    world: dict[str, Outcome],
) -> None:
    assert world["deny evil"].status == 200
    assert world["deny evil"].connections == [EVIL]


def test_name_that_turns_private_after_a_public_answer_is_refused(
    world: dict[str, Outcome],
) -> None:
    assert world["before rebinding"].status == 200
    for number in range(3):
        outcome = world[f"rebinding {number}"]
        assert outcome.status == 403, outcome.text
        assert outcome.connections == []
    assert world["rebinding 3"].connections == [EVIL]


def test_credential_is_seen_by_no_host_but_the_registry_and_its_realm(
    world: dict[str, Outcome],
) -> None:
    own = {
        "near": {NEAR},
        "listed": {EVIL},
        "allow": {EVIL, NEAR, "127.0.0.1", "127.0.0.2", "::1", "2002:a00:5::1"},
    }
    for case, outcome in world.items():
        holders = {host for host, sent in outcome.seen.items() if CREDENTIAL in sent}
        realms = {ELSEWHERE, NEXT_TO_IT} if "realm" in case else set()
        assert holders <= own.get(case.split()[0], {EVIL}) | realms, case


def test_embedded_registry_is_reached_where_private_networks_are_denied(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    other = tripwire()
    app = app_server({"PYOCI_STORAGE": str(tmp_path / "s"), "PYOCI_PRIVATE_NETWORKS": "deny"})
    index = IndexClient(f"{app}/simple", None, http)
    wheel = index.published(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")
    assert index.filenames("foo") == [wheel.name]
    assert index.get(f"/foo/{wheel.name}").content == wheel.read_bytes()
    with wsgi_server(other) as url:
        refused = http.get(f"{app}/{address(url)}/team/foo/")
    assert refused.status_code == 403
    assert "PYOCI_PRIVATE_NETWORKS" in refused.text
    assert other.calls == []


def test_name_of_the_embedded_registry_leads_nowhere_from_another_registry(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    app = app_server({"PYOCI_STORAGE": str(tmp_path / "s")})
    own = IndexClient(f"{app}/simple", None, http)
    own.published(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")
    inside = "http://embedded/v2/python/foo/tags/list"
    away = answering(Response("", 307, {"Location": inside}))
    with wsgi_server(away) as url:
        response = http.get(f"{app}/{address(url)}/python/foo/")
    assert response.status_code == 502, response.text
    assert "foo-1.0" not in response.text
