"""Six-field cron expressions in UTC, as in the scheduler of Kubeflow Pipelines."""

import datetime
import itertools
import re
from collections.abc import Iterator

from cron_descriptor import Options, get_description
from croniter import CroniterError, croniter

_FIELDS = ("second", "minute", "hour", "day", "month", "weekday")
_NAMES = {
    "month": "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC",
    "weekday": "SUN|MON|TUE|WED|THU|FRI|SAT",
}
_LAST_WEEKDAY = 6
_MAX_LENGTH = 256


def check(cron: str) -> None:
    """Rejects an expression that the cluster's scheduler rejects or interprets differently.

    Args:
      cron: second, minute, hour, day, month, weekday.

    Raises:
      ValueError: the number of fields, or a field, is invalid.
    """
    if len(cron) > _MAX_LENGTH:
        raise ValueError(
            f"a schedule must have at most {_MAX_LENGTH} characters. Received: {len(cron)}"
        )
    fields = cron.split()
    if len(fields) != len(_FIELDS):
        hint = f"; did you mean '0 {cron}'?" if len(fields) == len(_FIELDS) - 1 else ""
        raise ValueError(
            f"a schedule must have six fields in UTC: {' '.join(_FIELDS)}, not {len(fields)}{hint}"
        )
    for name, field in zip(_FIELDS, fields, strict=True):
        _check_field(name, field)
    try:
        croniter(cron, second_at_beginning=True).get_next()
    except CroniterError as error:
        raise ValueError(f"not a valid schedule: {error}") from error


def words(cron: str) -> str:
    """The expression in English, such as "At 03:00:00, only on Monday (UTC)"."""
    options = Options()
    options.use_24hour_time_format = True
    return f"{get_description(cron, options)} (UTC)"


def times(cron: str, after: datetime.datetime) -> Iterator[datetime.datetime]:
    """The times of a schedule after a given time, endlessly, in UTC."""
    schedule = croniter(
        cron, after.astimezone(datetime.UTC), second_at_beginning=True, ret_type=datetime.datetime
    )
    while True:
        yield schedule.get_next()


def next_times(
    cron: str, *, count: int = 5, after: datetime.datetime | None = None
) -> list[datetime.datetime]:
    """The next `count` times of a schedule in UTC; `after` defaults to now."""
    return list(itertools.islice(times(cron, after or datetime.datetime.now(datetime.UTC)), count))


def _check_field(name: str, field: str) -> None:
    # croniter accepts more than the cluster's scheduler: L, #, H, random values, weekday 7.
    value = rf"(\d{{1,2}}|{_NAMES[name]})" if name in _NAMES else r"\d{1,2}"
    part = rf"([*?]|{value}(-{value})?)(/\d{{1,2}})?"
    if not re.fullmatch(rf"{part}(,{part})*", field, re.IGNORECASE):
        raise ValueError(
            f"the {name} field of a schedule must consist of *, numbers, ranges (1-5), lists (1,3) "
            f"and steps (*/2), not {field!r}"
        )
    weekdays = re.sub(r"/\d+", "", field) if name == "weekday" else ""
    if any(int(number) > _LAST_WEEKDAY for number in re.findall(r"\d+", weekdays)):
        raise ValueError(f"weekdays of a schedule must be from 0 (Sunday) to 6, not {field!r}")
