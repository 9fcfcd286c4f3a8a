"""Range requests for bytes (RFC 9110, section 14)."""

import re
from dataclasses import dataclass

# Python converts at most 4,300 digits to a number.
_ONE_RANGE = re.compile(r"bytes[ \t]*=[ \t]*([0-9]{0,4000})-([0-9]{0,4000})[ \t]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """One range of bytes, before the size of the content is known."""

    first: int | None
    """The first byte, or None for a suffix."""
    last: int | None
    """The last byte, the length of a suffix, or None for everything from `first` on."""

    def of(self, size: int) -> tuple[int, int] | None:
        """Return the first byte and the one after the last, or None if none can be sent (416)."""
        if self.first is None:
            start, stop = max(0, size - (self.last or 0)), size
        else:
            start, stop = self.first, size if self.last is None else min(self.last + 1, size)
        return (start, stop) if start < stop else None


def requested_range(header: str | None, if_range: str | None, etag: str) -> ByteRange | None:
    """Return the range that a GET requests, or None if it gets the whole content.

    As RFC 9110 allows, several ranges, other units and invalid ranges are ignored. If `if_range` is
    given, the range is used only if it equals the strong `etag` (13.1.5), passed without quotes.
    """
    found = _ONE_RANGE.fullmatch(header or "")
    if found is None or (if_range is not None and if_range.strip() != f'"{etag}"'):
        return None
    first, last = (int(text) if text else None for text in found.groups())
    if first is None and last is None:
        return None
    if first is not None and last is not None and last < first:
        return None
    return ByteRange(first, last)
