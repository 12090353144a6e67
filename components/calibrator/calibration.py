"""Chooses and fits the map by which scores become probabilities at the population's prevalence.

Scores are first converted by the closed form of `prior_shift`, and then by one of `maps`. With
`auto` the map is the one with the lowest weighted cross-entropy in a repeated, stratified
cross-validation on val, of which `none` is a candidate; of equal ones, the simplest. A map that is
worse than `none` is not used even if it is requested.

`python -m benchmarks.calibration` compares this rule with others: choosing the simplest map within
one standard error of the lowest, as for decision trees, gives worse probabilities, since with 10 to
50 positives it keeps models as they are whose log odds are wrong by a factor of two. It also shows
that map and threshold may share val: with 20 positives or more, F1 at a probability of 0.5 is on
new images as high as val promises, and with 10 positives lower by 0.01 to 0.04.

Imports neither TensorFlow nor TFX.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from components.calibrator import maps
from components.calibrator.maps import Map
from components.calibrator.prior_shift import PriorShift
from components.calibrator.val_scores import checked
from components.evaluator.metrics import negative_weight
from components.training_balance import TrainingBalance

AUTO = "auto"
CALIBRATIONS = (AUTO, *maps.SIMPLEST_FIRST)

FEW_POSITIVES = 10
"""With fewer positives in val, a calibration and an operating point have a caveat."""
MIN_ISOTONIC_POSITIVES = 1000
"""Positives in val that isotonic regression requires. With fewer images than about 1,000 it
overfits (A. Niculescu-Mizil and R. Caruana, Predicting Good Probabilities with Supervised Learning,
ICML 2005), and of an outnumbered class the positives are the ones that are few."""

_FOLDS = 5
_REPEATS = 4
# With many positives the folds hardly change the result.
_MANY_POSITIVES = 1000
_SEED = 0

NO_BALANCE = (
    "the model does not record the balance that it was trained on (assets/training_balance.json), "
    "so its scores are not converted to the population's prevalence before a map is fitted; train "
    "it again with this version"
)


@dataclass(frozen=True)
class MapScore:
    """The cross-validation of a map.

    Attributes:
      map: its name.
      log_loss: mean cross-entropy in nats, on images that the map was not fitted on, at the
        population's prevalence.
      excess: log_loss minus the lowest of all maps.
      standard_error: standard error of the excess, on the same images.
    """

    map: str
    log_loss: float
    excess: float
    standard_error: float


@dataclass(frozen=True)
class Calibration:
    """How a score becomes a probability.

    Attributes:
      requested: one of `CALIBRATIONS`.
      prior_shift: the closed form.
      map: the map after it.
      prevalence: share of positives at which the probabilities hold.
      positives: number of positive images that it was fitted on.
      negatives: number of negative images.
      cross_validation: the maps that were compared, the simplest first; empty if none were.
      remarks: caveats, one clause each.
    """

    requested: str
    prior_shift: PriorShift
    map: Map
    prevalence: float
    positives: int
    negatives: int
    cross_validation: tuple[MapScore, ...]
    remarks: tuple[str, ...]

    @property
    def is_identity(self) -> bool:
        """Whether the probability is the score."""
        return self.prior_shift == PriorShift(0.0, 0.0) and self.map == Map(maps.NONE)

    def probabilities(self, scores: ArrayLike) -> NDArray[np.float32]:
        """Returns the probabilities of scores, which the exported model equals up to 1e-6.

        Args:
          scores: (n,), float32 from 0 to 1.

        Returns:
          float32 (n,), 0 to 1, in the same order as the scores.
        """
        if self.is_identity:
            return np.asarray(scores, np.float32)
        found = self.map.probabilities(self.prior_shift.log_odds(scores))
        return found.astype(np.float32)

    def as_sentence(self) -> str:
        """Returns the closed form and the map in words."""
        steps = []
        if self.prior_shift.focal_gamma:
            steps.append(f"the focal loss with gamma {self.prior_shift.focal_gamma:g} inverted")
        if self.prior_shift.shift:
            steps.append(f"{self.prior_shift.shift:+.3f} on the log odds for the training balance")
        if self.map.name != maps.NONE:
            steps.append(f"the map {self.map.name!r}, fitted on {self.positives:,} positive images")
        return ", then ".join(steps) or "the probability is the model's score"

    def as_json(self) -> dict[str, Any]:
        """Returns the calibration as plain values, with `description`, it in words."""
        return {"description": self.as_sentence(), **asdict(self)}


def calibrate(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    prevalence: float | None,
    balance: TrainingBalance | None,
    requested: str = AUTO,
) -> Calibration:
    """Chooses and fits a calibration.

    The result does not depend on the order of the images.

    Args:
      scores: float32 (n,), 0 to 1, the network's outputs for val.
      labels: int (n,), 1 for positive and 0 for negative.
      prevalence: the population's share of positives, above 0 and below 1; None for val's own.
      balance: what training changed; None if it is unknown.
      requested: one of `CALIBRATIONS`.

    Raises:
      ValueError: the calibration is unknown, `isotonic` with too few positives, one side has no
        image, a score is not a number from 0 to 1, or the prevalence is out of range.
    """
    if requested not in CALIBRATIONS:
        raise ValueError(
            f"calibrator.calibration must be one of {list(CALIBRATIONS)}. Received: {requested!r}"
        )
    scores, labels = checked(scores, labels)
    positives = int(labels.sum())
    if requested == maps.ISOTONIC and positives < MIN_ISOTONIC_POSITIVES:
        raise ValueError(
            f"calibrator.calibration 'isotonic' requires {MIN_ISOTONIC_POSITIVES:,} positive "
            f"images; choose 'auto', or request more in sampler.splits. Received: {positives:,}"
        )
    negatives = len(labels) - positives
    share = positives / len(labels) if prevalence is None else prevalence
    weight = negative_weight(positives, negatives, share)
    order = np.lexsort((scores, labels))
    scores, labels = scores[order], labels[order]
    shift = PriorShift.of(balance, share)
    val = Val(shift.log_odds(scores), labels, weight)
    compared = cross_validate(val, _candidates(requested, positives, negatives))
    name = lowest(compared) if requested == AUTO else _requested(requested, compared)
    return Calibration(
        requested=requested,
        prior_shift=shift,
        map=maps.fit(name, val.log_odds, val.labels, val.weight),
        prevalence=share,
        positives=positives,
        negatives=negatives,
        cross_validation=tuple(compared),
        remarks=tuple(_remarks(requested, name, compared, balance, positives)),
    )


@dataclass(frozen=True)
class Val:
    """Images to fit a map on.

    Attributes:
      log_odds: float64 (n,), at the population's prevalence.
      labels: int64 (n,).
      weight: weight of each negative; that of a positive is 1.
    """

    log_odds: NDArray[np.float64]
    labels: NDArray[np.int64]
    weight: float


def _candidates(requested: str, positives: int, negatives: int) -> list[str]:
    if requested == maps.NONE or min(positives, negatives) < 2:
        return []
    if requested != AUTO:
        return [maps.NONE, requested]
    enough = positives >= MIN_ISOTONIC_POSITIVES
    return [name for name in maps.SIMPLEST_FIRST if enough or name != maps.ISOTONIC]


def cross_validate(val: Val, candidates: Sequence[str]) -> list[MapScore]:
    """Compares maps on images that they were not fitted on.

    Args:
      val: the images.
      candidates: names of maps, the simplest first.

    Returns:
      one score per candidate, in their order.
    """
    if not candidates:
        return []
    out_of_fold = {name: _out_of_fold_losses(name, val) for name in candidates}
    means = {name: _mean(losses, val) for name, losses in out_of_fold.items()}
    best = min(candidates, key=lambda name: means[name])
    return [
        MapScore(
            map=name,
            log_loss=means[name],
            excess=means[name] - means[best],
            standard_error=_standard_error(out_of_fold[name] - out_of_fold[best], val),
        )
        for name in candidates
    ]


def lowest(compared: Sequence[MapScore]) -> str:
    """Returns the map with the lowest loss; of equal ones, the simplest.

    Args:
      compared: from `cross_validate`, the simplest first; or empty, which gives `none`.
    """
    return min(compared, key=lambda score: score.log_loss).map if compared else maps.NONE


def _requested(name: str, compared: Sequence[MapScore]) -> str:
    """Returns the requested map, unless it is worse than `none`."""
    if not compared or compared[-1].log_loss > compared[0].log_loss:
        return maps.NONE
    return name


def _out_of_fold_losses(name: str, val: Val) -> NDArray[np.float64]:
    """Returns the cross-entropy of each image, averaged over the repeats."""
    if name == maps.NONE:
        return maps.losses(val.log_odds, val.labels)
    # Imported here, since it imports scipy.stats.
    from sklearn.model_selection import RepeatedStratifiedKFold

    positives = int(val.labels.sum())
    repeats = 1 if positives >= _MANY_POSITIVES else _REPEATS
    folds = RepeatedStratifiedKFold(
        n_splits=min(_FOLDS, positives, len(val.labels) - positives),
        n_repeats=repeats,
        random_state=_SEED,
    )
    total = np.zeros(len(val.labels))
    for fitted, held_out in folds.split(val.log_odds, val.labels):
        found = maps.fit(name, val.log_odds[fitted], val.labels[fitted], val.weight)
        total[held_out] += maps.losses(found.log_odds(val.log_odds[held_out]), val.labels[held_out])
    return total / repeats


def _mean(values: NDArray[np.float64], val: Val) -> float:
    weights = np.where(val.labels == 1, 1.0, val.weight)
    return float(np.average(values, weights=weights))


def _standard_error(values: NDArray[np.float64], val: Val) -> float:
    """Returns the standard error of the weighted mean, with each side drawn on its own."""
    total = np.where(val.labels == 1, 1.0, val.weight).sum()
    variance = 0.0
    for label, weight in ((1, 1.0), (0, val.weight)):
        side = values[val.labels == label]
        variance += (weight / total) ** 2 * len(side) * float(np.var(side))
    return math.sqrt(variance)


def _remarks(
    requested: str,
    name: str,
    compared: Sequence[MapScore],
    balance: TrainingBalance | None,
    positives: int,
) -> list[str]:
    remarks = [] if balance is not None else [NO_BALANCE]
    if requested != maps.NONE and not compared:
        remarks.append(
            "a calibration map requires at least two images of each side, so none is used"
        )
    elif positives < FEW_POSITIVES and requested != maps.NONE:
        remarks.append(
            f"the calibration rests on {positives} positive images: its probabilities may be far "
            f"from the true ones; request at least {FEW_POSITIVES}"
        )
    if requested not in (AUTO, maps.NONE) and compared and name == maps.NONE:
        remarks.append(_not_used(requested, compared))
    return remarks


def _not_used(requested: str, compared: Sequence[MapScore]) -> str:
    without, found = compared
    return (
        f"calibrator.calibration {requested!r} is not used: by cross-validation its log loss is "
        f"{found.log_loss:.4f}, above {without.log_loss:.4f} without a map"
    )
