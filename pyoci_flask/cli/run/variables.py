"""The environment of COMMAND: how each client finds the index, the proxy and where to publish."""

import re
from collections.abc import Mapping, Sequence

from pyoci_flask.cli.run.addresses import HOST, USER, WITH_FALLBACK, fixed, publishing
from pyoci_flask.cli.run.fallback import CONFIGURED
from pyoci_flask.settings import PinnedIndex

NO_FALLBACK = "none"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PROXIES = ("https_proxy", "all_proxy")


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
    result.update(_proxy(environ, port, secret))
    result.update(_pip(environ, indexes[0]))
    result.update(_uv(environ, named, fallback))
    result.update(_publishing(publishing(indexes[0], port), secret))
    result.pop("UV_PUBLISH_TOKEN", None)  # it would take the place of user name and password
    return result


def _is_password(name: str) -> bool:
    return name.startswith("PYOCI_") and name.endswith(("PASSWORD", "USERNAME"))


def _proxy(environ: Mapping[str, str], port: int, secret: str) -> dict[str, str]:
    excepted = re.split(r"[,\s]+", environ.get("no_proxy") or environ.get("NO_PROXY") or "")
    result = {}
    if "*" in excepted:
        # The user wants no proxy for any host. One is needed for ours, and none for the others.
        excepted = [one for one in excepted if one != "*"]
        for name in _PROXIES:
            result[name] = result[name.upper()] = ""
    without = ",".join(dict.fromkeys([*filter(None, excepted), *_LOOPBACK]))
    proxy = f"http://{USER}:{secret}@127.0.0.1:{port}"
    return {
        **result,
        "HTTP_PROXY": proxy,
        "http_proxy": proxy,
        "NO_PROXY": without,
        "no_proxy": without,
    }


def _pip(environ: Mapping[str, str], index: PinnedIndex) -> dict[str, str]:
    address = f"{fixed(index)}{WITH_FALLBACK}"
    trusted = environ.get("PIP_TRUSTED_HOST", "")
    return {
        CONFIGURED: environ.get(CONFIGURED, environ.get("PIP_INDEX_URL", "")),
        "PIP_INDEX_URL": address,
        # pip would mix the projects of its configured extra indexes with private ones of the same
        # name. It asks an address that is named twice only once.
        "PIP_EXTRA_INDEX_URL": address,
        "PIP_TRUSTED_HOST": f"{trusted} {HOST}".strip(),
    }


def _uv(
    environ: Mapping[str, str], named: Sequence[PinnedIndex], fallback: str | None
) -> dict[str, str]:
    addresses = [fixed(index) for index in named]
    others = [] if fallback == NO_FALLBACK else environ.get("UV_INDEX", "").split()
    if fallback is None:
        return {"UV_INDEX": " ".join([*addresses, *others])} if addresses else {}
    if fallback != NO_FALLBACK:
        return {"UV_INDEX": " ".join([*addresses, *others]), "UV_DEFAULT_INDEX": fallback}
    if not addresses:
        return {}
    return {"UV_INDEX": " ".join(addresses[:-1]), "UV_DEFAULT_INDEX": addresses[-1]}


def _publishing(address: str, secret: str) -> dict[str, str]:
    """Return the variables of each publisher. They are set even if this run does not publish.

    Otherwise, an upload that was meant for the private index would go to the public one.
    """
    result = {}
    for url, user, password in (
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
    ):
        result.update({url: address, user: USER, password: secret})
    return result
