"""Checks the settings for `make run`, then prints how to use the server that starts next."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from pyoci_flask.errors import ConfigurationError
from pyoci_flask.oci.reference import EMBEDDED
from pyoci_flask.server.start import check_paths, open_to_everyone
from pyoci_flask.settings import Settings


def banner(settings: Settings) -> str:
    """Return where the server is, where it keeps packages, and how to publish and install."""
    root = settings.url or f"http://localhost:{settings.port}{settings.path}"
    index = settings.index
    if index is not None and index.registry != EMBEDDED:
        kept = f"in {index.registry.address}/{index.namespace}"
    else:
        kept = f"in {settings.storage}"
    if open_to_everyone(settings):
        login = "(twine asks for a user and a password: press Enter at both, none is needed)"
        demo = f"  Try it:   make demo PORT={settings.port}\n"
    else:
        demo = ""
        login = "(twine asks for a user and a password: those of the registry)"
    return f"""\
PyOCI for Flask: {root}
Packages are kept {kept}

  Publish:  twine upload --repository-url {root}/simple/ dist/*
            {login}
  Install:  pip install --index-url {root}/simple/ NAME
{demo}
Stop it with Ctrl-C.
"""


def main() -> None:
    """Print the banner, or one line about a setting that cannot be used."""
    try:
        settings = Settings.from_env(os.environ)
        check_paths(settings)
    except ConfigurationError as error:
        sys.exit(f"Error: {error}")
    sys.stdout.write(f"{banner(settings)}\n")


if __name__ == "__main__":
    main()
