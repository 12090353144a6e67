"""Fits the thresholds of a rule to labelled images: the operating point and the review band.

The candidates are the midpoints between adjacent distinct scores (and one below the lowest), so
that a score that is slightly different on another machine does not change sides. Each is a float32
value, so that comparisons in float32 and in float64 agree.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from components.calibrator import rules
from components.calibrator.outcomes import Outcomes
from components.calibrator.rules import Choice, Rule
from components.calibrator.smoothing import smoothed_counts
from components.evaluator.metrics import negative_weight


@dataclass(frozen=True)
class Band:
    """The probabilities of the images that a person reviews.

    Attributes:
      lower: the lowest probability that is reviewed.
      upper: the probability from which an image is positive without a review; at least `lower`.
        If both are equal, no image is reviewed.
    """

    lower: float
    upper: float


@dataclass(frozen=True)
class Decision:
    """The thresholds that a rule chooses.

    Attributes:
      threshold: probability from which an image is positive.
      band: the images to be reviewed; None if no share of images is.
      choice: whether the threshold reaches what the rule requires.
      found: counts at the threshold on the images, one candidate.
      expected: counts at the threshold expected on new images.
    """

    threshold: float
    band: Band | None
    choice: Choice
    found: Outcomes
    expected: Outcomes


@dataclass(frozen=True)
class _Candidates:
    """Thresholds, float32 (k,), from the highest to the lowest, with their counts."""

    thresholds: NDArray[np.float32]
    found: Outcomes
    expected: Outcomes


def decide(
    probabilities: NDArray[np.float32],
    labels: NDArray[np.int64],
    rule: Rule,
    *,
    prevalence: float | None,
    review: float = 0.0,
) -> Decision:
    """Fits the thresholds of a rule.

    Args:
      probabilities: (n,), 0 to 1.
      labels: (n,), 1 for positive and 0 for negative; both occur.
      rule: the rule.
      prevalence: share of positives to which the images are weighted; None for their own.
      review: largest share of the images, weighted and as expected on new ones, that is reviewed;
        0 for none.
    """
    thresholds = np.array([rule.threshold], np.float32)
    if rule.name != rules.FIXED or review:
        thresholds = _midpoints_of(probabilities, rule)
    candidates = _candidates(thresholds, probabilities, labels, prevalence)
    if rule.name == rules.FIXED:
        choice = Choice(int(np.flatnonzero(candidates.thresholds == np.float32(rule.threshold))[0]))
    else:
        choice = rules.select(rule, candidates.found, candidates.expected)
    return Decision(
        threshold=float(candidates.thresholds[choice.index]),
        band=_band(candidates, choice.index, rule, review) if review else None,
        choice=choice,
        found=candidates.found.at(choice.index),
        expected=candidates.expected.at(choice.index),
    )


def _midpoints_of(probabilities: NDArray[np.float32], rule: Rule) -> NDArray[np.float32]:
    """Returns the candidates of a rule, from the highest to the lowest."""
    upper = np.unique(probabilities)[::-1]
    if rule.name == rules.EXPECTED_COST and upper[0] < 1:
        # It may cost least to call no image positive.
        upper = np.append(np.float32(1), upper)
    thresholds = _midpoints(upper, np.append(upper[1:], np.float32(0)))
    if rule.name == rules.FIXED:
        return np.unique(np.append(thresholds, np.float32(rule.threshold)))[::-1]
    return thresholds


def _midpoints(upper: NDArray[np.float32], lower: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns float32 values above `lower` and at most `upper`, halfway if possible."""
    middle = ((upper.astype(np.float64) + lower) / 2).astype(np.float32)
    # Between neighbours in float32 there is no value, and rounding may have given `lower`.
    return np.where(middle > lower, middle, upper)


def _candidates(
    thresholds: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    labels: NDArray[np.int64],
    prevalence: float | None,
) -> _Candidates:
    counts = [
        side.size - np.searchsorted(np.sort(side), thresholds, side="left")
        for side in (probabilities[labels == 1], probabilities[labels == 0])
    ]
    positives = int(labels.sum())
    negatives = len(labels) - positives
    weight = negative_weight(positives, negatives, prevalence)
    found, expected = (
        Outcomes(
            true_positives=tp,
            false_positives=fp,
            missed=positives - tp,
            weight=weight,
            images=positives + weight * negatives,
        )
        for tp, fp in (counts, smoothed_counts(thresholds, probabilities, labels))
    )
    return _Candidates(thresholds, found, expected)


def _band(candidates: _Candidates, threshold: int, rule: Rule, review: float) -> Band:
    """Chooses the band around a threshold by the rule, applied to the images outside of it.

    For each upper end the lower end is as low as the share of images allows: to review more of the
    images below the threshold misses fewer positive ones, and changes nothing else.
    """
    uppers = np.arange(threshold + 1)
    lowers = np.minimum(
        *(
            _lowest(side.alerts_per_thousand, uppers, 1000 * review)
            for side in (candidates.found, candidates.expected)
        )
    )
    uppers, lowers = uppers[lowers >= threshold], lowers[lowers >= threshold]
    found, expected = (
        _outside(side, uppers, lowers) for side in (candidates.found, candidates.expected)
    )
    best = rules.select(rule, found, expected).index
    lower, upper = candidates.thresholds[[lowers[best], uppers[best]]]
    return Band(lower=float(lower), upper=float(upper))


def _lowest(
    above: NDArray[np.float64], uppers: NDArray[np.int64], most: float
) -> NDArray[np.int64]:
    """Returns the last candidate between which and the upper one there are at most `most`."""
    limits = above[uppers] + most * (1 + 1e-9)
    return np.searchsorted(above, limits, side="right") - 1


def _outside(side: Outcomes, uppers: NDArray[np.int64], lowers: NDArray[np.int64]) -> Outcomes:
    return replace(
        side,
        true_positives=side.true_positives[uppers],
        false_positives=side.false_positives[uppers],
        missed=side.missed[lowers],
    )
