"""The commands and their options; the other modules of this package do the work."""

import os
import sys

import click

from pyoci_flask import __version__
from pyoci_flask.cli import arguments, trust
from pyoci_flask.cli.arguments import Address, Login
from pyoci_flask.cli.change.commands import delete, yank
from pyoci_flask.cli.options import begin, login_of, password
from pyoci_flask.cli.trust import Server
from pyoci_flask.errors import PyOCIError
from pyoci_flask.index.names import ProjectName
from pyoci_flask.oci.reference import Registry
from pyoci_flask.settings import PinnedIndex


class _Group(click.Group):
    """A group that turns an expected error into one line and exit status 1."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except PyOCIError as error:
            from pyoci_flask.cli.screen import Screen  # `run` starts sooner without it

            raise click.ClickException(Screen().clean(error.text)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pyoci-flask")
def main() -> None:
    """Keep Python packages in an OCI registry."""


@main.command("serve")
@click.option("--port", metavar="PORT", help="Port to listen on.  [PORT; default 8080]")
@click.option(
    "--bind",
    metavar="ADDRESS",
    multiple=True,
    help="Address to listen on, host:port or unix:PATH; may be repeated.  [PYOCI_BIND]",
)
@click.option(
    "--storage", metavar="FOLDER", help="Folder of the embedded registry.  [PYOCI_STORAGE]"
)
@click.option("--index", metavar="REGISTRY/NAMESPACE", help="Served at /simple/.  [PYOCI_INDEX]")
def _serve(port: str | None, bind: tuple[str, ...], storage: str | None, index: str | None) -> None:
    """Serve the index with gunicorn.

    Settings are environment variables; each option sets the variable in its brackets.
    """
    from pyoci_flask.cli.serve import serve

    given = {"PORT": port, "PYOCI_STORAGE": storage, "PYOCI_INDEX": index}
    os.environ.update({name: value for name, value in given.items() if value is not None})
    serve(bind)


@main.command("run", context_settings={"allow_interspersed_args": False})
@click.argument("command", metavar="-- COMMAND [ARG]...", nargs=-1, required=True)
@click.option(
    "--index",
    "indexes",
    metavar="REGISTRY/NAMESPACE",
    multiple=True,
    callback=arguments.registry_indexes,
    help="An index that COMMAND may use; may be repeated.",
)
@click.option("--publish", is_flag=True, help="Let COMMAND publish; `uv publish` needs no option.")
@click.option(
    "--fallback",
    metavar="URL|none",
    callback=arguments.fallback,
    help="Index for the projects that no --index has.  [default: that of pip and of uv]",
)
@click.option(
    "--username",
    envvar="PYOCI_USERNAME",
    show_envvar=True,
    help="User name for the registry of the first --index.",
)
@click.option("--verbose", "-v", is_flag=True, help="Log to standard error, not to a file.")
def _run(
    command: tuple[str, ...],
    indexes: tuple[PinnedIndex, ...],
    publish: bool,
    fallback: str | None,
    username: str | None,
    verbose: bool,
) -> None:
    """Run a command that uses packages in a registry.

    There is no server to host: this process serves the indexes while COMMAND runs. COMMAND, such as
    `uv sync`, `pip install` or `twine upload`, finds them through environment variables. The
    registry's credentials come from PYOCI_USERNAME and PYOCI_PASSWORD, from `docker login` (or
    podman, oras, crane) or from ~/.netrc, and stay in this process.
    """
    from pyoci_flask.cli.run.run import run

    # The programs that this one starts need not know it.
    login = Login(username, os.environ.pop("PYOCI_PASSWORD", None) or None)
    given = login.given("the registry")
    sys.exit(run(command, indexes, given, fallback, publish=publish, verbose=verbose))


@main.command("check")
@click.argument("index", metavar="REGISTRY/NAMESPACE", callback=arguments.registry_index)
@click.option("--username", envvar="PYOCI_USERNAME", show_envvar=True, help="User name.")
@click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the password, or token, from standard input.  [or: env var: PYOCI_PASSWORD]",
)
@click.option("--project", callback=arguments.project, help="An existing project to check.")
@click.option("--write", is_flag=True, help="Publish a tiny package, read it back and remove it.")
@click.option("--verbose", "-v", is_flag=True, help="Log each call to standard error.")
def _check(
    index: PinnedIndex,
    username: str | None,
    password_stdin: bool,
    project: ProjectName | None,
    write: bool,
    verbose: bool,
) -> None:
    """Check step by step what a registry lets you do.

    The steps are: reach the registry, authenticate, and ask whether these credentials may pull,
    push and delete in NAMESPACE. Nothing is changed without --write. Without credentials in options
    or variables, those of `docker login`, `podman login` or ~/.netrc are used.
    """
    from pyoci_flask.cli.check.run import check
    from pyoci_flask.cli.screen import Screen

    begin(verbose=verbose)
    login = login_of(index, username, stdin=password_stdin)
    screen = Screen(*login.secrets)
    passed = check(screen, index, login.credentials, project, write=write, login=login.found)
    sys.exit(0 if passed else 1)


@main.command("copy")
@click.argument("source", metavar="SOURCE_INDEX", callback=arguments.address)
@click.argument("target", metavar="TARGET_INDEX", callback=arguments.address)
@click.argument("projects", metavar="[PROJECT]...", nargs=-1, callback=arguments.projects)
@click.option(
    "--upload-url",
    metavar="URL",
    callback=arguments.address,
    help="Where TARGET_INDEX accepts uploads, if not at its own address.",
)
@click.option(
    "--source-username", envvar="PYOCI_SOURCE_USERNAME", show_envvar=True, help="User name."
)
@click.option(
    "--source-password-stdin",
    is_flag=True,
    help="Read the password from standard input.  [or: env var: PYOCI_SOURCE_PASSWORD]",
)
@click.option(
    "--target-username", envvar="PYOCI_TARGET_USERNAME", show_envvar=True, help="User name."
)
@click.option(
    "--target-password-stdin",
    is_flag=True,
    help="Read the password from the next line.  [or: env var: PYOCI_TARGET_PASSWORD]",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Number of files copied at a time.",
)
@click.option("--dry-run", is_flag=True, help="Only report what would be copied.")
@click.option("--verbose", "-v", is_flag=True, help="Log each call to standard error.")
def _copy(
    source: Address,
    target: Address,
    projects: tuple[ProjectName, ...],
    upload_url: Address | None,
    source_username: str | None,
    source_password_stdin: bool,
    target_username: str | None,
    target_password_stdin: bool,
    jobs: int,
    dry_run: bool,
    verbose: bool,
) -> None:
    """Copy packages from one index to another.

    SOURCE_INDEX is any Simple index, and TARGET_INDEX is any index that accepts uploads and lists
    its files. Files that the target already has are skipped, so an interrupted copy continues where
    it stopped. All projects of the source are copied, or only those given. Credentials may also be
    part of the addresses, or come from `docker login`, `podman login` or ~/.netrc.
    """
    from pyoci_flask.cli.copy.exchange import End
    from pyoci_flask.cli.copy.run import copy
    from pyoci_flask.cli.screen import Screen

    begin(verbose=verbose)
    given = Login(source_username, password("PYOCI_SOURCE_PASSWORD", stdin=source_password_stdin))
    reading = given.over(source.login).credentials(source.url, "the source")
    given = Login(target_username, password("PYOCI_TARGET_PASSWORD", stdin=target_password_stdin))
    reader, uploader = arguments.target_logins(given, target, upload_url)
    listing = writing = reader.credentials(target.url, "the target")
    # A login that is found for one host is not sent to another one.
    if upload_url is not None and (uploader != reader or uploader == Login()):
        writing = uploader.credentials(upload_url.url, "the uploads")
    screen = Screen(*[one.password for one in (reading, listing, writing) if one is not None])
    # PyOCI and devpi accept uploads at the address without the suffix that they add for reading.
    uploads = target.url.removesuffix("+simple/") if upload_url is None else upload_url.url
    ends = End(source.url, reading), End(target.url, listing, uploads, writing)
    sys.exit(copy(screen, *ends, projects, jobs=jobs, dry_run=dry_run))


@main.command("trust")
@click.argument("server", metavar="SERVER", required=False, callback=arguments.server)
@click.argument("registry", metavar="REGISTRY", required=False, callback=arguments.registry)
@click.option("--list", "listing", is_flag=True, help="List the servers that are trusted.")
@click.option("--remove", is_flag=True, help="Stop trusting SERVER with the login for REGISTRY.")
def _trust(server: Server | None, registry: Registry | None, listing: bool, remove: bool) -> None:
    """Let the key ring send SERVER your login for REGISTRY.

    SERVER is the URL of a server of this program, such as https://packages.example.com, and
    REGISTRY is written as in the address of an index, without a namespace, such as ghcr.io. The
    package clients get your login for that registry from keyring when they use SERVER.
    """
    from pyoci_flask.cli.screen import Screen

    screen, file = Screen(), trust.trust_file()
    if listing:
        if remove or server is not None:
            raise click.UsageError("--list takes no server, and cannot be used with --remove")
        for pair in trust.in_order(trust.read_pairs(file)):
            screen.say(f"{pair.server} {pair.registry.address}")
        return
    if server is None or registry is None:
        raise click.UsageError("SERVER and REGISTRY are needed, or --list")
    pair = trust.Pair(server, registry)
    if not remove:
        trust.add(file, pair)
        screen.say(f"{server} gets your login for {registry.address}")
    elif trust.remove(file, pair):
        screen.say(f"{server} no longer gets your login for {registry.address}")
    else:
        raise click.ClickException(f"{server} is not trusted with {registry.address}: see --list")


main.add_command(delete)
main.add_command(yank)
