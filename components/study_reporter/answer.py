"""The answer in words: the best arms, their certainty, and the effect of thresholds.

Every sentence is derived from the figures. Arms that no corrected test distinguishes from the
best are named, since the absence of evidence for a difference is not evidence of its absence.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from components.reporter.wording import rate
from components.study_reporter import calibrated, curve, scores
from components.study_reporter.comparisons import COMPARED
from components.study_reporter.ranking import (
    SIGNIFICANCE,
    Difference,
    Ranking,
    calibrated_ranking_of,
    compared_label,
    ranking_of,
)
from components.study_reporter.wording import (
    gap,
    joined,
    listed,
    p_value,
    percent,
    plural,
    quoted,
    span,
)

# Gaps that differ by less hardly change.
_SAME_GAP = 0.005
# Shares of positives that differ by less count as equal.
_SAME_BALANCE = 0.05
# Of more arms that were not compared, a sentence gives the number.
_NAMED_ARMS = 5


def of_study(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Returns all sentences of the answer.

    Args:
      figures: content of `study.json` without the answer.

    Returns:
      `headline`; `splits`: by test split `thresholds`, `smallest` and `calibration`, and by
      threshold one sentence per metric;
      `test_sets`, `replicates` and, with a learning curve, `curve`: lists of sentences.
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
        **({"curve": curve.sentences(figures["curve"])} if "curve" in figures else {}),
    }


def of_metric(ranking: Ranking) -> str:
    """States which arm leads in a metric, and with what certainty."""
    label = ranking.label
    if not ranking.means:
        return f"No arm has a defined {label}."
    best = ranking.best
    value = rate(ranking.means[best])
    if len(ranking.means) == 1:
        return f"{quoted(best)} has {_article(label)} {label} of {value}."
    leads = ranking.leads_of_best()
    shown = [lead for lead in leads.values() if lead.is_shown]
    not_shown = [arm for arm, lead in leads.items() if not lead.is_shown]
    not_compared = [arm for arm in ranking.means if arm not in leads and arm != best]
    sentence = f"{quoted(best)} has the highest {label}, {value}"
    if not leads:
        return f"{sentence}, but was not compared with {_few(not_compared)}."
    if len(ranking.means) == 2:
        (lead,) = leads.values()
        return _of_two(ranking, lead)
    if not shown:
        others = listed(not_shown) if not_compared else "any other arm"
        sentence += f", but no difference from {others} can be shown"
    elif not_shown:
        sentence += f"; {listed(not_shown)} can't be told apart from it, {_behind(shown)}"
    else:
        sentence += f", ahead of every arm it was compared with: {_behind(shown)}"
    if not_compared:
        sentence += f"; it was not compared with {_few(not_compared)}"
    return f"{sentence}."


def _few(arms: Sequence[str]) -> str:
    """Returns the names of a few arms, or the number of many."""
    return listed(arms) if len(arms) <= _NAMED_ARMS else f"{len(arms)} other arms"


def of_thresholds(half: Ranking, own: Ranking) -> str:
    """States what changes from a threshold of 0.5 to thresholds chosen on val for each arm.

    Args:
      half: a metric at 0.5.
      own: the same metric and arms at the arms' own thresholds.
    """
    if not half.means or not own.means:
        return f"No arm has a defined {half.label}."
    if len(half.means) == 1:
        return _one_arm(half, own)
    if not half.differences:
        return f"The arms were not compared. At 0.5 {_top(half)}; {_with_own(half)}, {_top(own)}."
    if not half.shown:
        return _none_at_half(half, own)
    return _some_at_half(half, own)


def of_calibration(before: Ranking, after: Ranking) -> str:
    """States what remains of the arms' differences at 0.5 once they are calibrated on val.

    Args:
      before: F1 at 0.5 on the models' own scores.
      after: F1 at 0.5 on the calibrated probabilities.
    """
    label = after.label
    if not before.means or not after.means:
        return f"No arm has a defined {label}."
    if len(after.means) == 1:
        values = rate(after.means[after.best]), rate(before.means.get(after.best))
        return (
            f"Calibrated on val, {quoted(after.best)} has {_article(label)} {label} of {values[0]} "
            f"at 0.5, and of {values[1]} before."
        )
    opening = f"With {_all_arms(after)} calibrated on val, and at 0.5,"
    if not after.differences:
        return f"{opening} {_top(after)}. The arms were not compared."
    if not after.shown:
        no_longer = "can no longer" if before.shown else "can't"
        return (
            f"{opening} {after.evidence} {no_longer} show a difference in {label}: "
            f"{_gap_moves(before, after)}. {_still_possible(after)}"
        )
    return (
        f"{opening} {_top(after)}, and {len(after.shown)} of {len(after.differences)} differences "
        f"can be shown, compared with {len(before.shown)} before: {_gap_moves(before, after)}."
    )


def of_smallest(figures: Mapping[str, Any], split: str) -> str:
    """States the smallest difference in F1 that the study could have shown; empty without pairs."""
    family = [
        row for row in figures["comparisons"] if row["metric"] == "f1" and row["p"] is not None
    ]
    found = sorted(
        row["detectable"]
        for row in family
        if (row["split"], row["threshold"]) == (split, scores.AT_OWN)
    )
    if not found:
        return ""
    method = figures["method"]
    label = compared_label("f1", next(r["prevalence"] for r in family if r["split"] == split))
    scope = "on other images of this source"
    if method["split_draws"] == 1:
        scope = "on other test images and with other seeds, with these images to train on"
    possible = [size for size in found if size < 1]
    after = f"after the correction for {plural(len(family), 'comparison')}"
    if not possible:
        return (
            f"This study could not have shown any difference in {label} at the arms' own "
            f"thresholds, {after}; draw the splits more often or compare fewer arms."
        )
    size = gap(possible[0])
    if gap(possible[-1]) != size:
        size = f"{size} to {gap(possible[-1])}, depending on the pair of arms"
    if rest := len(found) - len(possible):
        size += f", and none for {plural(rest, 'pair')}"
    return (
        f"The smallest difference in {label} at the arms' own thresholds that this study could "
        f"have shown is {size}: it would be found in {percent(method['power'])} of such studies "
        f"{scope}, {after}."
    )


def of_test_sets(figures: Mapping[str, Any]) -> list[str]:
    """States the effect of a test set's balance on precision, for arms with several test sets."""
    sentences = []
    for arm in figures["arms"]:
        shares = {split: _share(figures["splits"][split]) for split in arm["tests"]}
        if len(shares) < 2:
            continue
        more, fewer = (choose(shares, key=lambda split: shares[split]) for choose in (max, min))
        if shares[more] - shares[fewer] < _SAME_BALANCE:
            continue
        if (sentence := _of_balance(arm, more, fewer, shares, figures["prevalence"])) is not None:
            sentences.append(sentence)
    return sentences


