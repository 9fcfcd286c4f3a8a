"""Yank files (PEP 592): mark them so that installers ignore them unless a version is pinned."""

from dataclasses import replace

from pyoci_flask.errors import NotFoundError
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.names import Filename
from pyoci_flask.index.project import YANKED, File
from pyoci_flask.index.project_repository import Candidates
from pyoci_flask.index.rewrite import rewrite_found
from pyoci_flask.index.versions import VersionIndex, hold_version, same_files
from pyoci_flask.oci.model import Descriptor, ImageIndex
from pyoci_flask.oci.reference import Digest


def set_yanked(
    candidates: Candidates,
    version: str,
    filename: Filename | None,
    reason: str | None,
    locks: VersionLocks,
    settle: float = 0.0,
    changed: list[File] | None = None,
) -> None:
    """Yank a file, or all files of a version if `filename` is None.

    `reason` may be empty; None removes the mark. Files whose mark was changed are added to
    `changed`, also if an error follows.

    Raises:
        NotFoundError: the version or the file does not exist.
    """
    with hold_version(candidates, version, locks) as parts:
        chosen = {
            file.entry.digest
            for _, found in parts
            for file in (same_files(found, filename) if filename else found.files)
        }
        if not chosen:
            what = f"no file {filename.text}" if filename else "no files"
            raise NotFoundError(
                f"version {version} of {candidates[0].project} has {what}",
                advice="Check the version and the name of the file; the page of the "
                "project lists them",
            )

        def mark(now: VersionIndex | None) -> ImageIndex | None:
            if now is None:
                raise NotFoundError(
                    f"version {version} of {candidates[0].project} was deleted",
                    advice="Check the version; it was deleted in the meantime",
                )
            entries = tuple(_marked(entry, chosen, reason) for entry in now.index.manifests)
            annotations = dict(now.index.annotations)
            if filename is None and reason is not None:
                annotations[YANKED] = reason
            elif reason is None:
                annotations.pop(YANKED, None)
            if (entries, annotations) == (now.index.manifests, now.index.annotations):
                return None
            return replace(now.index, manifests=entries, annotations=annotations)

        for repository, found in parts:
            differs = mark(found) is not None
            rewrite_found(repository, found, mark, settle)
            if changed is not None and differs:
                changed += [file for file in found.files if file.entry.digest in chosen]


def _marked(entry: Descriptor, chosen: set[Digest], reason: str | None) -> Descriptor:
    if entry.digest not in chosen:
        return entry
    annotations = {name: text for name, text in entry.annotations.items() if name != YANKED}
    if reason is not None:
        annotations[YANKED] = reason
    return replace(entry, annotations=annotations)
