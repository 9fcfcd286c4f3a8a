"""The steps of a check that find out what the credentials may do, without changing anything."""

import secrets
from contextlib import suppress
from dataclasses import replace
from urllib.parse import urljoin

from pyoci_flask.cli.check.reach import Greeting
from pyoci_flask.cli.check.report import Report, StopError, hint_for
from pyoci_flask.cli.login.found import TOKEN_USER
from pyoci_flask.errors import (
    AuthenticationRequiredError,
    DeniedError,
    NotFoundError,
    PyOCIError,
    RegistryError,
)
from pyoci_flask.index.listing import list_projects
from pyoci_flask.oci.answers import ErrorBody
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.manifests import Deletion, delete_manifest
from pyoci_flask.oci.reference import EMBEDDED, Digest, Registry
from pyoci_flask.oci.tags import list_tags
from pyoci_flask.oci.uploads import begin_upload
from pyoci_flask.transport.challenge import Challenge
from pyoci_flask.transport.observe import redacted
from pyoci_flask.transport.reply import Reply
from pyoci_flask.transport.request import (
    BasicCredentials,
    Credentials,
    IdentityToken,
    Request,
    Scope,
)


def sign_in(report: Report, greeting: Greeting, namespace: RepositoryCaller) -> None:
    """Report how the registry authenticates, and whether it accepts the credentials.

    Raises:
        StopError: the registry does not accept the credentials, or requires some and none were
        given.
    """
    report.ok("asks for", _asked(greeting, namespace))
    user = who(namespace.credentials)
    if greeting.open:
        if user is not None:
            report.note("sign-in", f"not required; steps that need credentials use those of {user}")
        return
    registry = namespace.repository.registry
    with report.step("sign-in"):
        reply = namespace.authenticator.send(
            Request(
                "GET",
                f"{registry.origin}/v2/",
                registry.origin,
                credentials=namespace.credentials,
                scope=Scope(namespace.repository.name, "pull"),
                idempotent=True,
            )
        )
        if reply.status != 200:
            raise _not_taken(reply, registry, user)
        reply.close()
    if user is None:
        report.note("sign-in", "no credentials were given; the steps show what anyone may do")
    else:
        report.ok("sign-in", f"takes the credentials of {user}")


def _not_taken(reply: Reply, registry: Registry, user: str | None) -> PyOCIError:
    detail = ErrorBody.read(reply)
    if reply.status not in {401, 403}:
        return RegistryError(f"{registry.netloc} returned {reply.status}{detail}")
    if user is None:
        return AuthenticationRequiredError(f"{registry.netloc} requires credentials{detail}")
    return DeniedError(
        f"{registry.netloc} refuses the credentials of {user} ({reply.status}{detail})",
        reply.status,
    )


def may_pull(report: Report, project: RepositoryCaller, *, exists: bool) -> None:
    """Report whether the tags of a repository can be listed.

    `exists` is true if the user said that the repository exists.
    """
    name = project.repository.name
    report.rights["read"] = False
    with suppress(StopError):
        with report.step("pull"):
            tags, way = _tags(project)
        report.rights["read"] = True
        if exists and tags is None:
            report.failed("pull", f"{name} does not exist", "check the name given with --project")
        elif exists:
            report.ok("pull", f"{name} has {len(tags or ())} tags")
        else:
            report.ok("pull", f"reading is allowed{way}")


def shows_missing(report: Report, unknown: RepositoryCaller) -> None:
    """Report how the registry responds if a repository is missing, and whether projects fall back.

    `unknown` is a repository whose name is not in use.
    """
    step, settings = "missing", "docs/dependency-confusion.md describes the risk"
    try:
        with report.screen.working(step):
            tags = list_tags(unknown)
    except AuthenticationRequiredError:
        report.note(
            step,
            "not known: the registry requires credentials",
            "give credentials to find out whether projects can fall back (PYOCI_FALLBACK_INDEX)",
        )
    except DeniedError as error:
        report.note(
            step,
            f"the registry denies ({error.status}) what does not exist, so nothing falls back",
            f"PYOCI_FALLBACK_DENIED=redirect changes that; {settings}",
        )
    except PyOCIError as error:
        report.failed(step, str(error), hint_for(error, step, unknown.repository.registry))
    else:
        if tags is None:
            report.ok(step, "404 for what does not exist, as PYOCI_FALLBACK_INDEX needs")
        else:
            report.note(
                step,
                "200 without tags for what does not exist, so nothing falls back",
                f"PYOCI_FALLBACK_EMPTY=redirect changes that; {settings}",
            )


