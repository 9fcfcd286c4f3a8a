"""The environment variables that the application reads."""

from pyoci_flask.settings import names


def setting_names() -> set[str]:
    """Return the names of the variables that `Settings` reads."""
    return set(names.setting_names())
