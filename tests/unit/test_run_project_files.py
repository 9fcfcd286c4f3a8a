"""The indexes that the files of a project name."""

import os
import time
from pathlib import Path

import pytest

from pyoci_flask.cli.run.project_files import named_indexes

_ACME = "http://run.pyoci.invalid/ghcr.io/acme/"
_UV = f'[[tool.uv.index]]\nname = "acme"\nurl = "{_ACME}"\n'


def named(folder: Path) -> list[str]:
    return [f"{index.registry.address}/{index.namespace}" for index in named_indexes(folder)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", _UV),
        ("pyproject.toml", f'[[tool.poetry.source]]\nname = "acme"\nurl = "{_ACME}"\n'),
        ("pyproject.toml", f'[[tool.pdm.source]]\nname = "acme"\nurl = "{_ACME}"\n'),
        ("pyproject.toml", f'[tool.uv.pip]\nextra-index-url = ["{_ACME}"]\n'),
        ("pyproject.toml", f'[tool.uv]\nindex-url = "{_ACME.rstrip("/")}"\n'),
        ("uv.toml", f'[[index]]\nurl = "{_ACME}"\n'),
        ("pdm.toml", f'[pypi]\nurl = "{_ACME}"\n'),
        ("Pipfile", f'[[source]]\nname = "acme"\nurl = "{_ACME}+simple/"\nverify_ssl = true\n'),
        ("requirements.txt", f"--index-url {_ACME}+simple/\nacme-lib\n"),
        ("requirements-dev.txt", f"-i {_ACME}+simple # private\nacme-lib\n"),
        ("requirements.txt", f'--index-url="{_ACME}+simple/"\n'),
        ("requirements.txt", f"\ufeff-i {_ACME}\r\n"),
    ],
)
def test_a_file_names_an_index(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert named(tmp_path) == ["ghcr.io/acme"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http%3A%2F%2Flocalhost%3A5000/team/python/", "http://localhost:5000/team/python"),
        ("http:%2F%2Flocalhost:5000/team/", "http://localhost:5000/team"),
        ("ghcr.io/Acme/", "ghcr.io/acme"),
    ],
)
def test_the_registry_in_an_address_may_be_encoded(tmp_path: Path, url: str, expected: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f'a = "http://run.pyoci.invalid/{url}"\n')
    assert named(tmp_path) == [expected]


def test_indexes_are_in_the_order_of_the_files_and_each_is_named_once(tmp_path: Path) -> None:
    team = _ACME.replace("acme", "team")
    (tmp_path / "pyproject.toml").write_text(f'urls = ["{_ACME}", "{team}", "{_ACME}+simple/"]\n')
    (tmp_path / "requirements.txt").write_text(f"-i {_ACME}\n-i {_ACME.replace('acme', 'last')}")
    assert named(tmp_path) == ["ghcr.io/acme", "ghcr.io/team", "ghcr.io/last"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ghcr.io",
        "ghcr.io/",
        "+simple/",
        "ghcr.io/a%20b/",
        "ghcr.io/acme/../other/",
        "ghcr.io/%00/",
        "%zz/%zz/",
        "user:pass@ghcr.io/acme/",
    ],
)
def test_an_address_without_a_registry_and_a_namespace_names_nothing(
    tmp_path: Path, url: str
) -> None:
    (tmp_path / "requirements.txt").write_text(f"-i http://run.pyoci.invalid/{url}\n")
    (tmp_path / "pyproject.toml").write_text(f'a = "http://run.pyoci.invalid/{url}"\n')
    assert named(tmp_path) == []


@pytest.mark.parametrize(
    "text",
    [
        'a = "https://run.pyoci.invalid/ghcr.io/acme/"\n',
        'a = "http://run.pyoci.invalid.example/ghcr.io/acme/"\n',
        'a = "http://run.pyoci.invalid@example.com/ghcr.io/acme/"\n',
        'a = "http://example.com/?http://run.pyoci.invalid/ghcr.io/acme/"\n',
    ],
)
def test_other_hosts_name_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert named(tmp_path) == []


def test_comments_name_nothing(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("".join(f"# {line}\n" for line in _UV.splitlines()))
    (tmp_path / "requirements.txt").write_text(f"# -i {_ACME}\nacme-lib  # -i {_ACME}\n")
    assert named(tmp_path) == []


def test_a_folder_without_files_names_nothing(tmp_path: Path) -> None:
    assert named(tmp_path) == []
    assert named(tmp_path / "none") == []


@pytest.mark.parametrize(
    "text",
    [
        "a" + ".a" * 60_000 + " = 1\n",
        "[" + "a." * 60_000 + "a]\n",
        "a = " + "[" * 100_000 + "\n",
        "a = " + "[" * 900 + f'"{_ACME}"' + "]" * 900 + "\n",
        "a" + ".a" * 990 + f' = "{_ACME}"\n',
        "not = toml = at all\n",
        "a = \0\n",
        'a = "' + "x" * 300_000 + '"\n',
        "".join(f"# {'.' * 1000}\n" for _ in range(250)),
    ],
)
def test_a_hostile_document_names_nothing_and_takes_no_time(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f"{text}# {_ACME}\n")
    (tmp_path / "requirements.txt").write_text(f"-i {_ACME.replace('acme', 'team')}\n")
    begun = time.process_time()
    assert named(tmp_path) == ["ghcr.io/team"]
    assert time.process_time() - begun < 5


def test_bytes_that_are_no_text_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_bytes(b"\xff\xfe\0" + f"\n-i {_ACME}\n".encode())
    assert named(tmp_path) == ["ghcr.io/acme"]


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pyproject.toml")
    os.mkfifo(tmp_path / "requirements.txt")
    (tmp_path / "uv.toml").mkdir()
    (tmp_path / "pdm.toml").symlink_to("/dev/zero")
    (tmp_path / "Pipfile").symlink_to(tmp_path / "Pipfile")
    assert named(tmp_path) == []


def test_the_number_of_files_and_indexes_is_bounded(tmp_path: Path) -> None:
    for number in range(60):
        url = f"http://run.pyoci.invalid/ghcr.io/team-{number}/"
        (tmp_path / f"requirements-{number}.txt").write_text(f"-i {url}\n")
    assert len(named(tmp_path)) == 20
