"""Links to files, as pages and documents show them."""

from urllib.parse import quote

from flask import request

from pyoci_flask.index.names import ProjectName
from pyoci_flask.index.project import File
from pyoci_flask.web.address import Base
from pyoci_flask.web.services import services


def quote_segment(text: str) -> str:
    """Percent-encode one segment of a path."""
    return quote(text, safe="")


def file_href(file: File) -> str:
    """The relative link to a file, from its project's page: it survives every proxy."""
    return quote_segment(file.filename.text)


def file_url(base: Base, project: ProjectName, file: File) -> str:
    """The absolute address of a file, for documents whose readers do not resolve links."""
    root = services().settings.url or request.url_root.rstrip("/")
    # As it was spelled: the original kept the dots of a name in its repository.
    return f"{root}{base.path}/{quote_segment(project.text)}/{file_href(file)}"
