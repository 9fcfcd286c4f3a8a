"""What is read of versions that are known already."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from werkzeug.wrappers import Request, Response

from pyoci_flask.index.fetch import Allowance, Read
from pyoci_flask.index.versions import BEYOND, VersionFiles, load_files
from pyoci_flask.oci.reference import Digest, Tag
from tests.unit.cache_lab import SDIST, WHEEL, Lab, make_lab
from tests.unit.conftest import Callers
from tests.unit.index_doubles import FaultyRegistry

TAG = Tag("1.0")


@pytest.fixture
def lab(caller_of: Callers, tmp_path: Path) -> Iterator[Lab]:
    with make_lab(caller_of, tmp_path) as made:
        yield made


def _not_modified(_: FaultyRegistry, request: Request) -> Response | None:
    return Response(status=304) if "If-None-Match" in request.headers else None


def _load(lab: Lab, known: VersionFiles | None = None) -> VersionFiles:
    found = load_files(lab.repository, "1.0", TAG, known=known)
    assert isinstance(found, VersionFiles)
    return found


@pytest.mark.parametrize("conditional", [True, False])
def test_files_of_an_unchanged_version_are_the_known_ones(lab: Lab, conditional: bool) -> None:
    known = _load(lab)
    if conditional:
        lab.store.registry.faults.append(_not_modified)
    assert _load(lab, known) is known
    assert _load(lab) is not known


def test_files_of_a_version_that_changed_are_read(lab: Lab) -> None:
    known = _load(lab)
    lab.publish(SDIST)
    found = _load(lab, known)
    assert [file.filename.text for file in found.files] == [WHEEL, SDIST]


def test_known_files_of_a_deleted_version_are_gone(lab: Lab) -> None:
    known = _load(lab)
    assert lab.store.registry.ask("DELETE", lab.store.manifest("1.0")).status_code == 202
    assert load_files(lab.repository, "1.0", TAG, known=known) is None


def test_a_listing_reads_only_the_versions_that_changed(lab: Lab) -> None:
    known = _load(lab)
    other = replace(known, digest=Digest.of(b"another index"))
    for remembered, same in ((known, True), (other, False)):
        with ExitStack() as held:
            allowance = Allowance("registry", lab.reader.pool, held)
            answered: dict[str, Read] = {}
            found = allowance.read(lab.repository, ["1.0"], answered, {"1.0": remembered})
        assert answered == found
        assert (found["1.0"] is remembered) is same
        assert found["1.0"] == known


def test_a_version_that_is_not_wanted_any_more_is_beyond(lab: Lab) -> None:
    other = replace(_load(lab), digest=Digest.of(b"another index"))
    assert load_files(lab.repository, "1.0", TAG, lambda: False, other) is BEYOND
