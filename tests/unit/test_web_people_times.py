"""Times on the web pages."""

from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta, timezone

import pytest

from pyoci_flask.web.people.times import as_ago, as_moment

NOW = datetime(2026, 11, 28, 15, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ago", "words"),
    [
        (timedelta(0), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(seconds=-59), "just now"),
        (timedelta(minutes=1), "1 min ago"),
        (timedelta(minutes=59, seconds=59), "59 min ago"),
        (timedelta(hours=1), "1 h ago"),
        (timedelta(hours=23, minutes=59), "23 h ago"),
        (timedelta(days=1), "1 day ago"),
        (timedelta(days=12, hours=5), "12 days ago"),
        (timedelta(days=30), "30 days ago"),
        (timedelta(days=31), "28 Oct 2026"),
        (timedelta(days=-2), "30 Nov 2026"),
    ],
)
def test_time_is_relative_to_now_unless_it_is_far_away(ago: timedelta, words: str) -> None:
    assert as_ago(NOW - ago, NOW) == words


@pytest.mark.parametrize("year", [MINYEAR, MAXYEAR])
def test_any_time_that_a_program_wrote_is_a_day(year: int) -> None:
    assert as_ago(datetime(year, 1, 2, tzinfo=UTC), NOW) == f"2 Jan {year}"


def test_moment_is_of_utc_and_nothing_is_said_of_no_time() -> None:
    late = datetime(2026, 11, 3, 23, 30, 5, tzinfo=timezone(timedelta(hours=-2)))

    assert as_moment(late) == "4 Nov 2026, 01:30:05 UTC"
    assert (as_ago(None, NOW), as_moment(None)) == ("", "")
