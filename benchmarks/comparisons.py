"""Comparisons of arms over several draws of the splits, in studies whose true difference is known.

    python -m benchmarks.comparisons [--studies 300] [--processes 2]

A photograph is a point in a space of features, normally distributed within a class, with one in
seven further from the mean than the others. A pool of 5,000 photographs is drawn, then the splits,
ten times from this pool; the head is a linear discriminant, and the threshold is chosen on val by
the study's own rule. Whole studies are repeated with other pools. The true difference is that of
many draws, each from a pool of its own.

- `features`: two arms on different features of the same quality, so that there is no difference;
- `rare`: the same with a pool that has one positive in ten, of which the splits use most;
- `balance`: a balanced and a representative training split, at the arms' own thresholds;
- `seeds`: two arms that differ in the noise of their training alone, with two seeds each;
- `rest`: `features` with a test split of all images that train and val leave, weighted to one
  positive in eleven, as the test splits of the others have.

The last line is JSON:

- `coverage`: mean share of the 95 % intervals that contain the true difference; and the lowest;
  `coverage_error` is the standard error of the mean, from the number of studies;
- `false_alarm`: share of the studies without a difference in which the p value is below 0.05;
- `smallest_difference_f1`: the difference in F1 that ten draws find in 80 % of studies, at a
  level of 0.05; `printed_difference_f1` is the mean of what the pages of these studies print;
  `smallest_difference_f1_rest` and `printed_difference_f1_rest` are those of `rest`;
- `one_draw`: coverage of the intervals of a single draw, which hold for its training images only;
- `rows`: the figures of each scenario.
"""

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.calibrator import operating_point
from components.evaluator import metrics
from components.study_reporter import bootstrap, overlap
from components.study_reporter.scores import Draws

TRUTH_DRAWS = 1500
_RESAMPLES = 600
_DIMENSIONS = 12
_DISTANCE = 1.85
_FAR, _FAR_SHARE = 1.8, 0.15
_RIDGE = 0.05
_LEVEL = 0.05
_STEPS = (0.4, 0.6, 0.8, 1.0)
"""Additional noise of the second arm's features, for the power."""
_PREVALENCE = 1 / 11

Size = tuple[int, int]
"""Positives and negatives."""


@dataclass(frozen=True)
class Scenario:
    """Two arms, and the pool of their images.

    Attributes:
      name: its name.
      pool: size of the pool.
      train: the training split of each arm; a single one is common to both.
      own_features: whether each arm has features of its own.
      noise: additional noise of the second arm's features, in standard deviations.
      seed_noise: standard deviation of the weights' noise relative to their size.
      seeds: trainings on each draw.
      val: size of the validation split.
      test: size of the test split.
    """

    name: str
    pool: Size = (2500, 2500)
    train: Sequence[Size] = ((100, 1000),)
    own_features: bool = False
    noise: float = 0.0
    seed_noise: float = 0.0
    seeds: int = 1
    val: Size = (50, 500)
    test: Size = (100, 1000)

    @property
    def overlap(self) -> float:
        """The correlation of two draws, as `overlap.of_pair` computes it."""
        shared = [self.val, *(self.train if len(self.train) == 1 else ())]
        return max(self._overlap(size) for size in shared)

    def _overlap(self, size: Size) -> float:
        sides = ("positives", "negatives")
        shares = [count / whole for count, whole in zip(size, self.pool, strict=True)]
        return overlap.of_split(
            dict(zip(sides, shares, strict=True)), dict(zip(sides, size, strict=True))
        )


SCENARIOS = (
    Scenario("features", own_features=True),
    Scenario("rare", pool=(500, 4500), own_features=True),
    Scenario("balance", train=((750, 750), (75, 750))),
    Scenario("seeds", seed_noise=0.1, seeds=2),
    Scenario("rest", own_features=True, test=(2350, 1000)),
)
_FOR_POWER = [scenario for scenario in SCENARIOS if scenario.name in ("features", "rest")]


@dataclass(frozen=True)
class Study:
    """The predictions of a study: labels (n,), and (models, n) arrays of each of two arms."""

    labels: NDArray[np.int64]
    predicted: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    present: NDArray[np.bool_]
    draws: NDArray[np.int64]

    def f1(self, arm: int) -> NDArray[np.float64]:
        """Returns the F1 of each model of an arm on its test split, at the prevalence."""
        recall, false_positive_rate = (
            (self.predicted[arm] & side).sum(axis=1) / (self.present & side).sum(axis=1)
            for side in (self.labels == 1, self.labels == 0)
        )
        return metrics.rates_at_prevalence(recall, false_positive_rate, _PREVALENCE)["f1"]


