"""The environment of COMMAND: how each client finds the index, the proxy and where to publish."""

import re
from collections.abc import Mapping, Sequence

from pyoci_flask.cli.run.addresses import HOST, LOOPBACK, USER, WITH_FALLBACK, fixed, publishing
from pyoci_flask.cli.run.fallback import CONFIGURED, NO_FALLBACK
from pyoci_flask.cli.run.pip_settings import trusted_hosts
from pyoci_flask.settings import PinnedIndex

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_OTHER_PROXIES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
_REMOVED = (
    # urllib and uv take no proxy from the environment of a CGI program, because there the client
    # could have chosen it (RFC 3875, section 4.1.18). This one was chosen here.
    "REQUEST_METHOD",
    # It would take the place of user name and password.
    "UV_PUBLISH_TOKEN",
    # uv refuses it together with UV_PUBLISH_URL.
    "UV_PUBLISH_INDEX",
    # uv does not upload the files that another index has.
    "UV_PUBLISH_CHECK_URL",
)
_UV_EXTRA = ("UV_INDEX_URL", "UV_EXTRA_INDEX_URL")
_PUBLISHERS = (
    ("UV_PUBLISH_URL", "UV_PUBLISH_USERNAME", "UV_PUBLISH_PASSWORD"),
    ("TWINE_REPOSITORY_URL", "TWINE_USERNAME", "TWINE_PASSWORD"),
    ("HATCH_INDEX_REPO", "HATCH_INDEX_USER", "HATCH_INDEX_AUTH"),
    ("FLIT_INDEX_URL", "FLIT_USERNAME", "FLIT_PASSWORD"),
    ("PDM_PUBLISH_REPO", "PDM_PUBLISH_USERNAME", "PDM_PUBLISH_PASSWORD"),
    (
        "POETRY_REPOSITORIES_RUN_URL",
        "POETRY_HTTP_BASIC_RUN_USERNAME",
        "POETRY_HTTP_BASIC_RUN_PASSWORD",
    ),
)
"""Where each publisher reads the address, the user name and the password.

They are set even if a run does not publish. Otherwise, an upload that was meant for the private
index would go to the public one.
"""


def environment(
    environ: Mapping[str, str],
    named: Sequence[PinnedIndex],
    indexes: Sequence[PinnedIndex],
    port: int,
    secret: str,
    fallback: str | None,
) -> dict[str, str]:
    """Return the environment of COMMAND.

    `named` are the indexes that the user named by an option, `indexes` these and those of the
    project's files. `fallback` is the URL of the index for other projects, `none`, or None for
    the one that each client uses by default.
    """
    result = {name: value for name, value in environ.items() if not _is_password(name)}
    for name in _REMOVED:
        result.pop(name, None)
    _set_proxy(result, f"http://{USER}:{secret}@{LOOPBACK}:{port}")
    _set_pip(result, indexes[0])
    _set_uv(result, named, indexes, fallback)
    address = publishing(indexes[0], port)
    for url, user, password in _PUBLISHERS:
        result |= {url: address, user: USER, password: secret}
    return result


def _is_password(name: str) -> bool:
    return name.startswith("PYOCI_") and name.endswith(("PASSWORD", "USERNAME"))


def _set_proxy(result: dict[str, str], proxy: str) -> None:
    # pip would send everything to this proxy. It is still used for https.
    pip_proxy = result.pop("PIP_PROXY", "")
    excepted = re.split(r"[,\s]+", result.get("no_proxy") or result.get("NO_PROXY") or "")
    if "*" in excepted:
        # The user wants no proxy for any host. One is needed for ours, and none for the others.
        for name in _OTHER_PROXIES:
            result.pop(name, None)
    elif pip_proxy and not any(result.get(name) for name in _OTHER_PROXIES):
        result |= {"HTTPS_PROXY": pip_proxy, "https_proxy": pip_proxy}
    kept = [one for one in excepted if not _excepts_ours(one)]
    without = ",".join(dict.fromkeys([*kept, *_LOOPBACK]))
    result |= {"HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": without, "no_proxy": without}


def _excepts_ours(excepted: str) -> bool:
    """Return whether a member of NO_PROXY covers the fixed host."""
    name = excepted.lower().removesuffix(":80").lstrip("*").strip(".")
    return not name or f".{HOST}".endswith(f".{name}")


def _set_pip(result: dict[str, str], index: PinnedIndex) -> None:
    trusted = result.get("PIP_TRUSTED_HOST") or " ".join(trusted_hosts(result))
    # pip would look up its own newest version in the private index.
    result.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    result |= {
        CONFIGURED: result.get(CONFIGURED, result.get("PIP_INDEX_URL", "")),
        "PIP_INDEX_URL": f"{fixed(index)}{WITH_FALLBACK}",
        # pip would mix the projects of its extra indexes with private ones of the same name. An
        # empty value would leave those of its files; a list without members replaces them.
        "PIP_EXTRA_INDEX_URL": " ",
        "PIP_TRUSTED_HOST": f"{trusted} {HOST}".strip(),
    }


def _set_uv(
    result: dict[str, str],
    named: Sequence[PinnedIndex],
    indexes: Sequence[PinnedIndex],
    fallback: str | None,
) -> None:
    addresses = [fixed(index) for index in named]
    if fallback is None:
        # uv takes a project from the first index that has it. The user's own come after these.
        if addresses:
            result["UV_INDEX"] = " ".join([*addresses, *result.get("UV_INDEX", "").split()])
        return
    for name in _UV_EXTRA:
        result.pop(name, None)
    if fallback == NO_FALLBACK:
        *addresses, fallback = [fixed(index) for index in indexes]
    result |= {"UV_INDEX": " ".join(addresses), "UV_DEFAULT_INDEX": fallback}