def of_replicates(arms: Sequence[Mapping[str, Any]]) -> list[str]:
    """States which replicates are excluded and why, and the limits of a single replicate."""
    sentences = []
    for arm in arms:
        total, diverged = arm["replicates"]["asked"], arm["replicates"]["diverged"]
        if not diverged:
            continue
        reasons = "; ".join(dict.fromkeys(row["detail"] for row in diverged))
        if len(diverged) == total:
            subject = "The only replicate" if total == 1 else f"All {total} replicates"
            sentences.append(
                f"{subject} of {quoted(arm['arm'])} diverged, so it is not evaluated: {reasons}."
            )
        else:
            verb = "is" if len(diverged) == 1 else "are"
            sentences.append(
                f"{len(diverged)} of {total} replicates of {quoted(arm['arm'])} diverged and "
                f"{verb} excluded: {reasons}."
            )
    single = [arm["arm"] for arm in arms if len(arm["replicates"]["trained"]) == 1]
    if single:
        have = "each have" if len(single) > 1 else "has"
        sentences.append(
            f"{listed(single)} {have} only one trained replicate: the effect of the seed is "
            "unknown, so there is neither a standard deviation nor an interval over replicates, "
            "and comparisons account for the sampling of the images only."
        )
    return sentences


def _of_split(figures: Mapping[str, Any], split: str) -> dict[str, Any]:
    half = ranking_of(figures, split, "f1", scores.AT_HALF)
    own = ranking_of(figures, split, "f1", scores.AT_OWN)
    before, after = (calibrated_ranking_of(figures, split, stage) for stage in calibrated.STAGES)
    found: dict[str, Any] = {
        "thresholds": of_thresholds(half, own),
        "smallest": of_smallest(figures, split),
        "calibration": of_calibration(before, after) + _of_log_losses(figures, split),
    }
    for threshold in scores.THRESHOLDS:
        found[threshold] = {
            metric: of_metric(ranking_of(figures, split, metric, threshold))
            for metric in COMPARED
            if metric not in scores.THRESHOLD_FREE
        }
    found["pr_auc"] = of_metric(ranking_of(figures, split, "pr_auc", None))
    return found