def simulate(rng: np.random.Generator, scenario: Scenario, draws: int) -> Study:
    """Draws a pool, and trains both arms on each draw of the splits."""
    labels = np.repeat([1, 0], scenario.pool)
    features = _features(rng, labels, scenario)
    models = draws * scenario.seeds
    predicted = np.zeros((2, models, labels.size), bool)
    present = np.zeros((models, labels.size), bool)
    for draw in range(draws):
        *train, val, test = _split(rng, labels, [*scenario.train, scenario.val, scenario.test])
        for arm, seen in enumerate(features):
            learned = train[min(arm, len(train) - 1)]
            weights = _discriminant(seen[learned], labels[learned] == 1)
            for model in range(draw * scenario.seeds, (draw + 1) * scenario.seeds):
                noisy = weights + scenario.seed_noise * np.linalg.norm(weights) * rng.normal(
                    size=weights.size
                ) / np.sqrt(weights.size)
                threshold = _threshold(_scores(seen[val], noisy), labels[val])
                predicted[arm, model, test] = _scores(seen[test], noisy) >= threshold
                present[model, test] = True
    of_models = np.repeat(np.arange(draws), scenario.seeds)
    return Study(labels, (predicted[0], predicted[1]), present, of_models)


def _features(
    rng: np.random.Generator, labels: NDArray[np.int64], scenario: Scenario
) -> list[NDArray[np.float64]]:
    shape = (labels.size, _DIMENSIONS)
    far = np.where(rng.random((labels.size, 1)) < _FAR_SHARE, _FAR, 1.0)
    common = (rng.normal(size=shape) + _DISTANCE * labels[:, None]) * far
    first = common + rng.normal(size=shape)
    second = common + rng.normal(size=shape) if scenario.own_features else first
    return [first, second + scenario.noise * rng.normal(size=shape)]


def _split(
    rng: np.random.Generator, labels: NDArray[np.int64], sizes: Sequence[Size]
) -> list[NDArray[np.intp]]:
    sides = [rng.permutation(np.flatnonzero(labels == label)) for label in (1, 0)]
    ends = np.cumsum(sizes, axis=0)
    return [
        np.concatenate(
            [side[end - size : end] for side, end, size in zip(sides, stop, split, strict=True)]
        )
        for split, stop in zip(sizes, ends, strict=True)
    ]


