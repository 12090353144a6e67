"""The answer in words: the best arms, their certainty, and the effect of thresholds.

Every sentence is derived from the figures. Arms that no corrected test distinguishes from the
best are named, since the absence of evidence for a difference is no evidence of absence.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from components.reporter.wording import rate
from components.study_reporter import scores
from components.study_reporter.comparisons import COMPARED
from components.study_reporter.contest import Contest, Difference, contest_of
from components.study_reporter.wording import (
    LABELS,
    gap,
    joined,
    listed,
    p_value,
    percent,
    quoted,
    span,
)

# Gaps that differ by less are called almost unchanged.
_SAME_GAP = 0.005
# Shares of positives that differ by less count as equal.
_SAME_BALANCE = 0.05


def of_study(figures: Mapping[str, Any]) -> dict[str, Any]:
    """All sentences of the answer.

    Args:
      figures: content of `study.json` without the answer.

    Returns:
      `headline`; `splits`: by test split `thresholds`, and by threshold one sentence per metric;
      `test_sets` and `replicates`: lists of sentences.
    """
    splits = {split: _of_split(figures, split) for split in figures["pooled"]["splits"]}
    headline = "No arm has a trained replicate, so there are no results."
    if splits:
        most = max(splits, key=lambda split: len(figures["pooled"]["splits"][split]))
        headline = splits[most]["thresholds"]
    return {
        "headline": headline,
        "splits": splits,
        "test_sets": of_test_sets(figures),
        "replicates": of_replicates(figures["arms"]),
    }


def of_metric(found: Contest) -> str:
    """Which arm leads in a metric, and with what certainty."""
    label = LABELS[found.metric]
    if not found.means:
        return f"No arm has a defined {label}."
    best = found.best
    value = rate(found.means[best])
    if len(found.means) == 1:
        return f"{quoted(best)} has {_article(label)} {label} of {value}."
    leads = found.from_best()
    beaten = [lead for lead in leads.values() if lead.is_shown]
    level = [arm for arm, lead in leads.items() if not lead.is_shown]
    apart = [arm for arm in found.means if arm not in leads and arm != best]
    sentence = f"{quoted(best)} has the highest {label}, {value}"
    if not leads:
        return f"{sentence}, but was not compared with {listed(apart)}."
    if len(found.means) == 2:
        (lead,) = leads.values()
        return _of_two(found, lead)
    if not beaten:
        others = listed(level) if apart else "any other arm"
        sentence += f", but no difference from {others} can be shown"
    elif level:
        sentence += f"; {listed(level)} can't be told apart from it, {_behind(beaten)}"
    else:
        sentence += f", ahead of every arm it was compared with: {_behind(beaten)}"
    if apart:
        sentence += f"; it was not compared with {listed(apart)}"
    return f"{sentence}."


def of_thresholds(half: Contest, own: Contest) -> str:
    """What changes between a threshold of 0.5 and thresholds chosen on val for each arm.

    Args:
      half: a metric at 0.5.
      own: the same metric and arms at the arms' own thresholds.
    """
    if not half.means or not own.means:
        return f"No arm has a defined {LABELS[half.metric]}."
    if len(half.means) == 1:
        return _one_arm(half, own)
    if not half.differences:
        return f"The arms were not compared. At 0.5 {_top(half)}; {_with_own(half)}, {_top(own)}."
    if not half.shown:
        return _none_at_half(half, own)
    return _some_at_half(half, own)


def of_test_sets(figures: Mapping[str, Any]) -> list[str]:
    """The effect of a test set's balance on precision, for each arm with several test sets."""
    sentences = []
    for arm in figures["arms"]:
        shares = {split: _share(figures["splits"][split]) for split in arm["tests"]}
        if len(shares) < 2:
            continue
        rich, poor = (choose(shares, key=lambda split: shares[split]) for choose in (max, min))
        if shares[rich] - shares[poor] < _SAME_BALANCE:
            continue
        if (sentence := _of_balance(arm, rich, poor, shares, figures["prevalence"])) is not None:
            sentences.append(sentence)
    return sentences