def _of_log_losses(figures: Mapping[str, Any], split: str) -> str:
    """States how many differences in log loss can be shown; empty if none were tested."""
    tested, shown = {}, {}
    for stage in calibrated.STAGES:
        p_values = [
            row["p_corrected"]
            for row in figures["calibration"]["comparisons"]
            if (row["split"], row["metric"], row["stage"]) == (split, "log_loss", stage)
            and row["p_corrected"] is not None
        ]
        tested[stage] = len(p_values)
        shown[stage] = sum(p < SIGNIFICANCE for p in p_values)
    if not any(tested.values()):
        return ""
    before, after = (f"{shown[stage]} of {tested[stage]} {stage}" for stage in calibrated.STAGES)
    return f" Differences in log loss that can be shown: {before}, {after}."


def _of_two(ranking: Ranking, lead: Difference) -> str:
    label, best, other = ranking.label, lead.first, lead.second
    values = f"{rate(ranking.means[best])} and {rate(ranking.means[other])}"
    if lead.is_shown:
        return (
            f"{quoted(best)} has a higher {label} than {quoted(other)}: {values}, a difference of "
            f"{_with_interval(lead)}."
        )
    return (
        f"{quoted(best)} and {quoted(other)} can't be told apart in {label}: {values}, a "
        f"difference of {_with_interval(lead)}."
    )


def _behind(leads: Sequence[Difference]) -> str:
    """Lists the arms behind the best, with the size of its lead."""
    (closest, *rest) = leads
    parts = [f"{quoted(closest.second)} is {_with_interval(closest)} behind"]
    parts += [f"{quoted(lead.second)} {gap(lead.value)}" for lead in rest]
    return joined(parts)


def _with_interval(lead: Difference) -> str:
    return f"{gap(lead.value)} (95 % interval {span(lead.interval)}, corrected {p_value(lead.p)})"


def _article(label: str) -> str:
    return "an" if label == "F1" or label[0] in "aeiou" else "a"


def _one_arm(half: Ranking, own: Ranking) -> str:
    label, arm = half.label, half.best
    at_half, at_own = (rate(ranking.means.get(arm)) for ranking in (half, own))
    sentence = f"{quoted(arm)} has {_article(label)} {label} of {at_half} at a threshold of 0.5"
    if at_half == at_own:
        return f"{sentence} and the same with the threshold chosen on val."
    return f"{sentence} and of {at_own} with the threshold chosen on val."


def _none_at_half(half: Ranking, own: Ranking) -> str:
    label = half.label
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


def _some_at_half(half: Ranking, own: Ranking) -> str:
    label = half.label
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


