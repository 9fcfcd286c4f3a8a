"""Times on the web pages, relative to now."""

from datetime import UTC, datetime, timedelta

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_LONGEST_AGO = timedelta(days=30)


def as_ago(time: datetime | None, now: datetime) -> str:
    """Say how long ago a time was, such as `3 h ago`, or on which day if that is long ago.

    The text is empty if there is no time. It is coarse, so that a page changes rarely. Any program
    may have written the time, so it can be in the future: then the day is shown as well, unless
    the clocks differ only a little.
    """
    if time is None:
        return ""
    ago = now - time
    if ago > _LONGEST_AGO or ago < -_HOUR:
        return as_date(time)
    if ago < _MINUTE:
        return "just now"
    if ago < _HOUR:
        return f"{ago // _MINUTE} min ago"
    if ago < _DAY:
        return f"{ago // _HOUR} h ago"
    days = ago // _DAY
    return "1 day ago" if days == 1 else f"{days} days ago"


def as_date(time: datetime | None) -> str:
    """Format the day, such as `3 Nov 2026`. The text is empty if there is no time."""
    return "" if time is None else f"{time.astimezone(UTC):%-d %b %Y}"


def as_moment(time: datetime | None) -> str:
    """Format day and time, such as `3 Nov 2026, 14:05:09 UTC`, or return an empty text."""
    return "" if time is None else f"{as_date(time)}, {time.astimezone(UTC):%H:%M:%S} UTC"
