import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyoci_flask.registry.__main__ import main
from tests.patience import PATIENCE
from tests.unit.registry.client import MANIFEST, RegistryClient, descriptor, digest_of, index


def contents(storage: Path, name: str) -> set[str]:
    return {"sha256:" + path.name for path in (storage / name / "blobs" / "sha256").iterdir()}


def test_what_a_tag_leads_to_stays(registry: RegistryClient, storage: Path) -> None:
    children = [registry.push_image("x", None, layer) for layer in (b"one", b"two")]
    registry.push_manifest("x", index(*children), "1.0")
    registry.push_image("x", "plain", b"three")
    before = contents(storage, "x")

    assert main(["gc", str(storage)]) == 0

    assert contents(storage, "x") == before
    assert registry.get("/v2/x/manifests/1.0").status_code == 200


def test_what_no_tag_leads_to_goes(
    registry: RegistryClient, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = registry.push_image("x", "1.0", b"shared")
    old = registry.push_image("x", "2.0", b"shared", b"old layer")
    new = registry.push_image("x", "2.0", b"shared", b"new layer")
    child = registry.push_image("x", None, b"child layer")
    registry.push_blob("x", b"never used")

    assert main(["gc", str(storage)]) == 0

    expected = {b"{}", b"shared", b"new layer", kept, new}
    assert contents(storage, "x") == {digest_of(content) for content in expected}
    for gone in (old, child):
        assert registry.get(f"/v2/x/manifests/{digest_of(gone)}").status_code == 404
    freed = len(old) + len(child) + len(b"old layer" + b"child layer" + b"never used")
    assert capsys.readouterr().out.splitlines() == [
        "uploads: 0 files, 0 bytes",
        f"x: 5 files, {freed} bytes",
        f"freed: 5 files, {freed} bytes",
    ]


def test_a_dry_run_tells_and_removes_nothing(
    registry: RegistryClient, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.push_image("a/b", None, b"layer")
    before = contents(storage, "a/b")

    assert main(["gc", str(storage), "--dry-run"]) == 0

    assert contents(storage, "a/b") == before
    assert "would be freed: 3 files" in capsys.readouterr().out


def test_referrers_of_what_stays_stay_and_others_go(
    registry: RegistryClient, storage: Path
) -> None:
    kept = registry.push_image("x", "1.0", b"kept")
    gone = registry.push_image("x", None, b"gone")
    signature = registry.push_image("x", None, b"s1", subject=descriptor(kept, MANIFEST))
    of_signature = registry.push_image("x", None, b"s2", subject=descriptor(signature, MANIFEST))
    orphan = registry.push_image("x", None, b"s3", subject=descriptor(gone, MANIFEST))

    main(["gc", str(storage)])

    stay = {b"{}", b"kept", b"s1", b"s2", kept, signature, of_signature}
    assert contents(storage, "x") == {digest_of(content) for content in stay}
    listed = registry.get(f"/v2/x/referrers/{digest_of(kept)}").json()["manifests"]
    assert [entry["digest"] for entry in listed] == [digest_of(signature)]
    assert registry.get(f"/v2/x/referrers/{digest_of(gone)}").json()["manifests"] == []
    assert registry.get(f"/v2/x/manifests/{digest_of(orphan)}").status_code == 404


def test_the_subject_of_what_stays_stays(registry: RegistryClient, storage: Path) -> None:
    subject = registry.push_image("x", None, b"subject")
    registry.push_image("x", "signature", b"s", subject=descriptor(subject, MANIFEST))

    main(["gc", str(storage)])

    assert registry.get(f"/v2/x/manifests/{digest_of(subject)}").content == subject
    assert registry.get(f"/v2/x/blobs/{digest_of(b'subject')}").content == b"subject"


def test_an_index_whose_child_is_gone_keeps_the_others(
    registry: RegistryClient, storage: Path
) -> None:
    children = [registry.push_image("x", None, layer) for layer in (b"one", b"two")]
    registry.push_manifest("x", index(*children), "1.0")
    registry.request("DELETE", f"/v2/x/manifests/{digest_of(children[0])}")

    assert main(["gc", str(storage)]) == 0

    assert registry.get(f"/v2/x/blobs/{digest_of(b'two')}").status_code == 200
    assert registry.get(f"/v2/x/blobs/{digest_of(b'one')}").status_code == 404


def test_a_mounted_blob_frees_nothing(
    registry: RegistryClient, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.push_image("x", "1.0", b"layer")
    mount = f"?mount={digest_of(b'layer')}&from=x"
    assert registry.request("POST", f"/v2/y/blobs/uploads/{mount}").status_code == 201

    main(["gc", str(storage)])

    assert "y: 1 files, 0 bytes" in capsys.readouterr().out
    assert registry.get(f"/v2/x/blobs/{digest_of(b'layer')}").content == b"layer"


def test_stale_uploads_go_and_fresh_ones_stay(
    registry: RegistryClient, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = registry.begin_upload("x")
    stale = registry.begin_upload("x")
    registry.request("PATCH", stale, b"12345")
    (file,) = (storage / ".uploads").glob(stale.rpartition("/")[2] + "*")
    yesterday = time.time() - 25 * 60 * 60
    os.utime(file, (yesterday, yesterday))

    main(["gc", str(storage), "--dry-run"])
    assert registry.get(stale).status_code == 204
    main(["gc", str(storage)])

    assert (registry.get(stale).status_code, registry.get(fresh).status_code) == (404, 204)
    assert capsys.readouterr().out.count("uploads: 1 files, 5 bytes") == 2


def test_a_layout_without_blobs_is_a_repository_without_garbage(
    registry: RegistryClient, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.push_blob("y", b"unused")
    (storage / "x").mkdir()
    (storage / "x" / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')

    assert main(["gc", str(storage)]) == 0

    assert contents(storage, "y") == set()
    assert "x: 0 files, 0 bytes" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["index", "manifest", "foreign entry", "folder for a blob"])
def test_a_repository_that_cannot_be_understood_is_left_alone(
    registry: RegistryClient, storage: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    pushed = registry.push_image("x", "1.0", b"layer")
    registry.push_blob("x", b"unused")
    registry.push_blob("y", b"unused")
    index_file = storage / "x" / "index.json"
    if damage == "index":
        index_file.write_text("{")
    elif damage == "manifest":
        blob = digest_of(pushed).removeprefix("sha256:")
        (storage / "x" / "blobs" / "sha256" / blob).write_text("{")
    elif damage == "folder for a blob":
        blob = digest_of(b"unused").removeprefix("sha256:")
        (storage / "x" / "blobs" / "sha256" / blob).unlink()
        (storage / "x" / "blobs" / "sha256" / blob).mkdir()
    else:
        document = json.loads(index_file.read_text())
        document["manifests"].append(descriptor(b"x", "application/x"))
        index_file.write_text(json.dumps(document))

    assert main(["gc", str(storage)]) == 1

    assert digest_of(b"unused") in contents(storage, "x")
    assert contents(storage, "y") == set()
    assert "x: left alone" in capsys.readouterr().err


def test_gc_runs_as_a_command(registry: RegistryClient, storage: Path) -> None:
    registry.push_blob("x", b"unused")

    done = subprocess.run(
        [sys.executable, "-m", "pyoci_flask.registry", "gc", str(storage)],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )

    assert done.stdout.endswith("freed: 1 files, 6 bytes\n")
    assert contents(storage, "x") == set()


def test_gc_refuses_a_folder_that_is_no_storage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["gc", str(tmp_path)])

    assert "not a storage folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
