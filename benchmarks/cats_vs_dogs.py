"""F1 of the preset `cats_vs_dogs` on real photographs, over many draws of the splits.

    python -m benchmarks.cats_vs_dogs --photos DIR --weights PATH [--features DIR]

The features of each photograph are computed once. Each draw chooses train, val and test anew, of
the preset's sizes and exact class balance, from all photographs; of near-duplicates only one is
used. The head's penalty is chosen inside train, calibration and threshold on val, as by Trainer
and Calibrator; test is only evaluated. The last line is JSON:

- `f1`: mean F1 on test over the draws; `f1_interval`: its 95 % interval, by a bootstrap over
  photographs and draws, since a photograph is in the tests of several draws; `f1_draws`: by draw;
- `best_threshold`: mean F1 with the threshold that is best on test itself, an upper bound of what
  any choice of the threshold could give with this head;
- `at_half`: mean F1 at a calibrated probability of 0.5, without a choice of the threshold;
- `loss_inside_train`: mean held-out loss of the chosen penalty inside train, by which image
  sizes and views can be chosen without val and test;
- `adam`: mean F1 of the head of earlier releases: C = 0.01, the last of 20 epochs of Adam;
- `penalties`: the chosen penalty, C as in scikit-learn, by draw;
- `photographs`, `near_duplicates` that were left out, and `seconds_of_features`, null if they were
  read from `--features`.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from benchmarks import photo_features
from components.calibrator import calibration, operating_point
from components.evaluator import metrics
from components.imbalance_sampler.near_duplicates import Components, links
from pipeline.features import frozen_backbone
from pipeline.settings import Settings, load_settings

_RESAMPLES = 2000
_SEED = 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=Path, required=True, help="one folder per class")
    parser.add_argument("--weights", default="imagenet", help="weights of Xception")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting")
    parser.add_argument("--features", type=Path, help="folder that keeps the features")
    parser.add_argument("--draws", type=int, default=10, help="draws of the splits")
    options = parser.parse_args(arguments)
    changes = [f"trainer.weights={options.weights}", *options.set]
    settings = load_settings("cats_vs_dogs", None, changes)
    backbone = frozen_backbone(settings.trainer)
    if backbone is None or not backbone.pooled:
        parser.error(f"--set must leave a pooled head on a frozen network. Received: {options.set}")
    uris = photo_features.listed(options.photos)
    values, seconds = photo_features.read(options.photos, uris, backbone, kept=options.features)
    classes = np.array([Path(uri).parts[0] for uri in uris])
    single = alone([options.photos / uri for uri in uris])
    pool = Pool(values[single], classes[single], settings)
    results = [pool.evaluate(pool.draw(seed)) for seed in range(options.draws)]
    print(
        json.dumps(
            {
                **figures(results, len(single)),
                "photographs": len(uris),
                "near_duplicates": len(uris) - len(single),
                "seconds_of_features": seconds,
            }
        )
    )


def alone(paths: Sequence[Path], max_distance: int | None = None) -> NDArray[np.intp]:
    """Returns the indices of photographs of which none is a near-duplicate of another.

    Args:
      paths: the photographs.
      max_distance: bits in which near-duplicates differ at most; None: the sampler's default.
    """
    from PIL import Image

    from components.images.perceptual_hash import perceptual_hash
    from pipeline.settings import NearDuplicates

    hashes = []
    for path in paths:
        with Image.open(path) as image:
            hashes.append(perceptual_hash(image.convert("RGB")))
    distinct, first, inverse = np.unique(
        np.array(hashes, np.uint64), return_index=True, return_inverse=True
    )
    components = Components(len(distinct))
    limit = NearDuplicates().max_distance if max_distance is None else max_distance
    for left, right in links(distinct, limit):
        components.join(left, right)
    return np.unique(first[components.smallest()[inverse]])


@dataclass(frozen=True)
class Result:
    """One draw.

    Attributes:
      rows: the test photographs.
      labels: (n,) of test.
      called: (n,), those that are called positive at the chosen threshold.
      f1: by the keys of the figures.
      penalty: the chosen penalty.
      loss: its held-out loss inside train; NaN if the settings name the penalty.
    """

    rows: NDArray[np.intp]
    labels: NDArray[np.int64]
    called: NDArray[np.bool_]
    f1: dict[str, float]
    penalty: float
    loss: float


class Pool:
    """All photographs, from which splits are drawn."""

    def __init__(self, views: NDArray[np.float32], classes: NDArray[np.str_], settings: Settings):
        """Keeps the features.

        Args:
          views: (n, views, d), those of each view.
          classes: (n,).
          settings: those of the preset.
        """
        self._views, self._classes, self._settings = views, classes, settings
        self._values = views.mean(axis=1)
        self._labels = (classes == settings.data.positive_class).astype(np.int64)

    def draw(self, seed: int) -> dict[str, NDArray[np.intp]]:
        """Returns the photographs of each split.

        Raises:
          ValueError: there are too few photographs of a class.
        """
        rng = np.random.default_rng(seed)
        parts: dict[str, list[NDArray[np.intp]]] = {}
        demand = self._settings.sampler.splits
        for name in sorted(next(iter(demand.values()))):
            members = rng.permutation(np.flatnonzero(self._classes == name))
            ends = np.cumsum([split[name] for split in demand.values()])
            if ends[-1] > len(members):
                raise ValueError(
                    f"--photos must have {ends[-1]:,} photographs of {name!r} that are no "
                    f"near-duplicates. Received: {len(members):,}"
                )
            for split, part in zip(demand, np.split(members, ends)[:-1], strict=True):
                parts.setdefault(split, []).append(part)
        return {split: np.concatenate(found) for split, found in parts.items()}

    def evaluate(self, splits: dict[str, NDArray[np.intp]]) -> Result:
        """Returns the result of one draw."""
        from components.trainer.features import Rows
        from components.trainer.solved_head import solve_head

        settings = self._settings.trainer
        train, val = (
            Rows(self._values[splits[name]], self._labels[splits[name]])
            for name in ("train", "val")
        )
        rows = (
            train
            if settings.row_views is None
            else replace(train, values=self._views[splits["train"]])
        )
        found = solve_head(settings, rows, val)
        kernel, bias = found.weights
        scores = expit(self._values @ kernel + bias)[:, 0]
        chosen = self._decide(scores, splits)
        return Result(
            rows=splits["test"],
            labels=self._labels[splits["test"]],
            called=chosen.pop("called"),
            f1={**chosen, "adam": self._adam(splits, train, val)},
            penalty=found.solver["penalty"],
            loss=min((each["loss"] for each in found.solver["cross_validation"]), default=np.nan),
        )

    def _decide(
        self, scores: NDArray[np.float32], splits: dict[str, NDArray[np.intp]]
    ) -> dict[str, Any]:
        """Calibrates and chooses the threshold on val, and evaluates on test."""
        from components.trainer.sampling import training_balance

        val, test = splits["val"], splits["test"]
        balance = training_balance(self._labels[splits["train"]], self._settings.trainer)
        calibrated = calibration.calibrate(
            scores[val], self._labels[val], prevalence=None, balance=balance
        )
        point = operating_point.choose(
            calibrated.probabilities(scores[val]), self._labels[val], rule="best_f1"
        )
        labels, probabilities = self._labels[test], calibrated.probabilities(scores[test])
        called = metrics.is_positive(probabilities, point.threshold)
        return {
            "called": called,
            "f1": f1(labels, called),
            "at_half": f1(labels, metrics.is_positive(probabilities, 0.5)),
            "best_threshold": max(
                f1(labels, metrics.is_positive(probabilities, threshold))
                for threshold in np.unique(probabilities[labels == 1])
            ),
        }

    def _adam(self, splits: dict[str, NDArray[np.intp]], train: Any, val: Any) -> float:
        from components.trainer.features import Rows
        from components.trainer.replicates import ArmRows, train_heads

        settings = self._settings.trainer.model_copy(
            update={"optimizer": "adam", "keep_epoch": "last", "views_as": "average"}
        )
        test = Rows(self._values[splits["test"]], self._labels[splits["test"]])
        rows = ArmRows(train=train, val="val", evaluated={"val": val, "test": test})
        ((head,),) = train_heads(
            settings, [settings.random_state], rows, on_epoch=lambda epoch: None
        )
        scores = np.zeros(len(self._labels), np.float32)
        for name in ("val", "test"):
            scores[splits[name]] = head.probabilities[name]
        return float(self._decide(scores, splits)["f1"])


def f1(labels: NDArray[np.int64], called: NDArray[np.bool_]) -> float:
    """Returns the F1 of calls."""
    return 2 * int((called & (labels == 1)).sum()) / (int(called.sum()) + int(labels.sum()))


def figures(results: Sequence[Result], photographs: int) -> dict[str, Any]:
    """Returns the figures over all draws.

    Args:
      results: one per draw.
      photographs: number of photographs from which the draws are.
    """
    means = {
        key: round(float(np.mean([each.f1[key] for each in results])), 4)
        for key in ("f1", "best_threshold", "at_half", "adam")
    }
    losses = [each.loss for each in results]
    return {
        **means,
        "loss_inside_train": None if np.isnan(losses).any() else round(float(np.mean(losses)), 5),
        "f1_interval": [round(bound, 4) for bound in interval(results, photographs)],
        "f1_draws": [round(each.f1["f1"], 4) for each in results],
        "penalties": [each.penalty for each in results],
    }


def interval(results: Sequence[Result], photographs: int) -> tuple[float, float]:
    """Returns the 95 % interval of the mean F1, by a bootstrap over photographs and draws."""
    right, called, positive = np.zeros((3, photographs, len(results)))
    for draw, each in enumerate(results):
        right[each.rows, draw] = each.called & (each.labels == 1)
        called[each.rows, draw] = each.called
        positive[each.rows, draw] = each.labels == 1
    is_positive = positive.any(axis=1)
    rng = np.random.default_rng(_SEED)
    means = []
    for _ in range(_RESAMPLES):
        weights = np.zeros(photographs)
        # Each side on its own, since its number in test is fixed.
        for side in (np.flatnonzero(is_positive), np.flatnonzero(~is_positive)):
            weights[side] = rng.multinomial(len(side), np.full(len(side), 1 / len(side)))
        draws = rng.multinomial(len(results), np.full(len(results), 1 / len(results)))
        by_draw = 2 * (weights @ right) / (weights @ called + weights @ positive)
        means.append(draws @ by_draw / len(results))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main()
