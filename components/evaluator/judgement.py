"""Judges the metrics of an evaluation by the gates, with one of three outcomes.

- passed: the metric is within the bound. A gate on the end of an interval is passed if that end is.
- failed: the metric is beyond the bound or undefined. A gate on the end of an interval is failed
  if the whole 95 % interval is beyond the bound.
- too few images: the 95 % interval contains the bound of a gate on its end, or the slice has fewer
  images than the gate asks for. This counts as a failure, unless the gate ends in `or too few
  images`; the result says how many more images would decide, see
  `components.evaluator.more_images`.

A gate on slices is failed if one of them fails; otherwise it has too few images if one of them has.
Slices without any image that the metric rests on, such as those without positives for recall, are
not judged. A gate on the champion is passed if the 95 % interval of the difference lies on the
good side of the bound, failed if it lies on the other, and else has too few images; it is passed
if there is no champion yet, or if the model is the champion itself, and failed if the champion
can't be compared. A gate without `lower bound`, `upper bound`, slices and champion is decided by
the metric alone; if the interval reaches beyond the bound, a remark says so.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.evaluator import champion_record, intervals, more_images
from components.evaluator.champion import MIN_IMAGES
from components.evaluator.champion_record import State
from components.evaluator.gate_results import (
    ADVICE,
    Compared,
    Found,
    GateResult,
    Outcome,
    Verdict,
)
from components.evaluator.gates import (
    ANOMALIES,
    BOTH,
    LOWER_IS_BETTER,
    NEGATIVES,
    OF_COUNTS,
    POSITIVES,
    Gate,
    GateError,
    SliceRule,
    nearest,
)
from components.evaluator.intervals import Interval
from components.evaluator.metrics import Confusion
from components.evaluator.more_images import MoreImages
from components.example_validator import findings
from components.example_validator.findings import Findings

# The outcome of a gate on slices is the first of these that one of its slices has.
_DECISIVE = (Outcome.FAILED, Outcome.TOO_FEW_IMAGES, Outcome.PASSED)


@dataclass(frozen=True)
class _Measured:
    """The metrics of the whole split or of a slice, at one balance.

    Attributes:
      values: metrics by name, None if undefined.
      bounds: their 95 % intervals.
      counts: the counts of images, whatever the balance.
      bounds_of: computes the intervals that other counts would have.
      slice: value by column; empty for the whole split.
    """

    values: Mapping[str, float | None]
    bounds: Mapping[str, Sequence[float] | None]
    counts: Confusion
    bounds_of: Callable[[Confusion], Mapping[str, Interval]]
    slice: Mapping[str, str]

    def images(self, sides: str) -> int:
        """Returns the number of `positives`, `negatives` or all `images`."""
        by_side = {POSITIVES: self.counts.positives, NEGATIVES: self.counts.negatives}
        return by_side.get(sides, sum(by_side.values()))


def verdict(
    gates: Sequence[Gate],
    figures: Mapping[str, Any],
    data_check: Findings | None = None,
    champion: Mapping[str, Any] | None = None,
) -> Verdict:
    """Checks an evaluation against every gate.

    A metric that is missing, None or NaN fails its gate. A gate on anomalies is passed if no
    schema has been kept yet, since a first model could never be blessed otherwise; the reason
    mentions it. Without any gate the model is not blessed.

    Args:
      gates: the gates.
      figures: the content of `summary.json`, see `components.evaluator.summary`.
      data_check: ExampleValidator's findings; None fails a gate on anomalies.
      champion: the comparison, see `components.evaluator.champion_record`; None if no champion was
        looked for.

    Raises:
      GateError: a gate is on slices that no image is in, on the champion, which was not looked
        for, or on the newest span of data without spans.
    """
    if not gates:
        reason = (
            "no gate is set, so the model can't be blessed; "
            "set evaluator.gates, for instance ['recall >= 0.90']"
        )
        return Verdict(blessed=False, reason=reason, results=())
    results = tuple(_judge(gate, figures, data_check, champion) for gate in gates)
    failed = [result for result in results if not result.passed]
    reason = "; ".join(result.describe() for result in failed or results)
    return Verdict(blessed=not failed, reason=reason, results=results)


def _judge(
    gate: Gate,
    figures: Mapping[str, Any],
    data_check: Findings | None,
    champion: Mapping[str, Any] | None,
) -> GateResult:
    if gate.metric == ANOMALIES:
        return _judge_data(gate, data_check)
    if gate.champion is not None:
        return _judge_against(gate, champion)
    if gate.slices is None:
        return GateResult(gate, _judge_split(gate, figures))
    return _judge_slices(gate, gate.slices, figures)


def _judge_data(gate: Gate, data_check: Findings | None) -> GateResult:
    if data_check is None:
        return GateResult(gate, Found(None, Outcome.FAILED), details="there are no findings")
    if not data_check["checked"]:
        return GateResult(gate, Found(None, Outcome.PASSED), details=findings.NOT_CHECKED)
    anomalies = data_check["anomalies"]
    count = float(len(anomalies))
    outcome = Outcome.PASSED if gate.passes(count) else Outcome.FAILED
    return GateResult(
        gate, Found(count, outcome), details=findings.summary(data_check) if anomalies else ""
    )


def _judge_against(gate: Gate, champion: Mapping[str, Any] | None) -> GateResult:
    """Judges a gate on the champion."""
    if champion is None:
        raise GateError(
            f"gate {gate.text!r} requires the champion; give ChampionFinder's output. "
            "Received: None"
        )
    if champion["state"] != State.COMPARED:
        passed = champion["state"] != State.REFUSED
        outcome = Outcome.PASSED if passed else Outcome.FAILED
        return GateResult(gate, Found(None, outcome), details=champion["reason"])
    images = _compared_images(gate, champion)
    sets = images["at_prevalence"] if gate.at_prevalence else images["metrics"]
    row = sets[gate.metric]
    span = {"span": images["span"]} if gate.champion and gate.champion.in_newest_span else {}
    few = Found(row["challenger"], Outcome.TOO_FEW_IMAGES, images=images["images"], slice=span)
    if min(images["positives"], images["images"] - images["positives"]) < MIN_IMAGES:
        return GateResult(gate, few)
    if row["interval"] is None:
        details = _why_undefined(gate, row)
        return GateResult(gate, dataclasses.replace(few, outcome=Outcome.FAILED), details=details)
    found = _found_against(gate, row, images, few)
    return GateResult(gate, found, caution=champion_record.with_caution(images))


def _compared_images(gate: Gate, champion: Mapping[str, Any]) -> Mapping[str, Any]:
    if not (gate.champion and gate.champion.in_newest_span):
        return champion[champion_record.TEST]
    if (newest := champion[champion_record.NEWEST_SPAN]) is None:
        raise GateError(
            f"gate {gate.text!r} requires images with a span; set {{SPAN}} in data.source or "
            "data.manifest, or remove 'in the newest span'. Received: images without a span"
        )
    return newest


def _why_undefined(gate: Gate, row: Mapping[str, Any]) -> str:
    of = "the model's" if row["challenger"] is None else "the champion's"
    advice = ADVICE.get(gate.metric)
    return f"{of} {gate.metric_name} is undefined" + (f" ({advice})" if advice else "")


def _found_against(
    gate: Gate, row: Mapping[str, Any], images: Mapping[str, Any], found: Found
) -> Found:
    sign = -1.0 if gate.metric in LOWER_IS_BETTER else 1.0
    improvement = sign * row["difference"]
    low, high = sorted(sign * end for end in row["interval"])
    passes = [gate.passes(end) for end in (low, high)]
    compared = Compared(
        value=row["champion"],
        difference=row["difference"],
        interval=(row["interval"][0], row["interval"][1]),
        agrees=images["agrees"],
    )
    found = dataclasses.replace(found, compared=compared)
    if all(passes) or not any(passes):
        outcome = Outcome.PASSED if all(passes) else Outcome.FAILED
        return dataclasses.replace(found, outcome=outcome)
    end = low if gate.bound < improvement else high
    more = more_images.by_square_root(
        images["images"],
        images["positives"],
        distance=abs(improvement - end),
        margin=abs(improvement - gate.bound),
    )
    return dataclasses.replace(found, more=more)


def _judge_split(gate: Gate, figures: Mapping[str, Any]) -> Found:
    own, world = figures["metrics"], figures["at_prevalence"]
    counts = _counts(own)
    share = world["prevalence"] if gate.at_prevalence else counts.positives / figures["examples"]
    return _found(
        gate,
        _Measured(
            values=world if gate.at_prevalence else own,
            bounds=(world if gate.at_prevalence else figures)["intervals"],
            counts=counts,
            bounds_of=functools.partial(
                intervals.at_prevalence, prevalence=share, seed=intervals.SEED
            ),
            slice={},
        ),
    )


def _judge_slices(gate: Gate, rule: SliceRule, figures: Mapping[str, Any]) -> GateResult:
    chosen = [_in_slice(gate, row) for row in _chosen(gate, rule, figures)]
    judged = [each for each in chosen if all(each.images(side) for side in gate.sides)]
    if not judged:
        details = f"no {rule.describe()} has {' and '.join(gate.sides)}"
        return GateResult(gate, Found(None, Outcome.FAILED), details=details)
    found = sorted((_found(gate, each, rule.at_least) for each in judged), key=_decisive(gate))
    return GateResult(gate, found[0], tuple(found))


def _decisive(gate: Gate) -> Callable[[Found], tuple[int, float, str]]:
    """Returns a sort key: the slice that decides the gate first."""
    worse = 1 if gate.requires_high else -1

    def key(found: Found) -> tuple[int, float, str]:
        value = -math.inf if found.value is None else worse * found.value
        return _DECISIVE.index(found.outcome), value, found.name

    return key


def _chosen(gate: Gate, rule: SliceRule, figures: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns the slices of a gate; images without a value belong to none."""
    rows = figures["slices"]
    kinds = {tuple(sorted(row["slice"])) for row in rows}
    found = [
        row for row in rows if set(row["slice"]) == set(rule.columns) and all(row["slice"].values())
    ]
    if not found:
        known = ", ".join(sorted(" and ".join(kind) for kind in kinds if kind))
        raise GateError(
            f"gate {gate.text!r}: {_why_none(rule, figures.get('slices_left_out', {}))}; the "
            f"evaluation has slices of {known}. Received: {' and '.join(rule.columns)!r}"
        )
    if rule.value is None:
        return found
    (column,) = rule.columns
    if one := [row for row in found if row["slice"][column] == rule.value]:
        return one
    values = sorted(row["slice"][column] for row in found)
    raise GateError(
        f"gate {gate.text!r}: {column} must be one of {', '.join(values)}. "
        f"Received: {rule.value!r}{nearest(rule.value, values)}"
    )