def _ends(ranking: Ranking) -> str:
    """States the best arm and the worst."""
    label, best, worst = ranking.label, ranking.best, ranking.worst
    values = rate(ranking.means[best]), rate(ranking.means[worst])
    if len(ranking.means) == 2:
        return (
            f"{quoted(best)} has a higher {label} than {quoted(worst)}, {values[0]} and {values[1]}"
        )
    return (
        f"{quoted(best)} has the highest {label}, {values[0]}, and {quoted(worst)} the lowest, "
        f"{values[1]}"
    )


def _capitalized(sentence: str) -> str:
    """Capitalizes the first letter; unlike `str.capitalize`, doesn't change the rest."""
    return sentence[0].upper() + sentence[1:]


def _with_own(half: Ranking) -> str:
    """States the condition of own thresholds."""
    return f"with {_all_arms(half)} at their own thresholds, chosen on val"


def _all_arms(ranking: Ranking) -> str:
    return "both arms" if len(ranking.means) == 2 else "all arms"


def _top(ranking: Ranking) -> str:
    best = ranking.best
    return f"{quoted(best)} has the highest {ranking.label}, {rate(ranking.means[best])}"


def _how_many(ranking: Ranking, *, before: Ranking | None = None) -> str:
    """States how many differences can be shown, compared with how many at 0.5."""
    pairs = len(ranking.differences)
    if pairs == 1:
        return f"the difference can {'' if before is None else 'still '}be shown"
    count = len(ranking.shown)
    sentence = f"{count} of {pairs} differences between arms can be shown"
    return sentence if before is None else f"{sentence}, compared with {len(before.shown)} at 0.5"


def _between(ranking: Ranking) -> str:
    if len(ranking.means) == 2:
        return f"between {listed(list(ranking.means))}"
    return "between the best arm and the worst"


def _gap_moves(half: Ranking, own: Ranking) -> str:
    before, after = gap(half.gap), gap(own.gap)
    if before == after:
        return f"the gap {_between(half)} is unchanged at {after}"
    if abs(own.gap - half.gap) < _SAME_GAP:
        return f"the gap {_between(half)} hardly changes, from {before} to {after}"
    verb = "shrinks" if own.gap < half.gap else "grows"
    return f"the gap {_between(half)} {verb} from {before} to {after}"


def _still_possible(ranking: Ranking) -> str:
    """States the largest difference that the intervals allow."""
    widest = max(max(abs(bound) for bound in each.interval) for each in ranking.differences)
    return f"A difference of up to {widest:.3f} remains possible."


def _share(sizes: Mapping[str, int]) -> float:
    return sizes["positives"] / (sizes["positives"] + sizes["negatives"])


def _of_balance(
    arm: Mapping[str, Any],
    more: str,
    fewer: str,
    shares: Mapping[str, float],
    prevalence: float | None,
) -> str | None:
    """Compares test splits with more and fewer positives; None if a precision is undefined."""
    tests = {split: arm["tests"][split] for split in (more, fewer)}
    precision = {split: test[scores.AT_HALF]["precision"]["mean"] for split, test in tests.items()}
    recall = {split: test[scores.AT_HALF]["recall"]["mean"] for split, test in tests.items()}
    if None in precision.values():
        return None
    gain = precision[more] - precision[fewer]
    effect = "a test set with more positives makes precision look better"
    if gain <= 0:
        effect = "here the test set with more positives doesn't make precision look better"
    sentence = (
        f"At 0.5 the models of {quoted(arm['arm'])} have a precision of {rate(precision[more])} on "
        f"{quoted(more)} ({percent(shares[more])} positive) and of {rate(precision[fewer])} on "
        f"{quoted(fewer)} ({percent(shares[fewer])}), with a recall of {rate(recall[more])} and "
        f"{rate(recall[fewer])}: {effect}"
    )
    if prevalence is None:
        return f"{sentence}."
    real_world = {
        split: test["at_prevalence"][scores.AT_HALF]["precision"]["mean"]
        for split, test in tests.items()
    }
    return (
        f"{sentence}. Re-weighted to the real world's {percent(prevalence)}, the "
        f"precisions are {rate(real_world[more])} and {rate(real_world[fewer])}."
    )
