"""The order of indexes, the fallback and proxies under `run`, for pip and uv."""

from pathlib import Path

import pytest

from tests.packages import make_wheel
from tests.run_lab import (
    PASSWORD,
    USER,
    PublicIndex,
    RunLab,
    auth,
    run_lab,
    run_under,
    write_config,
)
from tests.run_projects import distributions, settings

pytestmark = pytest.mark.slow

_CLIENTS = [["pip"], ["uv", "pip"]]


@pytest.mark.parametrize("client", _CLIENTS, ids=" ".join)
def test_several_indexes_are_asked_in_their_order(
    acme: RunLab, public: PublicIndex, client: list[str]
) -> None:
    indexes = ["--index", acme.index, "--index", f"{acme.registry.url}/team"]
    install = [*client, "install", "--target", acme.folder / "it"]
    wanted = ["acme-lib", "team-lib", "common-lib"]

    run_under(acme, *install, *wanted, options=indexes, environ=settings(public))

    assert distributions(acme.folder / "it") == [
        "acme_lib-1.0",
        "common_lib-2.0",
        "team_lib-1.0",
    ]
    reverse = [*indexes[2:], *indexes[:2]]
    other = [*client, "install", "--target", acme.folder / "other"]
    run_under(acme, *other, *wanted, options=reverse, environ=settings(public))
    assert "acme_lib-5.0" in distributions(acme.folder / "other")


@pytest.mark.acceptance
@pytest.mark.parametrize("client", _CLIENTS, ids=" ".join)
def test_two_registries_are_asked_each_with_its_login(
    acme: RunLab, public: PublicIndex, client: list[str], tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    with run_lab(tmp_path / "other", "tools") as other:
        other.publish(make_wheel(tmp_path, "other-lib", "3.0"))
        hosts = (acme.registry.netloc, other.registry.netloc)
        home = acme.home("both", login=None)
        write_config(home, {"auths": dict.fromkeys(hosts, auth(USER, PASSWORD))})
        indexes = ["--index", acme.index, "--index", other.index]
        install = [*client, "install", "--target", acme.folder / "it"]

        run_under(
            acme,
            *install,
            "acme-lib",
            "other-lib",
            options=indexes,
            home=home,
            environ=settings(public),
        )

    assert "other_lib-3.0" in distributions(acme.folder / "it")


@pytest.mark.acceptance
@pytest.mark.parametrize("client", _CLIENTS, ids=" ".join)
def test_without_a_fallback_no_other_index_is_asked(
    acme: RunLab, public: PublicIndex, client: list[str]
) -> None:
    environ = {**settings(public), "UV_EXTRA_INDEX_URL": public.url}
    options = ["--index", acme.index, "--fallback", "none"]
    before = len(public.recorder.calls)
    for name, succeeds in (("acme-lib", True), ("common-lib", False)):
        install = [*client, "install", "--target", acme.folder / "it", name]
        run_under(acme, *install, options=options, environ=environ, succeeds=succeeds)
    assert len(public.recorder.calls) == before


@pytest.mark.acceptance
@pytest.mark.parametrize("client", _CLIENTS, ids=" ".join)
def test_a_fallback_can_be_chosen(acme: RunLab, public: PublicIndex, client: list[str]) -> None:
    options = ["--index", acme.index, "--fallback", public.url]
    install = [*client, "install", "--target", acme.folder / "it", "acme-app"]
    nowhere = {"UV_DEFAULT_INDEX": "http://127.0.0.1:1/", "PIP_INDEX_URL": "http://127.0.0.1:1/"}
    run_under(acme, *install, options=options, environ=nowhere)
    assert "common_lib-2.0" in distributions(acme.folder / "it")


@pytest.mark.acceptance
@pytest.mark.parametrize("excepted", ["*", "127.0.0.1,.invalid"])
def test_a_user_s_no_proxy_does_not_except_the_index(acme: RunLab, excepted: str) -> None:
    for client in _CLIENTS:
        install = [*client, "install", "--target", acme.folder / client[0], "acme-lib"]
        run_under(acme, *install, environ={"NO_PROXY": excepted, "no_proxy": excepted})


@pytest.mark.acceptance
def test_a_user_s_own_proxy_is_not_asked_for_the_index(acme: RunLab) -> None:
    names = ["ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy", "PIP_PROXY"]
    # The registry of this test is on this machine, and run itself asks it without a proxy.
    environ = dict.fromkeys(names, "http://127.0.0.1:1") | {"NO_PROXY": "127.0.0.1"}
    for client in _CLIENTS:
        install = [*client, "install", "--target", acme.folder / client[0], "acme-lib"]
        run_under(acme, *install, environ={**environ, "REQUEST_METHOD": "GET"})
