"""For how long the listing cache uses what was read (RFC 9111, section 4.2)."""

from dataclasses import dataclass

from pyoci_flask.index.fetch import Read
from pyoci_flask.index.versions import VersionFiles

_GONE_FOR = 5.0
"""Seconds until a tag that is listed but does not exist is read again. Some registries still list
deleted tags."""
_STALE_SHARE = 0.1
"""The part of a version's age for which it may be shown (heuristic freshness, RFC 9111, 4.2.2)."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """For how many seconds entries are used, counted from the request to the registry."""

    ttl: float
    """How long an entry counts as fresh."""
    stale: float = 0.0
    """How long a version that had not changed for a long time may be shown at most."""

    def of(self, found: Read, read: float) -> tuple[float, float]:
        """Return for how long what was read at `read` counts as fresh, and may be shown.

        `read` is in seconds since 1970.
        """
        if found is None:
            return min(_GONE_FOR, self.ttl), min(_GONE_FOR, self.ttl)
        if not isinstance(found, VersionFiles) or found.changed is None:
            return self.ttl, self.ttl
        unchanged = read - found.changed.timestamp()
        return self.ttl, max(self.ttl, min(_STALE_SHARE * unchanged, self.stale))

    @property
    def longest(self) -> float:
        """The number of seconds after which no entry is shown."""
        return max(self.ttl, self.stale)
