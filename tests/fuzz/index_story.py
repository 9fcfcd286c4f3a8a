"""The operations on an index, through a worker or past all of them, and their expected results."""

import uuid
from dataclasses import dataclass, field, replace

import requests

from pyoci_flask.registry.gc import collect_repository
from pyoci_flask.registry.names import RepositoryName
from pyoci_flask.registry.storage import Storage
from tests.fuzz.index_model import (
    FOREIGN,
    KINDS,
    SDIST,
    TTL,
    Key,
    Model,
    State,
    Stored,
    files_of,
    original,
    package,
    tag_of,
)
from tests.fuzz.index_site import HOSTS, KEEPING, Site
from tests.integration.index_client import IndexClient, address, upload_form
from tests.integration.oci_client import EMPTY, MANIFEST, OCIClient, push_original, sha256


@dataclass(frozen=True, slots=True)
class Step:
    """An operation, the worker that is asked, and its parameters; each uses some of them."""

    operation: str
    worker: str
    project: str
    spelling: str
    """Of the project."""
    version: str
    kind: str
    """Of the file."""
    whole: bool
    """Whether the whole version is meant."""
    variant: int
    reason: bool | str
    number: int
    """Of seconds, files or calls."""
    amid: "Step | None" = None
    """What happens during the operation."""

    @property
    def key(self) -> Key:
        """The version."""
        return self.project, self.version