def _why_none(rule: SliceRule, left_out: Mapping[str, str]) -> str:
    reasons = [
        reason
        for columns, reason in left_out.items()
        if set(columns.split(", ")) == set(rule.columns)
    ]
    return reasons[0] if reasons else f"no image has a value in {' and '.join(rule.columns)!r}"


def _in_slice(gate: Gate, row: Mapping[str, Any]) -> _Measured:
    balance = row["at_prevalence"] if gate.at_prevalence else row
    share = row["at_prevalence"]["prevalence"] if gate.at_prevalence else None
    return _Measured(
        values=balance,
        bounds=balance["intervals"],
        counts=_counts(row),
        bounds_of=functools.partial(intervals.of_slice, share=share, seed=intervals.SEED),
        slice=row["slice"],
    )


def _found(gate: Gate, measured: _Measured, at_least: int = 1) -> Found:
    value, bounds = measured.values.get(gate.metric), measured.bounds.get(gate.metric)
    value = None if value is None or math.isnan(value) else float(value)
    interval = None if bounds is None else (float(bounds[0]), float(bounds[1]))
    found = Found(
        value=value,
        outcome=_outcome(gate, value, interval),
        interval=interval,
        images=measured.images(gate.rests_on),
        slice=measured.slice,
    )
    missing = at_least - measured.images(gate.rests_on)
    if missing <= 0 and found.outcome is not Outcome.TOO_FEW_IMAGES:
        return found
    more = _more(gate, measured, found, max(missing, 0))
    return dataclasses.replace(found, outcome=Outcome.TOO_FEW_IMAGES, more=more)


