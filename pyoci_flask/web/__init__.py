"""HTTP in, HTTP out: the Flask blueprints, and what they share."""

from pathlib import Path

_PACKAGED = Path(__file__).parents[1] / "templates"

TEMPLATES = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "templates"
"""The folder of the templates: inside the package in a wheel, next to it in a checkout."""
