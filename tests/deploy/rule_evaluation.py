"""Evaluates a test document of `promtool test rules`: which of its alerts fire otherwise."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import promql_parser
from promql import NAME, Labels, Query, Storage, append, metrics, query, storage

_SERIES = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)\{(?P<labels>.*)\}")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_VALUE = re.compile(r"(?P<start>-?[\d.]+(?:e[+-]?\d+)?)(?:(?P<step>[+-][\d.]+)?x(?P<count>\d+))?")
_MISSING = re.compile(r"_(?:x(?P<count>\d+))?")
_RULE_KEYS = {"alert", "record", "expr", "for", "labels", "annotations"}

Group = Mapping[str, Any]


def differences(groups: Sequence[Group], document: Mapping[str, Any]) -> list[str]:
    """What fires otherwise than a document expects, one line per case.

    Args:
      groups: the groups of rules, in the order of their evaluation.
      document: as of `promtool test rules`; `rule_files` is not read.
    """
    step = seconds(document["evaluation_interval"])
    found = []
    for test in document["tests"]:
        for expected in test["alert_rule_test"]:
            firing = _firing(groups, test, step, expected)
            wanted = [
                _labels({**one["exp_labels"], "alertname": expected["alertname"]})
                for one in expected["exp_alerts"]
            ]
            if Counter(firing) != Counter(wanted):
                found.append(f"{test['name']}: expected {_shown(wanted)}, got {_shown(firing)}")
    return found


def _shown(several: Sequence[Labels]) -> list[dict[str, str]]:
    return [dict(sorted(labels)) for labels in several]


def _labels(values: Mapping[str, str]) -> Labels:
    return frozenset(values.items())


def _firing(
    groups: Sequence[Group], test: Mapping[str, Any], step: float, expected: Mapping[str, Any]
) -> list[Labels]:
    rules = [
        _rule(rule) for group in needed(groups, expected["alertname"]) for rule in group["rules"]
    ]
    stored, end = storage(), seconds(expected["eval_time"])
    for given in test["input_series"]:
        _store(stored, given, seconds(test["interval"]))
    for number in range(int(end // step) + 1):
        for rule in rules:
            rule.evaluate(stored, number * step)
    return [labels for rule in rules for labels in rule.firing(end // step * step)]


@dataclass
class _Rule:
    """A rule and what it remembers from one evaluation to the next.

    Attributes:
      since: when each alert became active.
      recorded: the series of the last evaluation.
    """

    query: Query
    labels: dict[str, str]
    record: str | None
    hold: float
    since: dict[Labels, float] = field(default_factory=dict)
    recorded: set[Labels] = field(default_factory=set)

    def evaluate(self, stored: Storage, time: float) -> None:
        value = self.query(stored, time)
        if not isinstance(value, dict):
            value = {frozenset(): value}
        found = {_labels({**dict(labels), **self.labels}): one for labels, one in value.items()}
        if len(found) < len(value):
            raise ValueError(f"two series of {self.record or self.labels} have the same labels")
        if self.record is None:
            self.since = {labels: self.since.get(labels, time) for labels in found}
            return
        for labels, one in found.items():
            append(stored, labels, time, one)
        for labels in self.recorded - found.keys():
            append(stored, labels, time, None)
        self.recorded = set(found)

    def firing(self, time: float) -> list[Labels]:
        return [
            frozenset(item for item in labels if item[0] != NAME)
            for labels, since in self.since.items()
            if time - since >= self.hold
        ]


def _rule(rule: Mapping[str, Any]) -> _Rule:
    if unknown := rule.keys() - _RULE_KEYS:
        raise NotImplementedError(f"keys of a rule that are not evaluated: {sorted(unknown)}")
    record = rule.get("record")
    named = {NAME: record} if record else {NAME: "", "alertname": rule["alert"]}
    labels = {**named, **rule.get("labels", {})}
    return _Rule(
        query(rule["expr"]), labels, record, seconds(rule["for"]) if "for" in rule else 0.0
    )


def needed(groups: Sequence[Group], alert: str) -> list[dict[str, Any]]:
    """The groups with an alert and the records that it reads only, in the order of evaluation.

    Raises:
      NotImplementedError: a record is read before it is made, or a group has further keys.
    """
    if any(set(group) - {"name", "rules"} for group in groups):
        raise NotImplementedError("a group may only have a name and rules")
    wanted, found = {alert}, []
    for group in reversed(groups):
        kept = []
        for rule in reversed(group["rules"]):
            if {rule.get("alert"), rule.get("record")} & wanted:
                kept.append(rule)
                wanted |= metrics(rule["expr"])
        found.append({**group, "rules": kept[::-1]})
    made = {rule.get("record") for group in found for rule in group["rules"]}
    records = {rule.get("record") for group in groups for rule in group["rules"]}
    if late := (records & wanted) - made:
        raise NotImplementedError(f"records that are read before they are made: {sorted(late)}")
    return [group for group in reversed(found) if group["rules"]]


def _store(stored: Storage, given: Mapping[str, str], interval: float) -> None:
    parsed = _SERIES.fullmatch(given["series"])
    if parsed is None:
        raise NotImplementedError(given["series"])
    labels = _labels({NAME: parsed["name"], **dict(_LABEL.findall(parsed["labels"]))})
    for number, value in enumerate(_values(given["values"])):
        if value != "_":
            append(stored, labels, number * interval, None if value == "stale" else float(value))


def _values(text: str) -> Iterator[str | float]:
    """The samples of promtool's notation; `_` for none."""
    for part in text.split():
        if part == "stale":
            yield part
        elif missing := _MISSING.fullmatch(part):
            yield from "_" * int(missing["count"] or 1)
        elif value := _VALUE.fullmatch(part):
            start, step = float(value["start"]), float(value["step"] or 0)
            yield from (start + step * number for number in range(int(value["count"] or 0) + 1))
        else:
            raise NotImplementedError(f"values of a series: {part}")


def seconds(duration: str) -> float:
    """The seconds of a duration such as `1h30m`."""
    return promql_parser.parse_duration(duration).total_seconds()
