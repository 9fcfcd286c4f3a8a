"""The web pages of an index: `/ui/{base}/` and below."""

from collections.abc import Sequence

from flask import Blueprint, request
from packaging.utils import NormalizedName
from werkzeug.wrappers import Response

from pyoci_flask.common.redaction import field, shortened
from pyoci_flask.errors import (
    AuthenticationRequiredError,
    DeniedError,
    InvalidRequestError,
    NotFoundError,
)
from pyoci_flask.index.listing import list_projects
from pyoci_flask.index.names import ProjectName
from pyoci_flask.web.address import Base
from pyoci_flask.web.error_answers import challenge, status_of
from pyoci_flask.web.incoming import visit
from pyoci_flask.web.links import quote_segment, redirect, redirect_to_slash
from pyoci_flask.web.people.frame import answer, setup_path
from pyoci_flask.web.people.page_address import ProjectPage, read_page
from pyoci_flask.web.people.paging import requested_part
from pyoci_flask.web.people.project_page import project_page
from pyoci_flask.web.people.rows import MOST_ROWS, Row, by_date, known_in, read_rows, search
from pyoci_flask.web.services import services

blueprint = Blueprint("browse", __name__)

_LONGEST_QUERY = 1000
_MOST_SHOWN = 1000
"""Maximum number of projects on one page of a list."""


@blueprint.get("/ui")
@blueprint.get("/ui/")
def begin() -> Response:
    """Redirect to the index of this server, or to the form in which users enter one."""
    below = request.path.endswith("/")
    if services().settings.index is not None:
        return redirect("simple/" if below else "ui/simple/")
    return redirect("../" if below else "./")


@blueprint.get("/ui/<path:path>")
def browse(path: str) -> Response:
    """Show an index, a project or one of its versions."""
    page = read_page(f"/{path}")
    address = page.address if isinstance(page, ProjectPage) else page
    visit().base = address.base  # the error page links to it
    if not address.slash:
        return redirect_to_slash(path.rpartition("/")[2])
    if isinstance(page, ProjectPage):
        return project_page(page)
    if "rows" in request.args:
        return _some_rows(address.base)
    return _index_page(address.base)


def _some_rows(base: Base) -> Response:
    """Return the rows of a few projects, `?rows=a,b`, for a list that is shown already.

    The answer is 200 even if the registry denies all of them: a browser would ask for a password.
    """
    rows, complete = read_rows(base, request.args["rows"][: _LONGEST_QUERY * 10].split(","))
    return answer("rows.html", rows=rows, complete=complete)


def _index_page(base: Base) -> Response:
    """Show the projects of an index, or a field for a name if the registry lists no projects."""
    wanted = _in_one_word(request.args.get("project", ""))
    refused = ""
    if wanted:
        try:
            return redirect(f"{quote_segment(ProjectName(wanted).text)}/")
        except InvalidRequestError as error:
            refused = str(error)
    status, names, reason = _projects(base)
    query = request.args.get("q", "").strip()[:_LONGEST_QUERY]
    known = known_in(base) if names else {}
    found = search(names or (), known, query)
    if query and len(found) == 1 and "open" in request.args:
        return redirect(f"{found[0]}/")
    rows = [Row(name, known.get(name)) for name in found]
    sort = "date" if request.args.get("sort") == "date" else "name"
    if sort == "date":
        rows = _latest_first(rows)
    part = requested_part(rows, _MOST_SHOWN)
    response = answer(
        "index.html",
        status,
        base=base,
        url=services().origin.index_url(base),
        listed=names is not None,
        count=len(names or ()),
        part=part,
        first=(part.number - 1) * _MOST_SHOWN + 1,
        found=len(found),
        sort=sort,
        undated=sum(row.uploaded is None for row in rows),
        most_rows=MOST_ROWS,
        query=field(query),
        setup=setup_path(base),
        reason=shortened(reason, 1000),
        denied=status != 200,
        refused=shortened(refused, 1000),
        wanted=field(wanted),
    )
    if status == 401:
        response.headers["WWW-Authenticate"] = challenge()
    return response


def _latest_first(rows: Sequence[Row]) -> list[Row]:
    """Sort rows by date. Those whose date is not known come last, in the order that they have."""
    return [*by_date(rows), *(row for row in rows if row.uploaded is None)]


def _in_one_word(text: str) -> str:
    """Replace spaces with dashes. People type a space where the name of a project has a dash."""
    return "-".join(text[:_LONGEST_QUERY].split())


def _projects(base: Base) -> tuple[int, Sequence[NormalizedName] | None, str]:
    """Return the status of the page, and the projects or the reason why they cannot be listed.

    A registry may deny its catalog to a user but allow them to read a project.
    """
    try:
        return 200, list_projects(services().enter_namespace(base)), ""
    except (NotFoundError, AuthenticationRequiredError, DeniedError) as error:
        status = 200 if isinstance(error, NotFoundError) else status_of(error)
        return status, None, str(error)
