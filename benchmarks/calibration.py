"""Rules to choose a calibration map, and the optimism of fitting it on the threshold's images.

    python -m benchmarks.calibration

Scores are binormal at a prevalence of one in eleven, so the true log odds are known. A model's own
log odds are right, slightly or much too far from 0, too close to 0 and shifted, or skewed. Many
vals are drawn with ten negatives per positive. The first table has the mean excess of the log loss
on new images over that of the true probabilities, in thousandths of a nat: of each map, of the
simplest within one standard error of the lowest cross-validated loss, and of the Calibrator's rule,
the lowest. The second has the mean difference
between the F1 that val promises and the F1 on new images, in thousandths: at a probability of 0.5
and at the threshold of `best_f1`, with the map fitted on all of val. The last line is JSON: the
means over all rows.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from components.calibrator import calibration, maps, operating_point
from components.calibrator.calibration import Val
from components.evaluator import metrics

PREVALENCE = 1 / 11
DISTANCE = 2.5
POSITIVES = (10, 20, 50, 200, 1000)
NEGATIVES_PER_POSITIVE = 10
PRIOR = np.log(PREVALENCE / (1 - PREVALENCE))
FIXED = (maps.NONE, maps.TEMPERATURE, maps.PLATT, maps.BETA)
RULES = (*FIXED, "one SE", "rule")
OPTIMISM = ("at 0.5", "best_f1")

Array = NDArray[np.float64]

MODELS: dict[str, Callable[[Array], Array]] = {
    "right": lambda true: true,
    "1.2 x": lambda true: 1.2 * true,
    "2 x": lambda true: 2 * true,
    "0.6 x + 1": lambda true: 0.6 * true + 1,
    "skewed": lambda true: np.where(true < 0, 2 * true, 0.7 * true),
}
"""Each model's log odds of an image, as an increasing function of the true log odds."""

_GRID = np.linspace(-9, 9, 20_001)


def _true_log_odds(z: Array) -> Array:
    """Returns the log odds of an image at z, where positives have mean d / 2 and others -d / 2."""
    return DISTANCE * z + PRIOR


def population_loss(log_odds: Array) -> float:
    """Returns the log loss on infinitely many images, of log odds given on the grid."""
    density = [np.exp(-0.5 * (_GRID - side * DISTANCE / 2) ** 2) for side in (1, -1)]
    positive, negative = (each / each.sum() for each in density)
    missed = positive @ np.logaddexp(0, -log_odds)
    return float(PREVALENCE * missed + (1 - PREVALENCE) * (negative @ np.logaddexp(0, log_odds)))


def _population_f1(log_odds: Array, threshold: float) -> float:
    """Returns the F1 on infinitely many images, of increasing log odds given on the grid."""
    at = np.interp(np.log(threshold / (1 - threshold)), log_odds, _GRID)
    rates = [float(ndtr(side * DISTANCE / 2 - at)) for side in (1, -1)]
    return float(metrics.rates_at_prevalence(*rates, PREVALENCE)["f1"])


def _draw(positives: int, rng: np.random.Generator) -> tuple[Array, NDArray[np.int64]]:
    labels = np.repeat([1, 0], [positives, NEGATIVES_PER_POSITIVE * positives])
    return rng.normal((2 * labels - 1) * DISTANCE / 2), labels


def trial(model: Callable[[Array], Array], positives: int, seed: int) -> dict[str, float]:
    """Returns the excess log loss of each rule and the optimism of F1, for one val."""
    z, labels = _draw(positives, np.random.default_rng([positives, seed]))
    # Positives and negatives are at the population's balance.
    val = Val(model(_true_log_odds(z)), labels, 1.0)
    compared = calibration.cross_validate(val, FIXED)
    fitted = {name: maps.fit(name, val.log_odds, labels, val.weight) for name in FIXED}
    grid = model(_true_log_odds(_GRID))
    least = population_loss(_true_log_odds(_GRID))
    found = {name: population_loss(each.log_odds(grid)) - least for name, each in fitted.items()}
    chosen = calibration.lowest(compared)
    simplest = next(each.map for each in compared if each.excess <= each.standard_error)
    f1 = _optimism(fitted[chosen], val, grid)
    return {**found, "one SE": found[simplest], "rule": found[chosen], **f1}


def _optimism(fitted: maps.Map, val: Val, grid: Array) -> dict[str, float]:
    probabilities = fitted.probabilities(val.log_odds).astype(np.float32)
    calibrated = fitted.log_odds(grid)
    points = (
        operating_point.choose(probabilities, val.labels, rule=operating_point.FIXED),
        operating_point.choose(probabilities, val.labels, rule=operating_point.BEST_F1),
    )
    return {
        name: point.f1 - _population_f1(calibrated, point.threshold)
        for name, point in zip(OPTIMISM, points, strict=True)
    }


def measure(trials: int) -> Iterator[dict[str, float | str]]:
    """Yields the mean over the drawn vals, one row per model and number of positives."""
    for name, model in MODELS.items():
        for positives in POSITIVES:
            drawn = [trial(model, positives, seed) for seed in range(trials)]
            means = {key: float(np.mean([each[key] for each in drawn])) for key in drawn[0]}
            yield {"model": name, "positives": positives, **means}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the rows and the summary."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=50, help="number of vals per row")
    options = parser.parse_args(arguments)
    keys = (*RULES, *OPTIMISM)
    print("model      positives  " + "  ".join(f"{name:>11}" for name in keys))
    rows = []
    for row in measure(options.trials):
        rows.append(row)
        figures = "  ".join(f"{1000 * row[key]:11.2f}" for key in keys)
        print(f"{row['model']:9}  {row['positives']:9}  {figures}", flush=True)
    means = {key: round(float(np.mean([row[key] for row in rows])), 5) for key in keys}
    print(json.dumps(means))


if __name__ == "__main__":
    main()
