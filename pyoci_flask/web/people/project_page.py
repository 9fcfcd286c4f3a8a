"""The pages of a project: the description of a version, its files, and all versions."""

from collections.abc import Sequence

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
from pyoci_flask.web.people.dependencies import needs_of, places_of, project_of
from pyoci_flask.web.people.description_sources import source_of
from pyoci_flask.web.people.file_rows import by_system, rows_of
from pyoci_flask.web.people.frame import answer, people, setup_path, signed_in
from pyoci_flask.web.people.page_address import ProjectPage
from pyoci_flask.web.people.paging import requested_part
from pyoci_flask.web.people.snippets import Target, installers
from pyoci_flask.web.services import services

_MOST_FILES = 500
"""Maximum number of files on one page. Each needs up to 2 kB."""
_MOST_VERSIONS = 500
"""Maximum number of versions on one page. Each needs up to 1 kB."""


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
    here = page.project_href
    return answer(
        f"project_{page.tab}.html",
        base=address.base,
        name=project.name,
        tab=page.tab,
        files_path=f"{found.origin.path()}{address.base.path}/{quote_segment(address.project.text)}/",
        index_href=f"{'' if here == './' else here}{_index_href(address.base)}",
        project_href=here,
        releases=releases,
        newest=newest,
        shown=shown,
        left_out=project.left_out,
        **_content(page, project.name, repository, releases, newest, shown),
    )


def _content(
    page: ProjectPage,
    name: str,
    repository: ProjectRepository,
    releases: Sequence[Release],
    newest: Release | None,
    shown: Release | None,
) -> dict[str, object]:
    """Return what only one of the pages shows. Only the description needs calls for it."""
    if shown is None:
        return {}
    if page.tab == "files":
        part = requested_part(rows_of(shown.files), _MOST_FILES)
        return {"part": part, "systems": by_system(part.items)}
    if page.tab == "versions":
        return {
            "part": requested_part(releases, _MOST_VERSIONS),
            "listed": listed_of(releases),
        }
    base = page.address.base
    url = services().origin.index_url(base)
    details = read_details(repository, shown.files, services().metadata)
    places = places_of(base, details or Details())
    # Installers choose a yanked version only if it is required exactly.
    chosen = shown is newest and shown.yanked is None
    exact = f"{name}=={shown.version}"
    target = Target(
        url,
        base.registry.netloc,
        signed_in(),
        name if chosen else exact,
        exact,
        needs_of(details, places),
        fallback=services().settings.fallback_index is not None,
    )
    return {
        "url": url,
        "target": target,
        "tools": installers(target),
        "places": places,
        "project_of": project_of,
        "setup": setup_path(base),
        **_about(repository, shown, details),
    }


def _index_href(base: Base) -> str:
    """Return the relative link from the page of a project to the page of its index."""
    one_segment = base.pinned or "/" not in base.namespace
    return "../" if one_segment or "/+simple/" in request.path else "../+simple/"


def _about(
    repository: ProjectRepository, shown: Release, details: Details | None
) -> dict[str, object]:
    """Return what the metadata and the manifests of a version say. This makes a few calls."""
    labels, more_labels = read_labels(repository, shown.files, services().versions.pool)
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