def of_replicates(arms: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which replicates are excluded and why, and the limits of a single replicate."""
    sentences = []
    for arm in arms:
        asked, diverged = arm["replicates"]["asked"], arm["replicates"]["diverged"]
        if not diverged:
            continue
        reasons = "; ".join(dict.fromkeys(row["detail"] for row in diverged))
        if len(diverged) == asked:
            who = "The only replicate" if asked == 1 else f"All {asked} replicates"
            sentences.append(
                f"{who} of {quoted(arm['arm'])} diverged, so it is not evaluated: {reasons}."
            )
        else:
            verb = "is" if len(diverged) == 1 else "are"
            sentences.append(
                f"{len(diverged)} of {asked} replicates of {quoted(arm['arm'])} diverged and "
                f"{verb} excluded: {reasons}."
            )
    alone = [arm["arm"] for arm in arms if len(arm["replicates"]["trained"]) == 1]
    if alone:
        have = "each have" if len(alone) > 1 else "has"
        sentences.append(
            f"{listed(alone)} {have} only one trained replicate: the effect of the seed is "
            "unknown, so there is neither a standard deviation nor an interval over replicates, "
            "and comparisons account for the sampling of the images only."
        )
    return sentences


def _of_split(figures: Mapping[str, Any], split: str) -> dict[str, Any]:
    half = contest_of(figures, split, "f1", scores.AT_HALF)
    own = contest_of(figures, split, "f1", scores.AT_OWN)
    found: dict[str, Any] = {"thresholds": of_thresholds(half, own)}
    for threshold in scores.THRESHOLDS:
        found[threshold] = {
            metric: of_metric(contest_of(figures, split, metric, threshold))
            for metric in COMPARED
            if metric not in scores.FREE
        }
    found["pr_auc"] = of_metric(contest_of(figures, split, "pr_auc", None))
    return found


def _of_two(found: Contest, lead: Difference) -> str:
    label, best, other = LABELS[found.metric], lead.first, lead.second
    values = f"{rate(found.means[best])} and {rate(found.means[other])}"
    if lead.is_shown:
        return (
            f"{quoted(best)} has a higher {label} than {quoted(other)}: {values}, a difference of "
            f"{_with_doubt(lead)}."
        )
    return (
        f"{quoted(best)} and {quoted(other)} can't be told apart in {label}: {values}, a "
        f"difference of {_with_doubt(lead)}."
    )


def _behind(beaten: Sequence[Difference]) -> str:
    """The arms that the best is shown to lead, with the size of the lead."""
    (closest, *rest) = beaten
    parts = [f"{quoted(closest.second)} is {_with_doubt(closest)} behind"]
    parts += [f"{quoted(lead.second)} {gap(lead.value)}" for lead in rest]
    return joined(parts)


def _with_doubt(lead: Difference) -> str:
    return f"{gap(lead.value)} (95 % interval {span(lead.interval)}, corrected {p_value(lead.p)})"


def _article(label: str) -> str:
    return "an" if label == "F1" or label[0] in "aeiou" else "a"


def _one_arm(half: Contest, own: Contest) -> str:
    label, arm = LABELS[half.metric], half.best
    at_half, at_own = (rate(found.means.get(arm)) for found in (half, own))
    sentence = f"{quoted(arm)} has {_article(label)} {label} of {at_half} at a threshold of 0.5"
    if at_half == at_own:
        return f"{sentence} and the same with the threshold chosen on val."
    return f"{sentence} and of {at_own} with the threshold chosen on val."


def _none_at_half(half: Contest, own: Contest) -> str:
    label = LABELS[half.metric]
    if not own.shown:
        return (
            f"{half.evidence} can show no difference in {label}, neither at a threshold of 0.5 nor "
            f"with each arm's own threshold, chosen on val: the gap {_between(half)} is "
            f"{gap(half.gap)} at 0.5 and {gap(own.gap)} with own thresholds. {_still_possible(own)}"
        )
    return (
        f"At a threshold of 0.5 no difference in {label} can be shown. "
        f"{_capitalized(_with_own(half))}, {_top(own)}, and {_how_many(own)}: "
        f"{_gap_moves(half, own)}."
    )


def _some_at_half(half: Contest, own: Contest) -> str:
    label = LABELS[half.metric]
    opening = f"At a threshold of 0.5 {_ends(half)}. {_capitalized(_with_own(half))},"
    if not own.shown:
        return (
            f"{opening} {own.evidence} can no longer show a difference: "
            f"{_gap_moves(half, own)}. {_still_possible(own)}"
        )
    best, most = own.best, "higher" if len(own.means) == 2 else "highest"
    still, instead = ("still ", "") if best == half.best else ("", " instead")
    return (
        f"{opening} {quoted(best)} {still}has the {most} {label}{instead}, "
        f"{rate(own.means[best])}, and {_how_many(own, before=half)}: {_gap_moves(half, own)}."
    )


def _ends(found: Contest) -> str:
    """Names the best arm and the worst."""
    label, best, worst = LABELS[found.metric], found.best, found.worst
    values = rate(found.means[best]), rate(found.means[worst])
    if len(found.means) == 2:
        return (
            f"{quoted(best)} has a higher {label} than {quoted(worst)}, {values[0]} and {values[1]}"
        )
    return (
        f"{quoted(best)} has the highest {label}, {values[0]}, and {quoted(worst)} the lowest, "
        f"{values[1]}"
    )


def _capitalized(sentence: str) -> str:
    """Unlike `str.capitalize`, doesn't change the rest."""
    return sentence[0].upper() + sentence[1:]


def _with_own(half: Contest) -> str:
    """The condition of own thresholds."""
    arms = "both arms" if len(half.means) == 2 else "all arms"
    return f"with {arms} at their own thresholds, chosen on val"


def _top(found: Contest) -> str:
    best = found.best
    return f"{quoted(best)} has the highest {LABELS[found.metric]}, {rate(found.means[best])}"


def _how_many(found: Contest, *, before: Contest | None = None) -> str:
    """How many differences can be shown, compared with how many at 0.5."""
    pairs = len(found.differences)
    if pairs == 1:
        return f"the difference can {'' if before is None else 'still '}be shown"
    count = len(found.shown)
    sentence = f"{count} of {pairs} differences between arms can be shown"
    return sentence if before is None else f"{sentence}, compared with {len(before.shown)} at 0.5"


def _between(found: Contest) -> str:
    if len(found.means) == 2:
        return f"between {listed(list(found.means))}"
    return "between the best arm and the worst"


def _gap_moves(half: Contest, own: Contest) -> str:
    before, after = gap(half.gap), gap(own.gap)
    if before == after:
        return f"the gap {_between(half)} is unchanged at {after}"
    if abs(own.gap - half.gap) < _SAME_GAP:
        return f"the gap {_between(half)} hardly changes, from {before} to {after}"
    verb = "shrinks" if own.gap < half.gap else "grows"
    return f"the gap {_between(half)} {verb} from {before} to {after}"


def _still_possible(found: Contest) -> str:
    """The largest difference that the intervals allow."""
    widest = max(max(abs(bound) for bound in each.interval) for each in found.differences)
    return f"A difference of up to {widest:.3f} remains possible."


def _share(sizes: Mapping[str, int]) -> float:
    return sizes["positives"] / (sizes["positives"] + sizes["negatives"])


def _of_balance(
    arm: Mapping[str, Any],
    rich: str,
    poor: str,
    shares: Mapping[str, float],
    prevalence: float | None,
) -> str | None:
    """None where precision is undefined on one of the splits."""
    tests = {split: arm["tests"][split] for split in (rich, poor)}
    precision = {split: test[scores.AT_HALF]["precision"]["mean"] for split, test in tests.items()}
    recall = {split: test[scores.AT_HALF]["recall"]["mean"] for split, test in tests.items()}
    if None in precision.values():
        return None
    gained = precision[rich] - precision[poor]
    effect = "a test set with more positives makes precision look better"
    if gained <= 0:
        effect = "here the test set with more positives doesn't make precision look better"
    sentence = (
        f"At 0.5 the models of {quoted(arm['arm'])} have a precision of {rate(precision[rich])} on "
        f"{quoted(rich)} ({percent(shares[rich])} positive) and of {rate(precision[poor])} on "
        f"{quoted(poor)} ({percent(shares[poor])}), with a recall of {rate(recall[rich])} and "
        f"{rate(recall[poor])}: {effect}"
    )
    if prevalence is None:
        return f"{sentence}."
    world = {
        split: test["at_prevalence"][scores.AT_HALF]["precision"]["mean"]
        for split, test in tests.items()
    }
    return (
        f"{sentence}. Re-weighted to the real world's {percent(prevalence)}, the "
        f"precisions are {rate(world[rich])} and {rate(world[poor])}."
    )