@dataclass(slots=True)
class Story:
    """A namespace of the site on which the operations run, and the model of it."""

    site: Site
    model: Model = field(default_factory=lambda: Model(("near", "far")))
    namespace: str = field(default_factory=lambda: f"ns-{uuid.uuid4().hex[:12]}")
    seen: dict[tuple[str, str], str] = field(default_factory=dict)
    """The last ETag of each file."""

    def perform(self, step: Step) -> None:
        """Run the operation, and compare the result with the model."""
        getattr(self, step.operation)(step)

    def index(self, worker: str) -> IndexClient:
        """Return the namespace as a worker shows it."""
        base = f"{self.site.workers[worker]}/{address(self.site.registry.url)}/{self.namespace}"
        return IndexClient(base, None, self.site.session)

    def publish(self, step: Step) -> None:
        file = package(step.spelling, step.version, step.kind, step.variant)
        state = self.model.states.get(step.key)
        answer = self.index(step.worker).request(
            "POST",
            "/",
            data=upload_form(step.spelling, file.version, file.name, file.content),
            files={"content": (file.name, file.content, "application/octet-stream")},
        )
        there = files_of(state).get(step.kind)
        skips = step.worker == "fresh"
        if skips and there is not None and there.content == file.content:
            _expect(answer, 200, "already")
        elif state is FOREIGN or there is not None or (state is not None and self._immutable):
            kept = there is None and state is not FOREIGN
            _expect(answer, 409, "immutable" if kept else "already exists")
        else:
            _expect(answer, 200, "published")
            if state is not None:
                file = replace(file, yanked=self._stored_yank(step))
            self._changed(step, {**files_of(state), step.kind: file})

    def delete(self, step: Step) -> None:
        state = self.model.states.get(step.key)
        files, keeps = dict(files_of(state)), self.site.profile in KEEPING
        answer = self.index(step.worker).request("DELETE", self._path(step))
        if step.whole:
            missing = state is None or state is FOREIGN or (keeps and not files)
            files.clear()
        else:
            missing = files.pop(step.kind, None) is None
        if missing:
            _expect(answer, 404)
        elif files and self._immutable:
            _expect(answer, 405)
        else:
            _expect(answer, 200, "deleted")
            self._changed(step, files if files or keeps else None)

    def yank(self, step: Step) -> None:
        files = files_of(self.model.states.get(step.key))
        answer = self.index(step.worker).request(
            "PATCH", self._path(step), json={"yanked": step.reason}
        )
        chosen = files if step.whole else {step.kind} & set(files)
        text = step.reason if isinstance(step.reason, str) else "" if step.reason else None
        marked = {**files, **{kind: replace(files[kind], yanked=text) for kind in chosen}}
        if not chosen:
            _expect(answer, 404)
        elif marked == files:
            _expect(answer, 200)
        elif self._immutable:
            _expect(answer, 409, "immutable")
        else:
            _expect(answer, 200, "yanked")
            self._changed(step, marked)

    def download(self, step: Step) -> None:
        """Download the file or its core metadata: as it is, or as the host may still know it."""
        states = self.model.may_be(step.key, self.site.now, HOSTS[step.worker])
        may_come = [files[step.kind] for files in map(files_of, states) if step.kind in files]
        if step.whole and step.kind == SDIST:
            may_come = []  # only wheels have it
        contents = [one.metadata if step.whole else one.content for one in may_come]
        index, path = self.index(step.worker), self._path(replace(step, whole=False))
        if step.whole:
            path = f"{path}.metadata"
        answer = index.get(path)
        if answer.status_code == 404:
            assert step.kind not in files_of(states[0]) or not may_come
            return
        _expect(answer, 200)
        assert answer.content in contents
        etag = answer.headers["ETag"]
        assert etag == f'"sha256:{sha256(answer.content)}"'
        known = {"If-None-Match": self.seen.get((step.project, path), '"none"')}
        self.seen[step.project, path] = etag
        same = known["If-None-Match"] == etag
        _expect(index.get(path, headers=known), 304 if same else 200)
        if not step.whole:
            part = index.get(path, headers={"Range": "bytes=5-20"})
            _expect(part, 206)
            assert part.content == answer.content[5:21]

    def look_while(self, step: Step) -> None:
        """Let something else happen between two of the calls of a read."""
        inner, failures = step.amid, []
        assert inner

        def act() -> None:
            try:
                self.perform(inner)
            except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
                failures.append(error)

        path = f"/{step.spelling}/" if step.whole else self._path(step)
        if step.variant:
            self.site.now += TTL  # so that there is a reason to call the registry
        self.site.hook.calls, self.site.hook.action = step.number, act
        answer = self.index(step.worker).get(path)
        self.site.hook.action = None
        # A tag that was listed and then gone is not asked for again for 5 seconds.
        self.site.now += 5
        if failures:
            raise failures[0]
        assert answer.status_code in {200, 404}, answer.text

    def wait(self, step: Step) -> None:
        self.site.now += step.number

    def collect(self, step: Step) -> None:
        """Run the registry's garbage collection."""
        if self.model.knows(step.project):
            name = RepositoryName(f"{self.namespace}/{_segment(step.project)}")
            collect_repository(Storage(self.site.storage), name, dry_run=False)

    def push_original(self, step: Step) -> None:
        """Let the Rust program publish a file, which replaces the version."""
        kinds = KINDS[step.number % 4 :]
        files = {kind: original(*step.key, kind, step.variant) for kind in kinds}
        contents = {kind: file.content for kind, file in files.items()}
        push_original(self._oci(step), tag_of(step.version), contents)
        self._changed(step, files, behind_the_back=True)

    def push_image(self, step: Step) -> None:
        """Let a container image replace a version, or be pushed under another name."""
        version = [step.version, "latest", "v9", "1+2", f"sha256+{'0' * 64}.sig"][step.number % 5]
        named = replace(step, version=version)
        self._push_image(named)
        self._changed(named, FOREIGN, behind_the_back=True)

    def remove_tag(self, step: Step) -> None:
        if self.model.states.get(step.key) is not None:
            tag = tag_of(step.version)
            self._oci(step).request("DELETE", f"manifests/{tag}").raise_for_status()
            self._changed(step, None, behind_the_back=True)

    def cut_index(self, step: Step) -> None:
        """Let another program rewrite a version with only its first files."""
        state, oci, tag = self.model.states.get(step.key), self._oci(step), tag_of(step.version)
        if state is None or state is FOREIGN:
            return
        index = oci.document(tag)
        del index["manifests"][step.number % 3 :]
        oci.push(index, tag)
        kept = [entry["platform"]["architecture"] for entry in index["manifests"]]
        self._changed(step, {kind: state[kind] for kind in kept}, behind_the_back=True)

    @property
    def _immutable(self) -> bool:
        return self.site.profile == "immutable"

    def _changed(self, step: Step, state: State, *, behind_the_back: bool = False) -> None:
        knows = None if behind_the_back else HOSTS[step.worker]
        self.model.change(step.key, state, self.site.now, knows)

    def _path(self, step: Step) -> str:
        """Return the address of a version, or of a file by the name that it has or would have."""
        states = self.model.may_be(step.key, self.site.now, HOSTS[step.worker])
        there: list[Stored] = [
            files[step.kind] for files in map(files_of, states) if step.kind in files
        ]
        file = there[0] if there else package(step.spelling, step.version, step.kind, 0)
        return f"/{step.spelling}/{step.version if step.whole else file.name}"

    def _oci(self, step: Step) -> OCIClient:
        name = f"{self.namespace}/{_segment(step.project)}"
        return OCIClient(self.site.direct, name, self.site.session)

    def _stored_yank(self, step: Step) -> str | None:
        """The reason if a new file was yanked at once, as its release is; else None."""
        index = self._oci(step).document(tag_of(step.version))
        (entry,) = (
            one for one in index["manifests"] if one["platform"]["architecture"] == step.kind
        )
        reason: str | None = entry.get("annotations", {}).get("com.pyoci.yanked")
        return reason

    def _push_image(self, step: Step) -> None:
        oci = self._oci(step)
        config = oci.push_blob(EMPTY, b"{}")
        layer = oci.push_blob("application/vnd.oci.image.layer.v1.tar", b"layer")
        image = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": [layer],
        }
        oci.push(image, tag_of(step.version))


def _segment(project: str) -> str:
    return project.replace("-", "_")


def _expect(answer: requests.Response, status: int, says: str = "") -> None:
    assert (answer.status_code, says in answer.text) == (status, True), answer.text
