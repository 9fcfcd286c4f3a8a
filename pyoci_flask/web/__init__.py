"""The Flask blueprints, and the modules that they share."""

from pathlib import Path

_PACKAGED = Path(__file__).parents[1] / "templates"

TEMPLATES = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "templates"
"""The folder of the templates, which is in the package in a wheel and next to it in a checkout."""