def _tags(project: RepositoryCaller) -> tuple[list[str] | None, str]:
    try:
        return list_tags(project), ""
    except (AuthenticationRequiredError, DeniedError):
        if project.credentials is None:
            raise
        # Quay and Docker Hub reveal only to users who may push that a repository is missing.
        writing = replace(project, writing=True)
        with suppress(PyOCIError):
            way = " (with push rights; others are denied access to what does not exist)"
            return list_tags(writing), way
        raise


def may_push(report: Report, project: RepositoryCaller, *, needed: bool) -> bool:
    """Begin an upload session and cancel it (distribution-spec, Pushing blobs).

    Unless the right is `needed`, it is not a failure if it is missing.
    """
    report.rights["publish"] = False
    try:
        with report.step("push", needed=needed):
            cancelled = begin_upload(project).cancel()
    except StopError:
        return False
    report.rights["publish"] = True
    end = "begun and cancelled" if cancelled else "begun; the registry will let it expire"
    report.ok("push", f"an upload was {end}")
    return True


def may_delete(report: Report, project: RepositoryCaller, *, needed: bool) -> None:
    """Ask to delete a manifest that does not exist (distribution-spec, Content management).

    Unless the right is `needed`, it is not a failure if it is missing.
    """
    missing = Digest.of(secrets.token_bytes(32))
    report.rights["delete"] = False
    with suppress(StopError):
        with report.step("delete", needed=needed):
            outcome = delete_manifest(project, missing)
        report.rights["delete"] = outcome is not Deletion.UNSUPPORTED
        if outcome is Deletion.UNSUPPORTED:
            report.note(
                "delete",
                "the registry does not support deletion through its API",
                "a deleted file leaves the index, but its bytes stay in the registry",
            )
        else:
            report.ok("delete", "deletion is not refused (use --write to test whether it works)")


def may_list(report: Report, namespace: RepositoryCaller) -> None:
    """Ask for the catalog; without a catalog the index works, but cannot list its projects."""
    report.rights["list projects"] = False
    try:
        with report.screen.working("catalog"):
            found = len(list_projects(namespace))
    except (NotFoundError, AuthenticationRequiredError, DeniedError, RegistryError) as error:
        report.note("catalog", str(error), "projects can then be installed by name, but not listed")
    except PyOCIError as error:
        report.failed("catalog", str(error))
    else:
        report.rights["list projects"] = True
        name = namespace.repository.name
        report.ok("catalog", f"lists {found} {'project' if found == 1 else 'projects'} in {name}")


def _asked(greeting: Greeting, namespace: RepositoryCaller) -> str:
    if greeting.open:
        return "no credentials"
    ways = [_way(one, namespace) for one in greeting.challenges]
    return " or ".join(ways) or "credentials, without saying how to send them"


def _way(challenge: Challenge, namespace: RepositoryCaller) -> str:
    realm = challenge["realm"]
    if challenge.scheme == "bearer" and realm:
        base = f"{namespace.repository.registry.origin}/v2/"
        service = f", service {challenge['service']}" if challenge["service"] else ""
        return f"a Bearer token from {redacted(urljoin(base, realm))}{service}"
    if challenge.scheme == "basic":
        return "user name and password (Basic)"
    return challenge.scheme


def who(credentials: Credentials | None) -> str | None:
    """Return the name of the user that credentials are for, or what they are."""
    if isinstance(credentials, BasicCredentials):
        return credentials.username
    if isinstance(credentials, IdentityToken):
        named = credentials.username != TOKEN_USER
        return f"{credentials.username} (identity token)" if named else "the identity token"
    return None if credentials is None else "the token"


def at(namespace: RepositoryCaller) -> str:
    """Return the registry and namespace as a user writes them."""
    registry = namespace.repository.registry
    prefix = "http://" if registry.scheme == "http" and registry != EMBEDDED else ""
    return f"{prefix}{namespace.repository}"
