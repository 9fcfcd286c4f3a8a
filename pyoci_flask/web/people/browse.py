"""The web pages of an index: `/ui/{base}/` and below.

Their paths are those of the index with `/ui` in front. The path of a page about a single version
ends with that version.
"""

from flask import Blueprint, request
from packaging.utils import canonicalize_name
from werkzeug.wrappers import Response

from pyoci_flask.common.redaction import field, shortened
from pyoci_flask.errors import (
    AuthenticationRequiredError,
    DeniedError,
    InvalidRequestError,
    NotFoundError,
)
from pyoci_flask.index.details import Details, all_links, read_details, read_labels
from pyoci_flask.index.listing import list_projects
from pyoci_flask.index.names import ProjectName, is_filename, version_or_none
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.releases import (
    Release,
    find_release,
    listed_of,
    preferred,
    releases_of,
)
from pyoci_flask.web.address import Base, ListAddress, ProjectAddress
from pyoci_flask.web.error_answers import UnmatchedError, challenge, status_of
from pyoci_flask.web.incoming import sent_path, visit
from pyoci_flask.web.links import quote_segment, redirect, redirect_to_slash
from pyoci_flask.web.people.frame import answer, people, setup_path, signed_in
from pyoci_flask.web.people.snippets import Target, installers
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
    address, version = _read(f"/{path}")
    visit().base = address.base  # the error page links to it
    if not address.slash:
        return redirect_to_slash(path.rpartition("/")[2])
    if isinstance(address, ListAddress):
        return _index_page(address.base)
    return _project_page(address, version)


def _read(path: str) -> tuple[ListAddress | ProjectAddress, str | None]:
    """Return the address and the version at its end, if it has one."""
    addresses = services().addresses
    above, _, last = path.rstrip("/").rpartition("/")
    # If the end of the namespace is unknown, a last segment that is no version may be a project.
    certain = "/+simple/" in above or path.startswith("/simple/")
    if version_or_none(last) is not None or (certain and not is_filename(last)):
        project = addresses.read(f"{above}/", sent_path(request.environ))
        if isinstance(project, ProjectAddress):
            slash = path.endswith("/")
            return ProjectAddress(project.base, project.project, slash), last
    address = addresses.read(path, sent_path(request.environ))
    if not isinstance(address, ListAddress | ProjectAddress):
        raise UnmatchedError
    return address, None


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
    query = request.args.get("q", "").strip()
    key = canonicalize_name(_in_one_word(query))
    found = [name for name in names or () if key in name]
    pages = max(1, -(-len(found) // _MOST_SHOWN))
    number = min(max(1, request.args.get("page", 1, int)), pages)
    first = (number - 1) * _MOST_SHOWN
    response = answer(
        "index.html",
        status,
        base=base,
        url=services().origin.index_url(base),
        listed=names is not None,
        count=len(names or ()),
        names=found[first : first + _MOST_SHOWN],
        first=first + 1,
        found=len(found),
        page=number,
        pages=pages,
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


def _in_one_word(text: str) -> str:
    """Replace spaces with dashes. People type a space where the name of a project has a dash."""
    return "-".join(text[:_LONGEST_QUERY].split())


def _projects(base: Base) -> tuple[int, list[str] | None, str]:
    """Return the status of the page, and the projects or the reason why they cannot be listed.

    A registry may deny its catalog to a user but allow them to read a project.
    """
    try:
        return 200, list(list_projects(services().enter_namespace(base))), ""
    except (NotFoundError, AuthenticationRequiredError, DeniedError) as error:
        status = 200 if isinstance(error, NotFoundError) else status_of(error)
        return status, None, str(error)


def _project_page(address: ProjectAddress, version: str | None) -> Response:
    """Show a version of a project: the requested one, or the one that installers prefer."""
    found = services()
    repository, tags = found.versions.find_project(
        found.enter_project(address.base, address.project)
    )
    project = found.read_project(repository, tags)
    releases = releases_of(project)
    newest = preferred(releases)
    shown = (
        newest
        if version is None
        else find_release(repository, tags, releases, version, found.versions.read_tag)
    )
    # The command needs the version if an installer would choose another one.
    package = project.name if shown is newest or not shown else f"{project.name}=={shown.version}"
    url = found.origin.index_url(address.base)
    here = "../" if version is not None else ""
    return answer(
        "project.html",
        base=address.base,
        name=project.name,
        url=url,
        files_path=f"{found.origin.path()}{address.base.path}/{quote_segment(address.project.text)}/",
        index_href=f"{here}{_index_href(address.base)}",
        project_href=here or "./",
        releases=releases,
        newest=newest,
        listed=listed_of(releases),
        shown=shown,
        left_out=project.left_out,
        tools=installers(Target(url, address.base.registry.netloc, signed_in(), package)),
        setup=setup_path(address.base),
        **_about(repository, shown),
    )


def _index_href(base: Base) -> str:
    """Return the relative link from the page of a project to the page of its index."""
    one_segment = base.pinned or "/" not in base.namespace
    return "../" if one_segment or "/+simple/" in request.path else "../+simple/"


def _about(repository: ProjectRepository, shown: Release | None) -> dict[str, object]:
    """Return the details of a version from its metadata and manifests. This makes a few calls."""
    if shown is None:
        return {"details": Details(), "description": None, "known": True}
    found = services()
    details = read_details(repository, shown.files, found.metadata)
    labels, more_labels = read_labels(repository, shown.files, found.versions.pool)
    known = details or Details()
    links, more_links = all_links(known, shown.files)
    description = None
    if known.description:
        renderer = people().descriptions
        description = renderer.render(known.description, known.description_type)
    return {
        "details": known,
        "known": details is not None,
        "labels": labels,
        "more_labels": more_labels,
        "links": links,
        "more_links": more_links,
        "description": description,
    }
