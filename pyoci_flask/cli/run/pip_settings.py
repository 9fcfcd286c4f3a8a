"""What pip's configuration files say, as far as a variable of `run` would replace it."""

import configparser
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pyoci_flask.common.files import read_bounded

_SECTIONS = ("global", "install")
"""From the weaker to the stronger one."""


def trusted_hosts(environ: Mapping[str, str]) -> list[str]:
    """Return the hosts that the `trusted-host` of pip's configuration files names.

    A file that cannot be read names none; pip itself reports it.
    """
    found: dict[str, str] = {}
    for path in _files(environ):
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string((read_bounded(path) or b"").decode("utf-8", "replace"))
        except (OSError, ValueError, configparser.Error):
            continue
        for section in _SECTIONS:
            for name in ("trusted-host", "trusted_host"):
                if value := parser.get(section, name, fallback=""):
                    found[section] = value
    value = next((found[each] for each in reversed(_SECTIONS) if each in found), "")
    return [host for host in value.split() if host.isprintable()]


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    """Return the files in the order in which pip reads them on Linux; later ones win."""
    chosen = environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return
    for folder in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep):
        yield Path(folder, "pip", "pip.conf")
    yield Path("/etc/pip.conf")
    home = environ.get("HOME", "")
    if not (chosen and Path(chosen).exists()):
        yield Path(home, ".pip", "pip.conf")
        yield Path(environ.get("XDG_CONFIG_HOME") or f"{home}/.config", "pip", "pip.conf")
    if environment := environ.get("VIRTUAL_ENV"):
        yield Path(environment, "pip.conf")
    if chosen:
        yield Path(chosen)
