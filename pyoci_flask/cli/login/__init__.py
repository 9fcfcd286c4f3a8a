"""Logins for registries that people already have: Docker's and Podman's files, and `.netrc`.

This package is light, because the key ring imports it: only `credentials` needs `transport`.
"""

from pyoci_flask.cli.login.find import find_login, login_for_registry
from pyoci_flask.cli.login.found import FoundLogin
from pyoci_flask.cli.login.keys import host_of

__all__ = ["FoundLogin", "find_login", "host_of", "login_for_registry"]
