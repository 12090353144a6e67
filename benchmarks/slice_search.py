"""False discovery rate and power of the search for the worst slices, by simulation.

    python -m benchmarks.slice_search [--repetitions N]

Draws test splits with six columns, of which two depend on each other, and a model whose errors are
independent of the columns (`null`), more frequent in one slice (`slice`), in one cross of two
columns (`cross`), or in three slices of one column (`mixture`). A slice that is found is a false
discovery if it isn't one of those, or a part of the cross. Prints for each size of split the mean
share of false discoveries among those found and the share of planted slices that were found.

The last line is one JSON object; `false_discovery_rate` is the highest over all rows.
"""

import argparse
import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluator.slice_search import Search, Slice, search

_SIZES = ((50, 500), (200, 2_000), (1_000, 10_000))
_ERRORS = (0.02, 0.1, 0.3)
_VALUES = {"breed": 12, "camera": 6, "site": 4, "sharpness": 3}


@dataclass(frozen=True)
class Scenario:
    """Slices with more errors than the rest.

    Attributes:
      planted: slices, or crosses of two columns, in which errors are more frequent.
      true: all slices that are worse than the rest of the split, and crosses that are worse than
        both of their parts explain; any other that is found is a false discovery.
    """

    planted: tuple[Slice, ...]
    true: frozenset[Slice]


def _of_slices(*planted: Slice) -> Scenario:
    parts = {(part,) for values in planted for part in values}
    return Scenario(planted, frozenset({*planted, *parts}))


SCENARIOS = {
    "null": _of_slices(),
    "slice": _of_slices((("camera", "2"),)),
    "cross": _of_slices((("camera", "2"), ("sharpness", "1"))),
    "mixture": _of_slices(*((("breed", str(value)),) for value in (3, 5, 8))),
}


def main() -> None:
    """Runs the simulation and prints its figures."""
    parser = argparse.ArgumentParser(description="False discovery rate of the slice search.")
    parser.add_argument("--repetitions", type=int, default=400)
    repetitions = parser.parse_args().repetitions
    print(f"{'scenario':>9} {'positives':>9} {'errors':>6} {'false':>7} {'found':>7}")
    rates = []
    for (name, scenario), images, errors in itertools.product(SCENARIOS.items(), _SIZES, _ERRORS):
        false, power = simulate(scenario, images, errors, repetitions=repetitions)
        rates.append(false)
        print(f"{name:>9} {images[0]:>9,} {errors:>6.2f} {false:>7.3f} {power:>7.2f}", flush=True)
    print(
        json.dumps(
            {"repetitions": repetitions, "false_discovery_rate": round(max(rates), 3)} | _speed()
        )
    )


def simulate(
    scenario: Scenario, images: tuple[int, int], errors: float, *, repetitions: int, seed: int = 0
) -> tuple[float, float]:
    """Returns the false discovery rate, and the share of planted slices that were found.

    Args:
      scenario: the slices with more errors.
      images: number of positives and of negatives.
      errors: share of wrong images outside of the planted slices; within them it is at least
        0.5, or three times as high.
      repetitions: number of splits drawn.
      seed: seed of the draws.
    """
    rng = np.random.default_rng(seed)
    found = [_found(scenario, images, errors, rng) for _ in range(repetitions)]
    false, power = np.mean(found, axis=0)
    return float(false), float(power)


def _found(
    scenario: Scenario, images: tuple[int, int], errors: float, rng: np.random.Generator
) -> tuple[float, float]:
    labels = np.repeat([1, 0], images)
    columns = draw_columns(labels.size, rng)
    rates = np.full(labels.size, errors)
    for planted in scenario.planted:
        members = np.all([columns[name] == value for name, value in planted], axis=0)
        rates[members] = min(0.9, max(0.5, 3 * errors))
    wrong = rng.random(labels.size) < rates
    result = search(labels, labels.astype(bool) ^ wrong, columns)
    return _shares(result, scenario)


def _shares(result: Search, scenario: Scenario) -> tuple[float, float]:
    found = [finding.slice for finding in result.worst if finding.found]
    false = sum(values not in scenario.true for values in found) / max(1, len(found))
    power = len(set(found) & set(scenario.planted)) / max(1, len(scenario.planted))
    return false, power


def draw_columns(images: int, rng: np.random.Generator) -> Mapping[str, NDArray[np.str_]]:
    """Draws six columns of text, of which `brightness` depends on `light`."""
    columns = {name: rng.integers(values, size=images) for name, values in _VALUES.items()}
    light = rng.random(images) < 0.3
    # Rare values too, as in real manifests.
    columns["breed"] = np.minimum(rng.geometric(0.2, images) - 1, _VALUES["breed"] - 1)
    brightness = np.where(light, rng.integers(0, 2, images), rng.integers(1, 3, images))
    every = {**columns, "light": light.astype(int), "brightness": brightness}
    return {name: values.astype(str) for name, values in every.items()}


def _speed() -> dict[str, float]:
    """Measures a search over 50 slices of 100,000 predictions, and their crosses."""
    rng = np.random.default_rng(0)
    labels = rng.random(100_000) < 0.1
    columns = {str(column): rng.integers(10, size=labels.size).astype(str) for column in range(5)}
    called = labels ^ (rng.random(labels.size) < 0.1)
    started = time.perf_counter()
    search(labels, called, columns)
    return {"seconds": round(time.perf_counter() - started, 3)}


if __name__ == "__main__":
    main()