def _outcome(gate: Gate, value: float | None, interval: tuple[float, float] | None) -> Outcome:
    """Returns the outcome without regard to the size of a slice."""
    if value is None or (gate.by_interval and interval is None):
        return Outcome.FAILED
    decides = interval if gate.by_interval and interval is not None else (value,)
    passes = [gate.passes(end) for end in decides]
    if all(passes):
        return Outcome.PASSED
    return Outcome.TOO_FEW_IMAGES if any(passes) else Outcome.FAILED


def _more(gate: Gate, measured: _Measured, found: Found, missing: int) -> MoreImages | None:
    """Returns the images that a slice lacks and its interval requires, the larger of the two."""
    lacking = _of_sides(gate, measured, missing)
    if found.outcome is not Outcome.TOO_FEW_IMAGES:
        return lacking
    deciding = _deciding(gate, measured, found)
    if deciding is None:
        return None
    return MoreImages(
        max(lacking.positives, deciding.positives), max(lacking.negatives, deciding.negatives)
    )


def _of_sides(gate: Gate, measured: _Measured, images: int) -> MoreImages:
    if gate.rests_on == POSITIVES:
        return MoreImages(images, 0)
    if gate.rests_on == NEGATIVES:
        return MoreImages(0, images)
    return more_images.in_proportion(images, measured.counts.positives, measured.images(BOTH))


def _deciding(gate: Gate, measured: _Measured, found: Found) -> MoreImages | None:
    """Returns the images with which the interval would no longer contain the bound."""
    if found.value is None or found.interval is None:
        return None
    if gate.rests_on != BOTH:
        images = measured.images(gate.rests_on)
        more = more_images.of_proportion(found.value, gate.bound, images)
        return None if more is None else _of_sides(gate, measured, more)
    if gate.metric in OF_COUNTS:
        decided = functools.partial(_is_decided, gate, measured.bounds_of)
        return more_images.by_counts(measured.counts, decided, alone=gate.at_prevalence)
    below = gate.bound < found.value
    return more_images.by_square_root(
        measured.images(BOTH),
        measured.counts.positives,
        distance=abs(found.value - found.interval[0 if below else 1]),
        margin=abs(found.value - gate.bound),
    )


def _is_decided(
    gate: Gate, bounds_of: Callable[[Confusion], Mapping[str, Interval]], counts: Confusion
) -> bool:
    interval = bounds_of(counts)[gate.metric]
    return interval is not None and gate.passes(interval[0]) == gate.passes(interval[1])


def _counts(row: Mapping[str, Any]) -> Confusion:
    return Confusion(**{name: row[name] for name in ("tp", "fp", "tn", "fn")})
