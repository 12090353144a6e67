"""The comparison of two runs as plain JSON values."""

from typing import Any

from components import names
from components.reporter import provenance, wording
from pipeline.compare import differences
from pipeline.compare.differences import PairError
from pipeline.compare.run_folder import FinishedRun

SCHEMA_VERSION = 1
"""Raised if a key of the JSON is renamed, removed or changes its meaning."""

_NOT_SLICES = {
    *(names.URI, names.LABEL, names.PROBABILITY, names.SCORE),
    *(names.IS_POSITIVE, names.NEEDS_REVIEW),
    *(names.CHAMPION_PROBABILITY, names.CHAMPION_IS_POSITIVE),
    names.SPLIT,
}


def compare(first: FinishedRun, second: FinishedRun) -> dict[str, Any]:
    """Compares two runs on the images that both evaluated.

    Args:
      first: the run that the other is compared with, such as the one in production.
      second: the other run; each difference is its value minus the first one's.

    Returns:
      `schema_version`, `answer` (a sentence), `positive_class`, `prevalence`, the two `runs`,
      `images` (see `differences.Pair`), `metrics`, `decisions`, `slices`, `changed_images` and
      `settings` (see the functions of `differences`), and `remarks`.

    Raises:
      PairError: the runs have another positive class, or no images in common.
    """
    classes = [run.metrics["positive_class"] for run in (first, second)]
    if classes[0] != classes[1]:
        raise PairError(
            "two runs can only be compared if they look for the same class. "
            f"Received: {classes[0]!r} and {classes[1]!r}"
        )
    pair = differences.Pair.of(first.predictions, second.predictions)
    prevalence = second.metrics["at_prevalence"]["prevalence"]
    found = differences.of_metrics(pair, prevalence)
    return {
        "schema_version": SCHEMA_VERSION,
        "answer": answer(found, prevalence),
        "positive_class": classes[1],
        "prevalence": prevalence,
        "runs": [_described(run) for run in (first, second)],
        "images": pair.counts,
        "remarks": _remarks(first, second, pair),
        "metrics": found,
        "decisions": differences.of_decisions(pair),
        "slices": differences.of_slices(pair, _slice_columns(first, second)),
        "changed_images": differences.changed_images(pair),
        "settings": differences.of_settings(
            *(dict(provenance.flattened(run.settings)) for run in (first, second))
        ),
    }


def answer(found: list[dict[str, Any]], prevalence: float) -> str:
    """Says in a sentence whether the second model's F1 is higher in the real world.

    Args:
      found: rows of `differences.of_metrics`.
      prevalence: share of positives in the real world.
    """
    row = next(row for row in found if row["metric"] == "f1" and row["balance"] == "prevalence")
    where = f"with {wording.balance(prevalence)}"
    if row["difference"] is None:
        return f"F1 {where} is undefined for a run, since its model calls no image positive."
    low, high = row["interval"]
    shown = f"{row['difference']:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
    if low <= 0 <= high:
        return (
            f"No difference in F1 {where} can be told from chance: second minus first is {shown}."
        )
    better = "second" if low > 0 else "first"
    return f"The {better} run's F1 {where} is higher: second minus first is {shown}."


def _described(run: FinishedRun) -> dict[str, Any]:
    metrics = run.metrics
    return {
        "folder": str(run.folder),
        "name": run.folder.name,
        **{key: metrics[key] for key in ("title", "blessed", "reason", "pushed_model")},
        "threshold": metrics["metrics"]["threshold"],
        "examples": metrics["examples"],
        "positives": metrics["positives"],
    }


def _slice_columns(first: FinishedRun, second: FinishedRun) -> list[str]:
    common = set(first.predictions.columns) & set(second.predictions.columns)
    return [name for name in second.predictions.columns if name in common - _NOT_SLICES]


def _remarks(first: FinishedRun, second: FinishedRun, pair: differences.Pair) -> list[str]:
    remarks = []
    counts = pair.counts
    if counts["only_first"] or counts["only_second"]:
        remarks.append(
            f"{counts['only_first']:,} images are only in the first run and "
            f"{counts['only_second']:,} only in the second; they are not compared"
        )
    if counts["other_label"]:
        remarks.append(
            f"{counts['other_label']:,} images have another label in the second run; they are "
            "not compared"
        )
    shares = [run.metrics["at_prevalence"]["prevalence"] for run in (first, second)]
    if wording.differs(*shares):
        remarks.append(
            f"the runs state different balances of the real world, {wording.balance(shares[0])} "
            f"and {wording.balance(shares[1])}; both are compared at the second"
        )
    return remarks
