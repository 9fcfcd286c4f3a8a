"""POST `{base}/`: the legacy upload API, as twine and its kin use it."""

import logging
import re
from collections.abc import Mapping
from dataclasses import replace

from flask import request
from packaging.utils import canonicalize_name
from werkzeug.wrappers import Response

from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.index.archive import (
    BrokenArchiveError,
    NoMetadataError,
    check_archive,
    read_metadata,
)
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
from pyoci_flask.web.api.digests import check_digests, checked_meanwhile
from pyoci_flask.web.api.form import UploadForm, read_form, refuse_gone
from pyoci_flask.web.body import RequestBody
from pyoci_flask.web.services import services

logger = logging.getLogger("pyoci.web")

_LABEL = re.compile(r"PyOCI :: Label :: (?P<key>.+?) :: (?P<value>.+)", re.DOTALL)


def upload(base: Base) -> Response:
    """Publish the file in the form."""
    found = services()
    body = RequestBody(request.environ, found.settings.max_body, "PYOCI_MAX_BODY")
    with read_form(body, request.headers.get("Content-Type", ""), found.settings.spool) as form:
        project, wanted = read_upload(form)
        candidates = found.candidates(base, project)
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
                skip_identical=found.settings.skip_identical,
                settle=found.settings.publish_settle,
                parallel=found.settings.fetch_threads > 1,
                others=candidates[1:],
            )
    text = f"published {wanted.filename.text}"
    if not added:
        text = f"{wanted.filename.text} is here already, byte for byte"
    if form.dropped:
        text += f"; {' and '.join(form.dropped)} were not stored: this index does not keep them"
    logger.info("%s (%d bytes)", text, wanted.size)
    return Response(f"{text}\n", content_type="text/plain; charset=utf-8")


def read_upload(form: UploadForm) -> tuple[ProjectName, Upload]:
    """Check the form against itself, without opening the file in it.

    Raises:
        InvalidRequestError: says which field is wrong and why.
        GoneError: the form is of a part of the API that no index serves any more.
    """
    action = form.one(":action")
    refuse_gone(action)
    if action != "file_upload":
        raise InvalidRequestError(f":action is {action!r}, not 'file_upload'")
    if form.one("protocol_version") not in {None, "1"}:
        raise InvalidRequestError("the field protocol_version is not 1, the only one there is")
    name, version = form.one("name"), form.one("version")
    # The filename first: it is what people see, and the rest is checked against it.
    if not is_filename(form.file.filename):
        raise InvalidRequestError(
            f"{form.file.filename[:300]!r} is not the name of a wheel (.whl) or an sdist (.tar.gz)"
        )
    if name is None:
        raise InvalidRequestError("the field name is missing")
    project = ProjectName(name)
    filename = Filename.parse(form.file.filename, project)
    if version is not None or form.all("version"):
        _check_version(version or "", filename)
    _check_filetype(form.one("filetype"), filename)
    version_of_metadata = form.one("metadata_version")
    if version_of_metadata is not None:
        check_metadata_version(version_of_metadata)
    check_digests(form)
    if form.file.size == 0:
        raise InvalidRequestError(f"{filename.text} is empty")
    return project, Upload(
        filename=filename,
        digest=form.file.digest,
        size=form.file.size,
        content=form.file.content,
        requires_python=_specifiers(form.one("requires_python")),
        project_urls=_project_urls(form),
        labels=_labels(form),
    )


def _check_version(version: str, filename: Filename) -> None:
    if not filename.is_same_version(version):
        raise InvalidRequestError(
            f"the field version is {version[:200]!r}, but {filename.text} is of "
            f"{filename.version!r}"
        )


def _check_filetype(filetype: str | None, filename: Filename) -> None:
    expected = "bdist_wheel" if filename.is_wheel else "sdist"
    if filetype is not None and filetype != expected:
        raise InvalidRequestError(
            f"the field filetype is {filetype!r}, but {filename.text} is a {expected}"
        )


def _completed(upload: Upload, project: ProjectName, form: UploadForm) -> Upload:
    """Check what takes time, and add the core metadata; an old sdist may have none."""
    filename = upload.filename
    requirements = [text for text in form.all("requires_dist") if text.strip()]
    try:
        metadata = read_metadata(upload.content, filename)
        raw = parse_fields(metadata)
    except NoMetadataError as error:
        if filename.is_wheel:
            raise InvalidRequestError(str(error)) from error
        check_requirements(requirements)
        return upload
    except BrokenArchiveError as error:
        raise InvalidRequestError(str(error)) from error
    name, version = raw.get("name", ""), raw.get("version", "")
    if canonicalize_name(name[:200]) != project.normalized:
        raise InvalidRequestError(
            f"{filename.text} holds the metadata of {name[:200]!r}, not of {project}"
        )
    if not filename.is_same_version(version):
        raise InvalidRequestError(
            f"{filename.text} holds the metadata of version {version[:200]!r}, not "
            f"{filename.version!r}"
        )
    check_metadata_version(raw.get("metadata_version", ""))
    check_requirements([*requirements, *raw.get("requires_dist", ())])
    try:
        check_archive(upload.content, filename, project)
    except BrokenArchiveError as error:
        raise InvalidRequestError(str(error)) from error
    python = upload.requires_python or _specifiers(raw.get("requires_python"))
    return replace(upload, metadata=metadata, requires_python=python, about=annotations_of(raw))


def _specifiers(text: str | None) -> str | None:
    if text is None or not text.strip():
        return None
    check_requires_python(text)
    return text.strip()


def _project_urls(form: UploadForm) -> Mapping[str, str]:
    """Read `Label, URL` (core metadata, Project-URL)."""
    urls: dict[str, str] = {}
    for entry in form.all("project_urls"):
        label, comma, url = entry.partition(",")
        if comma and label.strip() and url.strip():
            urls[label.strip()] = url.strip()
    return urls


def _labels(form: UploadForm) -> Mapping[str, str]:
    """Read the labels among the classifiers; one that is written twice counts once, the last."""
    labels: dict[str, str] = {}
    for classifier in form.all("classifiers"):
        match = _LABEL.fullmatch(classifier.strip())
        if match is not None:
            labels[match["key"].strip()] = match["value"].strip()
    labels.pop(CREATED, None)  # the time of upload is not for the package to tell
    return labels
