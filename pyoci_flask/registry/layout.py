"""One repository on disk: an OCI image layout, and the additional data that a registry stores.

- `oci-layout`, `index.json`, `blobs/<algorithm>/<hex>`: the image layout (image specification).
- `.manifests/<hex>`: marks a blob as a manifest and contains its media type. A manifest with a tag
  needs no marker, because `index.json` has its media type, and neither does a layout that another
  program wrote. A marker is written before an entry is removed from `index.json`.
- `.referrers/<hex of the subject>/<hex>`: records that a manifest has this subject.
- `.lock`: locked while any of these files changes.

A manifest is written blob first and tag last, and deleted in the opposite order, so that the files
that a killed process leaves behind are still valid.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyoci_flask.registry import layout_index
from pyoci_flask.registry.documents import (
    INDEX_TYPES,
    Descriptor,
    Manifest,
    parse_manifest,
)
from pyoci_flask.registry.errors import (
    DistributionError,
    blob_unknown,
    manifest_unknown,
    name_unknown,
    unsupported,
)
from pyoci_flask.registry.files import (
    FileCache,
    folder_content,
    has_content,
    locked,
    make_folders,
    read_file,
    regular_file,
    remove_file,
    staged,
    write_file,
)
from pyoci_flask.registry.layout_index import Entry, LayoutIndex
from pyoci_flask.registry.layout_paths import LayoutPaths
from pyoci_flask.registry.names import Digest, RepositoryName, Tag


@dataclass(frozen=True)
class ImageLayout(LayoutPaths):
    """A repository, which need not exist. `scratch` is the folder for half-written files."""

    name: RepositoryName
    scratch: Path
    cached_index: FileCache[LayoutIndex]

    def exists(self) -> bool:
        """Return whether anything was ever pushed to this repository."""
        return regular_file(self.index_file) is not None

    def has_lost_index(self) -> bool:
        """Return whether there is content but no index, although the index is written first.

        `oci-layout` does not count as content, because a process that was killed while it made the
        layout may have left it behind.
        """
        if self.exists():
            return False
        filled = any(has_content(folder) for folder in self.blob_folders)
        # Check again, because the first blob may have been pushed in the meantime.
        return filled and not self.exists()

    def read_index(self) -> LayoutIndex:
        """Read `index.json`; return an empty index if the repository does not exist."""
        try:
            return self.cached_index.get()
        except (FileNotFoundError, NotADirectoryError):
            return layout_index.EMPTY_INDEX

    def create(self, digest: Digest) -> None:
        """Make the layout if it does not exist. Call this before `digest` is put into it.

        The index is written last, because a layout counts as existing once it has an index.
        """
        make_folders(self.blob(digest).parent, self.markers)
        if self._missing():
            with (
                locked(self.folder / ".lock"),
                staged(self._missing(), self.scratch) as put_in_place,
            ):
                put_in_place()

    def _missing(self) -> dict[Path, bytes]:
        return {
            path: content for path, content in self.own_files.items() if regular_file(path) is None
        }

    @contextmanager
    def changing(self, missing: DistributionError) -> Iterator[None]:
        """Lock the repository while the block runs; raise `missing` if it does not exist."""
        if not self.exists():
            raise missing
        with locked(self.folder / ".lock"):
            yield

    def resolve(self, reference: Tag | Digest) -> Descriptor | None:
        """Return the manifest that a tag or digest refers to, or None if it is unknown.

        The content of a manifest that is found by digest exists; that of a tag may be missing.
        """
        if isinstance(reference, Digest):
            media_type = self.manifest_type(reference)
            found = regular_file(self.blob(reference))
            if media_type is None or found is None:
                return None
            return Descriptor(media_type, reference, found.st_size)
        return self.read_index().tags.get(reference)

    def manifest_type(self, digest: Digest) -> str | None:
        """Return the media type of a manifest, or None if the digest is not that of a manifest."""
        try:
            return read_file(self.markers / digest.hex).decode()
        except FileNotFoundError:
            pass
        known = self.read_index()
        if digest in known.manifests:
            return known.manifests[digest].media_type
        if regular_file(self.blob(digest)) is None:
            return None
        return self._child_type(digest, known)

    def _child_type(self, digest: Digest, known: LayoutIndex) -> str | None:
        # A layout that another program wrote has no markers, but its indexes contain the type.
        seen: set[Digest] = set()
        queue = [entry for entry in known.manifests.values() if entry.media_type in INDEX_TYPES]
        while queue:
            parent = queue.pop()
            for child in self._references(parent):
                if child.digest == digest and child.is_manifest:
                    return child.media_type
                if child.media_type in INDEX_TYPES and child.digest not in seen:
                    seen.add(child.digest)
                    queue.append(child)
        return None

    def _references(self, parent: Descriptor) -> tuple[Descriptor, ...]:
        manifest = self.find_manifest(parent)
        return () if manifest is None else manifest.references

    def read_manifest(self, descriptor: Descriptor) -> Manifest:
        """Read a stored manifest; raise `FileNotFoundError` or `DistributionError`."""
        return parse_manifest(read_file(self.blob(descriptor.digest)), descriptor.media_type)

    def find_manifest(self, descriptor: Descriptor) -> Manifest | None:
        """Read a stored manifest; return None if it is missing or not valid."""
        try:
            return self.read_manifest(descriptor)
        except (FileNotFoundError, DistributionError):
            return None

    def put_manifest(
        self, manifest: Manifest, content: bytes, digest: Digest, tags: Sequence[Tag]
    ) -> None:
        """Store a manifest under the digest of its content, and point `tags` to it.

        Raises `DistributionError` (MANIFEST_BLOB_UNKNOWN) if content that it refers to is missing.
        """
        descriptor = Descriptor(manifest.media_type, digest, len(content))
        if not self.exists():
            self._check_references(manifest)
        self.create(digest)
        files = {self.blob(digest): content}
        referrer = None
        if manifest.subject is not None:
            referrer = self.referrers / manifest.subject.hex / digest.hex
            files[referrer] = b""
        if not tags:  # else `index.json` says that it is a manifest
            files[self.markers / digest.hex] = manifest.media_type.encode()
        # The files are written before the lock is taken, because others may wait for it.
        with (
            staged(files, self.scratch) as put_in_place,
            self.changing(name_unknown(self.name)),
        ):
            self._check_references(manifest)
            if referrer is not None:
                make_folders(referrer.parent)
            put_in_place()
            if tags:
                named = {tag: layout_index.tag_entry(tag, descriptor) for tag in tags}
                self._change_index(lambda entry: entry.ref_name in named, list(named.values()))

    def _check_references(self, manifest: Manifest) -> None:
        for reference in manifest.references:
            if reference.is_manifest:
                missing = self.resolve(reference.digest) is None
            else:
                missing = regular_file(self.blob(reference.digest)) is None
            if missing and not reference.is_foreign:
                raise DistributionError(
                    400,
                    "MANIFEST_BLOB_UNKNOWN",
                    "the manifest refers to a blob or manifest that this repository does not have",
                    {"digest": str(reference.digest)},
                )

    def delete_tag(self, tag: Tag) -> None:
        """Remove a tag but not its manifest.

        Raises `DistributionError` (MANIFEST_UNKNOWN) if the tag does not exist.
        """
        missing = manifest_unknown(tag)
        with self.changing(missing):
            if tag not in self.cached_index.get().tags:
                raise missing
            self._change_index(lambda entry: entry.ref_name == tag)

    def delete_manifest(self, digest: Digest) -> None:
        """Remove a manifest and its tags.

        Raises `DistributionError` (MANIFEST_UNKNOWN) if the manifest does not exist.
        """
        missing = manifest_unknown(str(digest))
        with self.changing(missing):
            media_type = self.manifest_type(digest)
            if media_type is None:
                raise missing
            descriptor = Descriptor(media_type, digest, 0)
            manifest = self.find_manifest(descriptor)
            self._mark([descriptor])  # so that its children remain known
            self._change_index(lambda entry: entry.digest == str(digest))
            if manifest is not None and manifest.subject is not None:
                (self.referrers / manifest.subject.hex / digest.hex).unlink(missing_ok=True)
            remove_file(self.markers / digest.hex)
            remove_file(self.blob(digest))

    def delete_blob(self, digest: Digest) -> None:
        """Remove a blob that is not a manifest.

        Raises `DistributionError`: BLOB_UNKNOWN if it does not exist, UNSUPPORTED for a manifest.
        """
        missing = blob_unknown(str(digest))
        with self.changing(missing):
            if regular_file(self.blob(digest)) is None:
                raise missing
            if self.manifest_type(digest) is not None:
                raise unsupported("the digest is that of a manifest; delete it under /manifests/")
            remove_file(self.blob(digest))

    def referring(self, subject: Digest) -> Iterator[Descriptor]:
        """Yield the manifests with this subject, sorted by digest."""
        for path in sorted(folder_content(self.referrers / subject.hex)):
            descriptor = self.resolve(Digest(path.name))
            if descriptor is not None:
                yield descriptor

    def _change_index(
        self, is_dropped: Callable[[Entry], bool], added: Sequence[Entry] = ()
    ) -> None:
        known = self.cached_index.get()
        dropped = [entry for entry in known.entries if is_dropped(entry)]
        if dropped == list(added):
            return
        self._mark(entry.manifest for entry in dropped if entry.manifest is not None)
        changed = known.changed(is_dropped, added)
        content = changed.serialize()
        write_file(self.index_file, content, self.scratch)
        self.cached_index.put(content, changed)

    def _mark(self, manifests: Iterable[Descriptor]) -> None:
        """Mark these manifests and the ones they refer to, before they leave `index.json`."""
        make_folders(self.markers)
        seen: set[Digest] = set()
        queue = list(manifests)
        while queue:
            one = queue.pop()
            if one.digest in seen or regular_file(self.blob(one.digest)) is None:
                continue
            seen.add(one.digest)
            if regular_file(self.markers / one.digest.hex) is None:
                marker = self.markers / one.digest.hex
                write_file(marker, one.media_type.encode(), self.scratch)
            if one.media_type in INDEX_TYPES:
                queue.extend(child for child in self._references(one) if child.is_manifest)
