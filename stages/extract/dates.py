"""Reads the dates that pages state in their metadata and addresses.

Publishing systems write ISO 8601, people and old systems anything else. A date that can be read in two ways, or that
no page can have, is worse than none, as it moves a document to a wrong year unnoticed: such values give None.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

#: The first year a web page can be from, and the first that a digitised work is dated to. 1970-01-01 is a zero.
WEB, PRINT = 1991, 1600
LAST = 2099
LONGEST = 64  # characters; what is longer is no date

_NAMES = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
          "december")  # fmt: skip
_MONTHS = {word: k for k, name in enumerate(_NAMES, 1) for word in (name, name[:3])} | {"sept": 9}
_SORTED = re.compile(r"(\d{4})([-/.])(\d{1,2})(?:\2(\d{1,2})(?!\d)|(?!\d|\2\d))", re.ASCII)
_COMPACT = re.compile(r"((?:19|20)\d\d)([01]\d)([0-3]\d)(?:$|[T ]|\d{6}$)", re.ASCII)
_YEAR = re.compile(r"(\d{4})$", re.ASCII)
_SECONDS = re.compile(r"(\d{10})(?:\d{3})?$", re.ASCII)
_DAY_FIRST = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4})(?!\d)", re.ASCII)
_DAY_MONTH = re.compile(
    r"(?:[A-Za-z]{3,9}\.?,?\s{1,3})?(\d{1,2})(?:st|nd|rd|th)?[\s-]([A-Za-z]{3,9})\.?,?[\s-](\d{4})(?!\d)", re.ASCII
)
_MONTH_DAY = re.compile(
    r"(?:[A-Za-z]{3,9},\s{1,3})?([A-Za-z]{3,9})\.?\s{1,3}(\d{1,2})(?:st|nd|rd|th)?,?\s{1,3}(\d{4})(?!\d)", re.ASCII
)
_IN_ADDRESS = re.compile(
    r"/((?:19|20)\d\d)(?:/(0?[1-9]|1[0-2])(?:/(0?[1-9]|[12]\d|3[01]))?|-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01]))(?![\d.])(?=[/_-]|\.html?|$)",
    re.ASCII,
)


def read_date(value: str, first: int = WEB) -> date | None:
    """The day that a value begins with, as written (its own time zone); of a month or year alone, its first day.

    first: the first year that is believed. None if it is no date, is ambiguous (03/04/2012) or cannot be.
    """
    value = value.strip()
    if not 4 <= len(value) <= LONGEST:
        return None
    if found := _SORTED.match(value):
        return _date(found[1], found[3], found[4] or 1, first)
    if found := _COMPACT.match(value):
        return _date(found[1], found[2], found[3], first)
    if found := _YEAR.match(value):
        return _date(found[1], 1, 1, first)
    if found := _SECONDS.match(value):
        day = datetime.fromtimestamp(int(found[1]), UTC)
        return _date(day.year, day.month, day.day, first)
    if found := _DAY_FIRST.match(value):
        day_or_month, other = int(found[1]), int(found[3])
        if found[2] != "." and day_or_month <= 12 and other <= 12 and day_or_month != other:
            return None
        if other > 12 and found[2] != ".":
            day_or_month, other = other, day_or_month
        return _date(found[4], other, day_or_month, first)
    if (found := _DAY_MONTH.match(value)) and (month := _MONTHS.get(found[2].lower())):
        return _date(found[3], month, found[1], first)
    if (found := _MONTH_DAY.match(value)) and (month := _MONTHS.get(found[1].lower())):
        return _date(found[3], month, found[2], first)
    return None


def date_of_address(url: str) -> date | None:
    """The date in a path like `/2014/06/17/title`, `/2014/06/title` or `/2014-06-17-title`."""
    found = _IN_ADDRESS.search(url[:2000].partition("?")[0])
    return _date(found[1], found[2] or found[4], found[3] or found[5] or 1, WEB) if found else None


def _date(year: str | int, month: str | int, day: str | int, first: int) -> date | None:
    try:
        found = date(int(year), int(month), int(day))
    except ValueError:
        return None
    return found if first <= found.year <= LAST else None
