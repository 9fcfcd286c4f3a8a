"""The pages of a project: the description of a version, its files, and all versions."""

from flask import request
from werkzeug.wrappers import Response

from pyoci_flask.index.details import (
    Details,
    all_links,
    labelled_urls,
    read_details,
    read_labels,
)
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.releases import (
    Release,
    find_release,
    listed_of,
    preferred,
    releases_of,
)
from pyoci_flask.web.address import Base
from pyoci_flask.web.links import quote_segment
from pyoci_flask.web.people.description_sources import source_of
from pyoci_flask.web.people.frame import answer, people, setup_path, signed_in
from pyoci_flask.web.people.page_address import ProjectPage
from pyoci_flask.web.people.snippets import Target, installers
from pyoci_flask.web.services import services


def project_page(page: ProjectPage) -> Response:
    """Show a page of a project, for the requested version or the one that installers prefer."""
    found, address = services(), page.address
    repository, tags = found.versions.find_project(
        found.enter_project(address.base, address.project)
    )
    project = found.read_project(repository, tags)
    releases = releases_of(project)
    newest = preferred(releases)
    shown = (
        newest
        if page.version is None
        else find_release(repository, tags, releases, page.version, found.versions.read_tag)
    )
    # The command needs the version if an installer would choose another one.
    package = project.name if shown is newest or not shown else f"{project.name}=={shown.version}"
    url = found.origin.index_url(address.base)
    here = page.project_href
    return answer(
        f"project_{page.tab}.html",
        base=address.base,
        name=project.name,
        url=url,
        tab=page.tab,
        files_path=f"{found.origin.path()}{address.base.path}/{quote_segment(address.project.text)}/",
        index_href=f"{'' if here == './' else here}{_index_href(address.base)}",
        project_href=here,
        releases=releases,
        newest=newest,
        listed=listed_of(releases),
        shown=shown,
        left_out=project.left_out,
        tools=installers(Target(url, address.base.registry.netloc, signed_in(), package)),
        setup=setup_path(address.base),
        **(_about(repository, shown) if page.tab == "description" else {}),
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
        source = source_of(labelled_urls(known, shown.files).items())
        renderer = people().descriptions
        description = renderer.render(known.description, known.description_type, source)
    return {
        "details": known,
        "known": details is not None,
        "labels": labels,
        "more_labels": more_labels,
        "links": links,
        "more_links": more_links,
        "description": description,
    }
