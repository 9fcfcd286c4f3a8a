"""The environment of a command under `run`."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from pyoci_flask.cli.run.variables import environment
from pyoci_flask.settings import PinnedIndex

_ACME, _TEAM = PinnedIndex.parse("ghcr.io/acme"), PinnedIndex.parse("http://localhost:5000/team")
_ACME_URL = "http://run.pyoci.invalid/ghcr.io/acme/"
_TEAM_URL = "http://run.pyoci.invalid/http%3A%2F%2Flocalhost%3A5000/team/"
_NO_FILES = {"PIP_CONFIG_FILE": os.devnull}


def variables(
    environ: Mapping[str, str] | None = None,
    *,
    named: tuple[PinnedIndex, ...] = (_ACME,),
    others: tuple[PinnedIndex, ...] = (),
    fallback: str | None = None,
) -> dict[str, str]:
    given = {**_NO_FILES, **(environ or {})}
    return environment(given, named, [*named, *others], 4321, "s3cret", fallback)


def test_http_goes_through_this_run_and_https_as_before() -> None:
    theirs = {
        "HTTP_PROXY": "http://corp:1",
        "HTTPS_PROXY": "http://corp:2",
        "ALL_PROXY": "socks5://corp:3",
    }
    found = variables(theirs)
    for name in ("HTTP_PROXY", "http_proxy"):
        assert found[name] == "http://run:s3cret@127.0.0.1:4321"
    assert found["HTTPS_PROXY"] == "http://corp:2"
    assert found["ALL_PROXY"] == "socks5://corp:3"
    assert "https_proxy" not in found


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ("", "localhost,127.0.0.1,::1"),
        ("corp.example, 10.0.0.0/8", "corp.example,10.0.0.0/8,localhost,127.0.0.1,::1"),
        ("localhost,corp.example", "localhost,corp.example,127.0.0.1,::1"),
        (".invalid,*.pyoci.invalid,run.pyoci.invalid:80 INVALID", "localhost,127.0.0.1,::1"),
        ("other.invalid,id,oci.invalid", "other.invalid,id,oci.invalid,localhost,127.0.0.1,::1"),
    ],
)
def test_the_index_is_never_excepted_from_proxies_and_loopback_always_is(
    theirs: str, expected: str
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        found = variables({name: theirs})
        assert found["NO_PROXY"] == found["no_proxy"] == expected


def test_who_wants_no_proxy_at_all_gets_only_that_of_the_run() -> None:
    theirs = {"HTTPS_PROXY": "http://corp:2", "all_proxy": "http://corp:3", "PIP_PROXY": "http://c"}
    found = variables({"NO_PROXY": "*", **theirs})
    assert found["HTTP_PROXY"].endswith("@127.0.0.1:4321")
    assert found["NO_PROXY"] == "localhost,127.0.0.1,::1"
    assert not {"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "PIP_PROXY"} & set(found)


def test_pip_s_own_proxy_is_used_for_https_only() -> None:
    found = variables({"PIP_PROXY": "http://corp:8"})
    assert "PIP_PROXY" not in found
    assert found["HTTPS_PROXY"] == found["https_proxy"] == "http://corp:8"
    found = variables({"PIP_PROXY": "http://corp:8", "https_proxy": "http://corp:9"})
    assert found["https_proxy"] == "http://corp:9"
    assert "HTTPS_PROXY" not in found


def test_pip_has_one_index_and_trusts_its_host_as_well() -> None:
    found = variables({"PIP_INDEX_URL": "https://mirror.example", "PIP_TRUSTED_HOST": "a b"})
    assert found["PIP_INDEX_URL"] == f"{_ACME_URL}+simple/"
    assert found["PIP_EXTRA_INDEX_URL"].split() == []
    assert found["PIP_EXTRA_INDEX_URL"]  # pip ignores an empty value
    assert found["PIP_TRUSTED_HOST"] == "a b run.pyoci.invalid"
    assert variables()["PIP_TRUSTED_HOST"] == "run.pyoci.invalid"


def test_the_hosts_that_pip_s_files_trust_stay_trusted(tmp_path: Path) -> None:
    def trusted(**environ: str) -> list[str]:
        given = {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path / "etc"), **environ}
        found = environment(given, [_ACME], [_ACME], 1, "s", None)
        return found["PIP_TRUSTED_HOST"].split()

    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    ours = "run.pyoci.invalid"
    write("etc/pip/pip.conf", "[global]\ntrusted-host = all.example\n")
    assert trusted() == ["all.example", ours]
    write(".config/pip/pip.conf", "[global]\ntrusted_host =\n  one.example\n  two.example\n")
    assert trusted() == ["one.example", "two.example", ours]
    write("venv/pip.conf", "[install]\ntrusted-host = venv.example\n")
    assert trusted(VIRTUAL_ENV=str(tmp_path / "venv")) == ["venv.example", ours]
    write("own.conf", "[download]\ntrusted-host = ignored.example\n")
    assert trusted(PIP_CONFIG_FILE=str(tmp_path / "own.conf")) == ["all.example", ours]
    assert trusted(PIP_CONFIG_FILE=os.devnull) == [ours]
    assert trusted(PIP_TRUSTED_HOST="mine.example") == ["mine.example", ours]


@pytest.mark.parametrize("text", ["no section", "[global\n", "[global]\ntrusted-host = a\0b\n"])
def test_a_damaged_file_of_pip_trusts_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(text)
    found = variables({"PIP_CONFIG_FILE": str(file), "XDG_CONFIG_DIRS": str(tmp_path / "none")})
    assert found["PIP_TRUSTED_HOST"] == "run.pyoci.invalid"


def test_uv_asks_the_named_indexes_first_and_then_the_user_s_own() -> None:
    theirs = {
        "UV_INDEX": "corp=https://corp.example/simple",
        "UV_DEFAULT_INDEX": "https://mirror.example",
        "UV_EXTRA_INDEX_URL": "https://extra.example",
    }
    found = variables(theirs, named=(_ACME, _TEAM))
    assert found["UV_INDEX"] == f"{_ACME_URL} {_TEAM_URL} corp=https://corp.example/simple"
    assert found["UV_DEFAULT_INDEX"] == "https://mirror.example"
    assert found["UV_EXTRA_INDEX_URL"] == "https://extra.example"


def test_what_the_project_names_is_left_to_uv_s_own_configuration() -> None:
    assert "UV_INDEX" not in variables(named=(), others=(_ACME,))
    assert variables(others=(_TEAM,))["UV_INDEX"] == _ACME_URL


def test_a_fallback_takes_the_place_of_the_user_s_own_indexes() -> None:
    theirs = dict.fromkeys(("UV_INDEX", "UV_DEFAULT_INDEX"), "https://other.example")
    theirs |= dict.fromkeys(("UV_INDEX_URL", "UV_EXTRA_INDEX_URL"), "https://other.example")
    found = variables(theirs, fallback="https://mirror.example/simple")
    assert (found["UV_INDEX"], found["UV_DEFAULT_INDEX"]) == (
        _ACME_URL,
        "https://mirror.example/simple",
    )
    assert not {"UV_INDEX_URL", "UV_EXTRA_INDEX_URL"} & set(found)


@pytest.mark.parametrize(
    ("named", "others", "first"),
    [((_TEAM, _ACME), (), _TEAM_URL), ((_TEAM,), (_ACME,), _TEAM_URL), ((), (_ACME,), "")],
)
def test_without_a_fallback_uv_asks_only_the_indexes_of_the_run(
    named: tuple[PinnedIndex, ...], others: tuple[PinnedIndex, ...], first: str
) -> None:
    found = variables(
        {"UV_INDEX": "https://o.example"}, named=named, others=others, fallback="none"
    )
    assert (found["UV_INDEX"], found["UV_DEFAULT_INDEX"]) == (first, _ACME_URL)


def test_every_publisher_has_the_publish_address_and_the_secret_of_the_run() -> None:
    found = variables({"TWINE_PASSWORD": "theirs", "UV_PUBLISH_USERNAME": "theirs"})
    address = "http://127.0.0.1:4321/ghcr.io/acme/"
    for name in (
        "UV_PUBLISH_URL",
        "TWINE_REPOSITORY_URL",
        "HATCH_INDEX_REPO",
        "FLIT_INDEX_URL",
        "PDM_PUBLISH_REPO",
        "POETRY_REPOSITORIES_RUN_URL",
    ):
        assert found[name] == address, name
    users = [name for name in found if found[name] == "run"]
    passwords = [name for name in found if found[name] == "s3cret"]
    assert len(users) == len(passwords) == 6
    assert {"TWINE_PASSWORD", "HATCH_INDEX_AUTH"} <= set(passwords)
    assert "UV_PUBLISH_USERNAME" in users


def test_what_would_misdirect_a_client_is_removed() -> None:
    names = [
        "PYOCI_USERNAME",
        "PYOCI_PASSWORD",
        "PYOCI_SOURCE_PASSWORD",
        "REQUEST_METHOD",
        "UV_PUBLISH_TOKEN",
        "UV_PUBLISH_INDEX",
        "UV_PUBLISH_CHECK_URL",
    ]
    found = variables({**dict.fromkeys(names, "x"), "PYOCI_CACHE_TTL": "60", "EDITOR": "vi"})
    assert not set(names) & set(found)
    assert (found["PYOCI_CACHE_TTL"], found["EDITOR"]) == ("60", "vi")


def test_pip_does_not_look_for_its_newest_version_unless_the_user_says_so() -> None:
    name = "PIP_DISABLE_PIP_VERSION_CHECK"
    assert variables()[name] == "1"
    assert variables({name: "0"})[name] == "0"
