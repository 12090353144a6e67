"""The frontier of a study's networks: what each costs, against how well its arm does."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from components.study_reporter import scores
from components.study_reporter.ranking import compared_figures
from components.trainer.settings import TrainerSettings

# The settings on which the cost of a network depends.
_NETWORK = ("model", "image_size", "head", "views")
_COSTS = ("milliseconds", "megabytes")

Measure = Callable[[TrainerSettings], Any]
"""Returns an object with `milliseconds` and `megabytes`, such as `network_cost`."""


def of_arms(arms: Sequence[Mapping[str, Any]], measure: Measure) -> list[dict[str, Any]]:
    """Returns one row per arm and test split; none if all arms have the same model.

    A network that several arms share is measured once.

    Args:
      arms: content of `arms` in `study.json`.
      measure: measures a network.

    Returns:
      Rows by split, then by time: `split`, `arm`, `model`, `image_size`, `views`, `milliseconds` of
      CPU time per image, `megabytes`, `f1` (an estimate at the threshold chosen on val, as arms
      are compared), and `on_frontier`, whether no arm that takes less time has at least its mean
      F1.
    """
    if len({arm["settings"]["model"] for arm in arms}) < 2:
        return []
    costs: dict[tuple[Any, ...], Any] = {}
    rows = []
    for arm in arms:
        if not arm["tests"]:  # all replicates diverged
            continue
        settings = TrainerSettings.model_validate(arm["settings"])
        key = tuple(str(getattr(settings, name)) for name in _NETWORK)
        if key not in costs:
            costs[key] = measure(settings)
        rows += [
            {
                "split": split,
                "arm": arm["arm"],
                "model": settings.model,
                "image_size": settings.image_size,
                "views": len(settings.view_names),
                **{cost: getattr(costs[key], cost) for cost in _COSTS},
                "f1": compared_figures(found, scores.AT_OWN)["f1"],
            }
            for split, found in arm["tests"].items()
        ]
    rows.sort(key=lambda row: (row["split"], row["milliseconds"]))
    return [{**row, "on_frontier": _is_on_frontier(row, rows)} for row in rows]


def _is_on_frontier(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> bool:
    f1 = row["f1"]["mean"]
    return f1 is not None and not any(
        other["split"] == row["split"]
        and other["milliseconds"] < row["milliseconds"]
        and (other["f1"]["mean"] or 0) >= f1
        for other in rows
    )
