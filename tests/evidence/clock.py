"""Times as the log formats write them. All of them take seconds since 1970, UTC."""

import datetime

UTC = datetime.timezone.utc
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
DAY = 86400
# Fixed, so that the same seed gives the same evidence.
END = int(datetime.datetime(2026, 11, 24, 6, 0, tzinfo=UTC).timestamp())
START = END - 30 * DAY


def at(text):
    """Seconds of a time written as 2026-11-22 02:11:03."""
    return datetime.datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def date(seconds):
    return datetime.datetime.fromtimestamp(seconds, UTC)


def iso(seconds):
    """2026-11-22T02:11:03.123456+00:00, the default of rsyslog."""
    return date(seconds).strftime("%Y-%m-%dT%H:%M:%S.%f+00:00")


def traditional(seconds):
    """Nov 22 02:11:03, which lacks the year."""
    d = date(seconds)
    return f"{MONTHS[d.month - 1]} {d.day:2d} {d:%H:%M:%S}"


def web(seconds):
    """22/Nov/2026:02:11:03 +0000, the common log format."""
    d = date(seconds)
    return f"{d.day:02d}/{MONTHS[d.month - 1]}/{d.year}:{d:%H:%M:%S} +0000"


def plain(seconds):
    """2026-11-22 02:11:03"""
    return date(seconds).strftime("%Y-%m-%d %H:%M:%S")


def nanos(seconds):
    """2026-11-22T02:11:03.123456000Z, as container runtimes write it."""
    return date(seconds).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
