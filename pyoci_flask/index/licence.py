"""The licence of a package, as its page shows it: a name, and the text if the metadata has one."""

import re

from packaging.metadata import RawMetadata

from pyoci_flask.index.fields import one_line, printable, unfolded

_LONGEST_NAME = 150
"""Maximum number of characters of a name. A longer line is the text of a licence."""
_LONGEST_TEXT = 20_000
_CLASSIFIER = "License :: "
_COPYRIGHT = re.compile(r"copyright\b|\(c\)|\u00a9", re.IGNORECASE)


def read_licence(fields: RawMetadata) -> tuple[str, str]:
    """Return the name of the licence, and the beginning of its text; both may be empty.

    The name is License-Expression, or else License, or else the licences of the classifiers. If
    License is a text (core metadata before 2.4), the name comes from the classifiers, or else from
    the first line that does not begin with Copyright.
    """
    expression = fields.get("license_expression") or ""
    named = (one for one in fields.get("classifiers", ()) if one.startswith(_CLASSIFIER))
    classified = ", ".join(dict.fromkeys(one.rpartition(" :: ")[2] for one in named))
    field = (fields.get("license") or "").strip()
    cut = len(field) > _LONGEST_TEXT
    lines = unfolded(field[:_LONGEST_TEXT]).splitlines()
    if len(lines) <= 1 and len(field) <= _LONGEST_NAME:
        return _name(expression or field or classified), ""
    shown = (line.strip() for line in lines)
    first = next((line for line in shown if line and not _COPYRIGHT.match(line)), "Licence text")
    text = "\n".join(printable(line.expandtabs(4)) for line in lines)
    return _name(expression or classified or first), f"{text}\n..." if cut else text


def _name(text: str) -> str:
    line = one_line(text, _LONGEST_NAME)
    return line if len(line) <= _LONGEST_NAME else f"{line[:_LONGEST_NAME]}..."
