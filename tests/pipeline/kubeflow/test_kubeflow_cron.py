"""Schedules are interpreted as by the scheduler of Kubeflow Pipelines."""

import datetime

import pytest

from pipeline.kubeflow import cron

NEW_YEAR = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    "expression",
    ["0 0 3 * * *", "0 */15 1-5 ? * MON-FRI", "30 0 0 1,15 * 0", "0 0 0 1 jan-jun/2 *"],
)
def test_what_the_scheduler_accepts_is_accepted(expression):
    cron.check(expression)


def test_five_fields_are_rejected_with_a_suggestion():
    with pytest.raises(ValueError, match=r"six fields.*not 5; did you mean '0 0 3 \* \* \*'"):
        cron.check("0 3 * * *")


@pytest.mark.parametrize(
    ("expression", "field"),
    [
        ("0 0 0 L * *", "day field"),
        ("0 0 0 * * MON#1", "weekday field"),
        ("0 0 0 * MON *", "month field"),
        ("0 0 0 * * 7", "0 .Sunday. to 6"),
        ("0 0 0 * * 5-7", "0 .Sunday. to 6"),
        ("0 60 0 * * *", "not a valid schedule"),
        ("0 0 0 31 2 *", "not a valid schedule"),
        ("H 0 0 * * *", "second field"),
    ],
)
def test_what_the_scheduler_rejects_or_interprets_differently_is_rejected(expression, field):
    with pytest.raises(ValueError, match=field):
        cron.check(expression)


def test_a_step_of_seven_is_no_weekday():
    cron.check("0 0 0 * * */7")


def test_words_name_the_second_the_day_and_utc():
    assert cron.words("30 15 14 * * MON") == "At 14:15:30, only on Monday (UTC)"


def test_the_first_field_is_seconds():
    assert cron.next_times("30 0 * * * *", count=2, after=NEW_YEAR) == [
        NEW_YEAR.replace(second=30),
        NEW_YEAR.replace(hour=1, second=30),
    ]


def test_times_are_utc_for_any_time_zone():
    zone = datetime.timezone(datetime.timedelta(hours=5))
    (first,) = cron.next_times("0 0 3 * * *", count=1, after=NEW_YEAR.astimezone(zone))
    assert first == NEW_YEAR.replace(hour=3)
    assert first.utcoffset() == datetime.timedelta(0)


def test_five_times_are_given():
    assert len(cron.next_times("0 0 3 * * *")) == 5


def test_an_expression_that_would_take_seconds_to_parse_is_rejected():
    with pytest.raises(ValueError, match=r"at most 256 characters\. Received: 200009"):
        cron.check(",".join(["1"] * 100_000) + " * * * * *")
