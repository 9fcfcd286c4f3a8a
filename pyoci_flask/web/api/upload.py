"""POST `{base}/`: the legacy upload API that twine uses, and the checks of an upload.

`pyoci_flask.index.archive` and `pyoci_flask.index.fields` check the content of a file.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from flask import request
from packaging.utils import canonicalize_name
from werkzeug.wrappers import Response

from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.index.archive import check_archive, read_metadata
from pyoci_flask.index.archive_bounds import BrokenArchiveError, NoMetadataError
from pyoci_flask.index.artifact import Upload
from pyoci_flask.index.fields import (
    check_metadata_version,
    check_requirements,
    check_requires_python,
    parse_fields,
)
from pyoci_flask.index.names import Filename, ProjectName, is_filename
from pyoci_flask.index.project import CREATED, annotations_of
from pyoci_flask.index.project_repository import hold_blobs
from pyoci_flask.index.publish import publish
from pyoci_flask.web.address import Base
from pyoci_flask.web.api.body import RequestBody
from pyoci_flask.web.api.change_log import PUBLISH, SKIP, log_change
from pyoci_flask.web.api.digests import check_digests, checked_meanwhile
from pyoci_flask.web.api.form import UploadForm, read_form, refuse_gone
from pyoci_flask.web.incoming import has_option
from pyoci_flask.web.services import services

_REBUILD = "Build the package again, and upload the files under the names that the build gave them"
_LABEL = re.compile(r"PyOCI :: Label :: (?P<key>.+?) :: (?P<value>.+)", re.DOTALL)


def upload(base: Base) -> Response:
    """Publish the file of an upload form.

    `?existing=skip` accepts a file that exists already with the same bytes, like the operator's
    `PYOCI_SKIP_IDENTICAL`.
    """
    skips = has_option(
        "existing",
        "skip",
        "use existing=skip to accept files that exist already with the same bytes, or omit it to "
        "get 409 for them",
    )
    found = services()
    body = RequestBody(request.environ, found.settings.max_body, "PYOCI_MAX_BODY")
    with read_form(body, request.headers.get("Content-Type", ""), found.settings.spool) as form:
        project, wanted = read_upload(form)
        candidates = found.enter_project(base, project)
        with (
            checked_meanwhile(form) as confirm,
            hold_blobs(candidates[0], found.locks, shared=True),
            found.versions.changing(candidates, wanted.filename.version),
        ):
            added = publish(
                candidates[0],
                wanted,
                found.locks,
                complete=lambda checked: _completed(checked, project, form),
                confirm=confirm,
                configs=found.configs,
                skip_identical=skips or found.settings.skip_identical,
                settle=found.settings.publish_settle,
                parallel=found.versions.pool.is_parallel(base.registry),
                others=candidates[1:],
            )
    text = f"published {wanted.filename.text}"
    if not added:
        text = f"{wanted.filename.text} is already published with the same bytes"
    if form.dropped:
        text += f"; {' and '.join(form.dropped)} were not stored: this index does not keep them"
    named = [(wanted.filename.text, wanted.digest)]
    action, version = PUBLISH if added else SKIP, wanted.filename.version
    log_change(action, base, candidates[0], version, named, text)
    return Response(f"{text}\n", content_type="text/plain; charset=utf-8")


def read_upload(form: UploadForm) -> tuple[ProjectName, Upload]:
    """Return the project and the upload that a form describes, without opening the file.

    The fields are compared with each other and with the name of the file.

    Raises:
        InvalidRequestError: a field is wrong; the text says which one and why.
        GoneError: the form uses a part of the API that no index supports any more.
    """
    action = form.one(":action")
    refuse_gone(action)
    if action != "file_upload":
        raise InvalidRequestError(f":action must be 'file_upload', not {action!r}")
    if form.one("protocol_version") not in {None, "1"}:
        raise InvalidRequestError("the form field 'protocol_version' must be '1'")
    name, version = form.one("name"), form.one("version")
    # Check the filename first, because users see it and other fields are compared with it.
    if not is_filename(form.file.filename):
        raise InvalidRequestError(
            f"{form.file.filename[:300]!r} is not the name of a wheel (.whl) or an sdist (.tar.gz)",
            advice="Upload a wheel (.whl) or an sdist (.tar.gz) under the name that the "
            "build gave it",
        )
    if name is None:
        raise InvalidRequestError(
            "the form field 'name' is missing",
            advice="Upload with a current version of twine or uv",
        )
    project = ProjectName(name)
    filename = Filename.parse(form.file.filename, project)
    if form.all("version") and not filename.is_same_version(version or ""):
        raise InvalidRequestError(
            f"the form field 'version' is {(version or '')[:200]!r}, but {filename.text} has "
            f"version {filename.version!r}",
            advice=_REBUILD,
        )
    filetype, expected = form.one("filetype"), "bdist_wheel" if filename.is_wheel else "sdist"
    if filetype not in {None, expected}:
        raise InvalidRequestError(
            f"the form field 'filetype' is {filetype!r}, but {filename.text} has type '{expected}'",
            advice="Upload with a current version of twine or uv",
        )
    version_of_metadata = form.one("metadata_version")
    if version_of_metadata is not None:
        check_metadata_version(version_of_metadata)
    check_digests(form)
    if form.file.size == 0:
        raise InvalidRequestError(f"{filename.text} is empty", advice="Build the package again")
    return project, Upload(
        filename=filename,
        digest=form.file.digest,
        size=form.file.size,
        content=form.file.content,
        requires_python=_specifiers(form.one("requires_python")),
        project_urls=_project_urls(form),
        labels=_labels(form),
    )


def _completed(upload: Upload, project: ProjectName, form: UploadForm) -> Upload:
    """Check the content of the file, and add its core metadata. An old sdist may not have any."""
    filename = upload.filename
    requirements = [text for text in form.all("requires_dist") if text.strip()]
    try:
        metadata = read_metadata(upload.content, filename)
        raw = parse_fields(metadata)
    except BrokenArchiveError as error:
        if isinstance(error, NoMetadataError) and not filename.is_wheel:
            check_requirements(requirements)
            return upload
        raise InvalidRequestError(str(error), advice=_REBUILD) from error
    name, version = raw.get("name", ""), raw.get("version", "")
    if canonicalize_name(name[:200]) != project.normalized:
        raise InvalidRequestError(
            f"{filename.text} contains the metadata of {name[:200]!r}, not of {project}",
            advice=_REBUILD,
        )
    if not filename.is_same_version(version):
        raise InvalidRequestError(
            f"{filename.text} contains the metadata of version {version[:200]!r}, not "
            f"{filename.version!r}",
            advice=_REBUILD,
        )
    check_metadata_version(raw.get("metadata_version", ""))
    check_requirements([*requirements, *raw.get("requires_dist", ())])
    try:
        check_archive(upload.content, filename, project)
    except BrokenArchiveError as error:
        raise InvalidRequestError(str(error), advice=_REBUILD) from error
    python = upload.requires_python or _specifiers(raw.get("requires_python"))
    return replace(upload, metadata=metadata, requires_python=python, about=annotations_of(raw))


def _specifiers(text: str | None) -> str | None:
    if text is None or not text.strip():
        return None
    check_requires_python(text)
    return text.strip()


def _project_urls(form: UploadForm) -> Mapping[str, str]:
    """Read entries with the format `Label, URL` (core metadata, Project-URL)."""
    pairs = [entry.partition(",") for entry in form.all("project_urls")]
    return {label.strip(): url.strip() for label, _, url in pairs if label.strip() and url.strip()}


def _labels(form: UploadForm) -> Mapping[str, str]:
    """Read the labels from the classifiers. If two have the same key, the last one is used."""
    matches = [_LABEL.fullmatch(classifier.strip()) for classifier in form.all("classifiers")]
    labels = {match["key"].strip(): match["value"].strip() for match in matches if match}
    labels.pop(CREATED, None)  # a package cannot choose its time of upload
    return labels
