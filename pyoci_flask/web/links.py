"""Links to files, as pages and documents show them."""

from urllib.parse import quote

from pyoci_flask.index.names import ProjectName
from pyoci_flask.index.project import File
from pyoci_flask.web.address import Base
from pyoci_flask.web.people.frame import people


def quote_segment(text: str) -> str:
    """Percent-encode one segment of a path."""
    return quote(text, safe="")


def file_href(file: File) -> str:
    """The relative link to a file, from its project's page: it survives every proxy."""
    return quote_segment(file.filename.text)


def project_url(base: Base, project: ProjectName) -> str:
    """The absolute address of a project's page, for documents whose readers do not resolve links.

    Raises:
        InvalidRequestError: the request names no host that could be shown.
    """
    # As it was spelled: the original kept the dots of a name in its repository.
    return f"{people().origin.url()}{base.path}/{quote_segment(project.text)}/"