def _discriminant(seen: NDArray[np.float64], side: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns the weights of a regularized linear discriminant; the last is the intercept."""
    means = seen[side].mean(axis=0), seen[~side].mean(axis=0)
    rest = seen - np.where(side[:, None], *means)
    spread = rest.T @ rest / len(seen) + _RIDGE * np.eye(seen.shape[1])
    weights = np.linalg.solve(spread, means[0] - means[1])
    return np.append(weights, -weights @ (means[0] + means[1]) / 2)


def _scores(seen: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    logits = seen @ weights[:-1] + weights[-1]
    return (1 / (1 + np.exp(-logits / 4))).astype(np.float32)


def _threshold(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> np.float32:
    return np.float32(
        operating_point.choose(scores, labels, rule=operating_point.BEST_F1).threshold
    )


def compared(study: Study, correlation: float) -> dict[str, Any]:
    """Returns the comparison of the two arms by the study's method."""
    models = np.concatenate(study.predicted)
    drawn = bootstrap.rates(
        study.labels,
        models,
        present=np.tile(study.present, (2, 1)),
        draws=_RESAMPLES,
        prevalence=_PREVALENCE,
    )["f1"]
    halves = drawn[: len(study.draws)], drawn[len(study.draws) :]
    tested = study.labels[study.present.any(axis=0)]
    images = int(np.bincount(tested).min())
    draws = Draws(study.draws, correlation)
    arms = study.f1(0), study.f1(1)
    if draws.several:
        return bootstrap.compare_draws(*arms, halves, draws=draws, images=images)
    return bootstrap.compare(*arms, halves, images=images)


def only_first_draw(study: Study) -> Study:
    """Returns the study with its first draw alone, and the images that this one tests on."""
    models = study.draws == 0
    tested = study.present[0]
    predicted = tuple(arm[models][:, tested] for arm in study.predicted)
    present = study.present[models][:, tested]
    return Study(study.labels[tested], (predicted[0], predicted[1]), present, study.draws[models])


def one_study(scenario: Scenario, draws: int, seed: int) -> dict[str, Any]:
    """Returns the comparison of a study, and that of its first draw."""
    # Of its own for each row of the same scenario, so that errors of the rows' shares average out.
    rng = np.random.default_rng(
        [seed, draws, round(1000 * scenario.noise), *scenario.name.encode()]
    )
    study = simulate(rng, scenario, draws)
    return {**compared(study, scenario.overlap), "one": compared(only_first_draw(study), 0.0)}


def one_difference(scenario: Scenario, seed: int) -> float:
    """Returns the difference in a single draw from a pool of its own."""
    rng = np.random.default_rng([seed, *b"truth", *scenario.name.encode()])
    needed = np.sum([*scenario.train, scenario.val, scenario.test], axis=0)
    study = simulate(rng, replace(scenario, pool=tuple(needed.tolist())), 1)
    return float((study.f1(0) - study.f1(1)).mean())


def measure(scenario: Scenario, draws: int, studies: int, pool: ProcessPoolExecutor) -> dict:
    """Repeats a study and summarizes its comparisons."""
    null = not scenario.noise and len(scenario.train) == 1
    found = list(pool.map(partial(one_study, scenario, draws), range(studies), chunksize=4))
    truth = 0.0
    if not null:
        truths = pool.map(partial(one_difference, scenario), range(TRUTH_DRAWS), chunksize=50)
        truth = float(np.mean(list(truths)))
    return {
        "scenario": scenario.name,
        "noise": scenario.noise,
        "draws": draws,
        "difference": truth,
        "coverage": _coverage(found, truth),
        "one_draw": _coverage([each["one"] for each in found], truth),
        "shown": float(np.mean([each["p"] < _LEVEL for each in found])),
        "printed": float(
            np.mean(
                [bootstrap.detectable(each["error"], each["freedom"], _LEVEL) for each in found]
            )
        ),
        "null": null,
    }


def _coverage(found: Sequence[dict[str, Any]], truth: float) -> float:
    return float(np.mean([each["interval"][0] <= truth <= each["interval"][1] for each in found]))


def smallest(rows: Sequence[dict[str, Any]]) -> float:
    """Returns the difference that is shown with a power of 0.8, by interpolation over the noise."""
    ordered = sorted(rows, key=lambda row: abs(row["difference"]))
    shown = np.maximum.accumulate([row["shown"] for row in ordered])
    differences = [abs(row["difference"]) for row in ordered]
    if shown[-1] < bootstrap.POWER:
        return float("inf")
    return float(np.interp(bootstrap.POWER, shown, differences))


def _power(rows: Sequence[dict[str, Any]], scenario: str) -> dict[str, float]:
    varied = [row for row in rows if row["scenario"] == scenario]
    near = min(varied, key=lambda row: abs(row["shown"] - bootstrap.POWER))
    return {
        "smallest_difference_f1": round(smallest(varied), 4),
        "printed_difference_f1": round(near["printed"], 4),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the rows and the summary."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--studies", type=int, default=300, help="studies of each scenario")
    parser.add_argument("--draws", type=int, default=10, help="draws of the splits in a study")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    powers = [replace(scenario, noise=noise) for scenario in _FOR_POWER for noise in _STEPS]
    rows = []
    with ProcessPoolExecutor(options.processes) as pool:
        for scenario in (*SCENARIOS, *powers):
            row = measure(scenario, options.draws, options.studies, pool)
            rows.append(row)
            print(json.dumps(row), flush=True)
    null = [row for row in rows if row["null"]]
    coverage = float(np.mean([row["coverage"] for row in rows]))
    total = options.studies * len(rows)
    summary = {
        "coverage": round(coverage, 3),
        "coverage_error": round(float(np.sqrt(coverage * (1 - coverage) / total)), 4),
        "lowest_coverage": min(row["coverage"] for row in rows),
        "false_alarm": round(float(np.mean([row["shown"] for row in null])), 3),
        **_power(rows, "features"),
        **{f"{key}_rest": value for key, value in _power(rows, "rest").items()},
        "one_draw": round(float(np.mean([row["one_draw"] for row in rows])), 3),
        "rows": rows,
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
