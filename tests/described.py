"""Wheels whose core metadata is written by hand: descriptions, extras, links, labels and so on."""

import hashlib
import zipfile
from pathlib import Path

from tests.packages import module_name


def make_described_wheel(
    folder: Path,
    name: str,
    version: str,
    *fields: tuple[str, str],
    description: str = "",
    metadata_version: str | None = "2.4",
) -> Path:
    """Write a wheel with these fields of core metadata and the description as their body."""
    stem = f"{module_name(name)}-{version}"
    head = [("Name", name), ("Version", version), *fields]
    if metadata_version is not None:
        head.insert(0, ("Metadata-Version", metadata_version))
    metadata = "".join(f"{key}: {text}\n" for key, text in head) + f"\n{description}"
    members = {
        f"{module_name(name)}/__init__.py": f'__version__ = "{version}"\n',
        f"{stem}.dist-info/METADATA": metadata,
        f"{stem}.dist-info/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    members[f"{stem}.dist-info/RECORD"] = "".join(f"{member},,\n" for member in members)
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in members.items():
            archive.writestr(zipfile.ZipInfo(member), text.encode())
    return path


def sha256(file: Path) -> str:
    """Return the digest of a file, in hex."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
