"""The report of a check: a line for each step, and what to do about failed steps."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase

from pyoci_flask.cli.screen import Mark, Screen
from pyoci_flask.errors import (
    AuthenticationRequiredError,
    DeniedError,
    NotFoundError,
    PyOCIError,
    RateLimitedError,
    RegistryError,
    RegistryTimeoutError,
    UnsupportedError,
)
from pyoci_flask.oci.reference import Registry

_RIGHTS: Mapping[str, Mapping[str, str]] = {
    "ghcr.io": {
        "sign-in": "use your GitHub user name, and a classic token as the password",
        "pull": "give the token the scope read:packages",
        "push": "give the token the scope write:packages",
    },
    "*.azurecr.io": {
        "pull": "give the identity the role AcrPull",
        "push": "give the identity the role AcrPush",
        "delete": "give the identity the role AcrDelete",
    },
    "*.amazonaws.com": {
        "sign-in": "use the user name AWS, and the output of `aws ecr get-login-password` as the "
        "password; it is valid for 12 hours",
    },
    "*.pkg.dev": {
        "sign-in": "use the user name oauth2accesstoken with an access token, or _json_key with "
        "the content of a key file",
        "push": "give the account the role Artifact Registry Writer",
        "delete": "give the account the role Artifact Registry Repository Administrator",
    },
    "docker.io": {
        "push": "give the token permission to read and write; the namespace is the user or "
        "organisation",
    },
    "quay.io": {"sign-in": "use a robot account or an encrypted password"},
}
"""For each pattern of hosts and each step: what to do if the credentials are denied."""
_AGAIN = "try again; if the error persists, ask the operator of the registry"
_HINTS: Sequence[tuple[type[PyOCIError], str | None, str]] = (
    (
        AuthenticationRequiredError,
        "pull",
        "give credentials (--username NAME --password-stdin), or name a public project (--project)",
    ),
    (AuthenticationRequiredError, None, "give credentials: --username NAME --password-stdin"),
    # Pushing was allowed before, but perhaps only to the repository of --project.
    (
        DeniedError,
        "publish",
        (
            "make the repository {repository} first, and give these credentials the right to "
            "push to it"
        ),
    ),
    (
        DeniedError,
        "sign-in",
        "check the user name and password, and whether they have expired",
    ),
    (
        DeniedError,
        "pull",
        (
            "give these credentials the right to pull; some registries deny access to what does "
            "not exist, so specify an existing project with --project NAME"
        ),
    ),
    (DeniedError, None, "give these credentials the right to {step}"),
    (
        NotFoundError,
        "publish",
        "make the repository {repository} first, because the probe is published there",
    ),
    (
        NotFoundError,
        "push",
        (
            "make the repository of each project there first, and name one of them with "
            "--project; for --write, make NAMESPACE/pyoci_probe"
        ),
    ),
    (RateLimitedError, None, "wait, or give credentials: most registries then allow more"),
    (RegistryTimeoutError, None, _AGAIN),
    (RegistryError, None, _AGAIN),
    (UnsupportedError, "publish", "use another registry to store the packages"),
)
"""What to do about each error, in any step or only in the given one. The first match is shown."""
_LACKS = (AuthenticationRequiredError, DeniedError, UnsupportedError)
"""How a registry says that the credentials lack a right, or that no one has it."""
_NEEDED_TO = {"push": "publish", "delete": "delete files"}
"""What the right of a step is needed for, if a reader does not need it."""


class StopError(Exception):
    """A step failed that the next steps depend on; the report already contains the reason."""


class Report:
    """Writes one line for each step."""

    def __init__(self, screen: Screen, registry: Registry) -> None:
        """Write to `screen`, with hints for `registry`."""
        self.screen = screen
        self.passed = True
        """Whether no step has failed so far."""
        self.rights: dict[str, bool] = {}
        """What the credentials may do, as far as it is known, in the order of the steps."""
        self._registry = registry

    def ok(self, step: str, text: str) -> None:
        """Report a step that succeeded."""
        self.screen.mark(Mark.OK, step, text)

    def note(self, step: str, text: str, hint: str | None = None) -> None:
        """Report something that is missing or was not tried, but is not required."""
        self.screen.mark(Mark.NOTE, step, text, hint)

    def failed(self, step: str, text: str, hint: str | None = None) -> None:
        """Report a step that failed: first what to do, then what happened."""
        self.passed = False
        first, second = (text, None) if hint is None else (hint, text)
        self.screen.mark(Mark.FAILED, step, first, second)

    def all_rights(self) -> None:
        """Report in one line what the credentials may do, if they lack a right."""
        if not all(self.rights.values()):
            shown = [f"may {what}: {'yes' if may else '-'}" for what, may in self.rights.items()]
            self.note("rights", ", ".join(shown))

    @contextmanager
    def step(self, name: str, repository: str = "", *, needed: bool = True) -> Iterator[None]:
        """Report an expected error that the block raises, with a hint.

        `repository` is the name of the repository that the block writes to. Unless the step's right
        is `needed`, its lack is not a failure.

        Raises:
            StopError: the block raised an expected error.
        """
        try:
            with self.screen.working(name):
                yield
        except PyOCIError as error:
            hint = hint_for(error, name, self._registry, repository)
            if not needed and isinstance(error, _LACKS):
                purpose = _NEEDED_TO[name]
                self.note(name, str(error), f"to {purpose}, {hint}" if hint else None)
            else:
                self.failed(name, str(error), hint)
            raise StopError from error


def hint_for(error: PyOCIError, step: str, registry: Registry, repository: str = "") -> str | None:
    """Return what to do about `error` in `step`, or None if its text is sufficient.

    `repository` is the name of the repository that the step writes to, if it writes.
    """
    if isinstance(error, DeniedError):
        for pattern, hints in _RIGHTS.items():
            if step in hints and fnmatchcase(registry.host, pattern):
                return hints[step]
    for kind, only, hint in _HINTS:
        if isinstance(error, kind) and only in {None, step}:
            return hint.format(step=step, repository=repository)
    return error.advice or None
