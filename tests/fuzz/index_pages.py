"""The pages of a project in their three forms, compared with the model and with their ETags."""

from dataclasses import dataclass, field
from typing import Any

import requests
from packaging.version import Version

from tests.fuzz.index_model import Row, check_rows, files_of, first_listed
from tests.fuzz.index_site import HOSTS, LIMITS
from tests.fuzz.index_story import Story
from tests.integration.index_client import links
from tests.integration.oci_client import sha256

_JSON, _HTML = "application/vnd.pypi.simple.v1+json", "text/html"


@dataclass(slots=True)
class Pages:
    """Reads the pages of a story, and remembers what it saw of each."""

    story: Story
    _seen: dict[tuple[str, str, str], tuple[str, bytes]] = field(default_factory=dict)

    def check(self, project: str) -> None:
        """Assert that every worker shows the present state, or one that its host may still know."""
        for worker in HOSTS:
            answers = [
                self._get(worker, f"/{project}/", _JSON),
                self._get(worker, f"/{project}/", _HTML),
                self._get(worker, f"/{project}/json", "*/*"),
            ]
            if not self.story.model.knows(project):
                assert [answer.status_code for answer in answers] == [404, 404, 404]
                continue
            simple, html, legacy = answers
            self._check_json(worker, project, simple.json())
            rows = [_row(link.text, link.href, link.attributes) for link in links(html.text)]
            self._check_rows(worker, project, rows, sized=False)
            self._check_legacy(worker, project, legacy.json())

    def _get(self, worker: str, path: str, accept: str) -> requests.Response:
        index, sent = self.story.index(worker), {"Accept": accept}
        answer = index.get(path, headers=sent)
        if answer.status_code == 404:
            return answer
        assert answer.status_code == 200, answer.text
        etag, content = self._seen.get((worker, path, accept), ('"none"', b""))
        again = index.get(path, headers={**sent, "If-None-Match": etag})
        same = etag == answer.headers["ETag"]
        assert same == (content == answer.content)
        assert again.status_code == (304 if same else 200)
        assert again.content == (b"" if same else answer.content)
        self._seen[worker, path, accept] = answer.headers["ETag"], answer.content
        return answer

    def _check_rows(self, worker: str, project: str, rows: list[Row], *, sized: bool) -> list[str]:
        story, host, limit = self.story, HOSTS[worker], LIMITS.get(worker)
        return check_rows(rows, story.model, project, story.site.now, host, limit, sized=sized)

    def _check_json(self, worker: str, project: str, document: dict[str, Any]) -> None:
        rows: list[Row] = []
        for file in document["files"]:
            yanked, metadata = file["yanked"], file.get("core-metadata")
            rows.append(
                (
                    file["filename"],
                    file["hashes"].get("sha256"),
                    file.get("size"),
                    "" if yanked is True else yanked or None,
                    file.get("requires-python"),
                    metadata["sha256"] if isinstance(metadata, dict) else None,
                )
            )
        shown = self._check_rows(worker, project, rows, sized=True)
        complete = all("size" in file for file in document["files"])
        assert document.get("versions") == (shown if complete else None)

    def _check_legacy(self, worker: str, project: str, document: dict[str, Any]) -> None:
        model, now = self.story.model, self.story.site.now
        listed = first_listed(model.versions(project), LIMITS.get(worker))
        for version, files in document["releases"].items():
            states = model.may_be((project, version), now, HOSTS[worker])
            expected = [
                {
                    (file.name, sha256(file.content), file.yanked is not None, file.yanked or None)
                    for file in (files_of(state).values() if version in listed else ())
                }
                for state in states
            ]
            assert {
                (
                    file["filename"],
                    file["digests"]["sha256"],
                    file["yanked"],
                    file.get("yanked_reason"),
                )
                for file in files
            } in expected
        with_files = {version: files for version, files in document["releases"].items() if files}
        shown = min(
            with_files,
            key=lambda one: (
                all(file["yanked"] for file in with_files[one]),
                Version(one).is_prerelease,
            ),
            default=None,
        )
        assert document["info"].get("version") == shown
        assert document["urls"] == with_files.get(shown, [])


def _row(text: str, href: str, attributes: dict[str, str | None]) -> Row:
    kind, _, metadata = (attributes.get("data-core-metadata") or "").partition("=")
    return (
        text,
        href.partition("#sha256=")[2],
        None,
        attributes.get("data-yanked"),
        attributes.get("data-requires-python"),
        metadata if kind == "sha256" else None,
    )
