"""Sizes and times as people read them."""

from datetime import UTC, datetime

_THOUSAND = 1000.0


def as_size(size: int | None) -> str:
    """Write bytes with a unit of the powers of ten; empty if the size is not known."""
    if size is None:
        return ""
    if size < _THOUSAND:
        return f"{size} bytes"
    value = float(size)
    for unit in ("kB", "MB", "GB"):
        value /= _THOUSAND
        if value < _THOUSAND:
            return f"{value:.1f} {unit}"
    return f"{value / _THOUSAND:.1f} TB"


def as_date(time: datetime | None) -> str:
    """Write the day, such as `3 Nov 2026`; empty if there is none."""
    return "" if time is None else f"{time.astimezone(UTC):%-d %b %Y}"
