"""`champion.json`: how a challenger compares with the champion. Imports no TensorFlow.

The Evaluator writes it next to `summary.json`. It has

- `state`: one of `State`, and `reason`, in words, unless the state is `compared`;
- `version`: of the champion in the registry; None if there is none;
- `threshold`: of the champion; None if it wasn't compared;
- `test` and `newest_span`: the comparison on the whole split and on its images of the newest span,
  see `components.evaluator.champion.compare`, with `caution`, see
  `components.evaluator.champion_caution`; the latter with `span`, and None if the images have no
  span.
"""

import enum
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tfx.dsl.io import fileio

FILE = "champion.json"
TEST = "test"
NEWEST_SPAN = "newest_span"


class State(enum.StrEnum):
    """Whether a challenger was compared with the champion."""

    COMPARED = "compared"
    FIRST_MODEL = "first_model"
    SAME_MODEL = "same_model"
    REFUSED = "refused"


def without_comparison(state: State, reason: str, version: int | None = None) -> dict[str, Any]:
    """Returns the record of a challenger that was not compared, with the reason in words."""
    return {
        "state": state.value,
        "reason": reason,
        "version": version,
        "threshold": None,
        TEST: None,
        NEWEST_SPAN: None,
    }


def write(record: dict[str, Any], uri: str) -> None:
    """Writes the record into the ModelEvaluation artifact at `uri`."""
    with fileio.open(os.path.join(uri, FILE), "w") as file:
        file.write(json.dumps(record, indent=2, ensure_ascii=False))


def read(uri: str) -> dict[str, Any] | None:
    """Reads the record in the ModelEvaluation artifact at `uri`; None if there is none."""
    path = os.path.join(uri, FILE)
    if not fileio.exists(path):
        return None
    with fileio.open(path, "r") as file:
        return json.loads(file.read())


def sentence(record: Mapping[str, Any]) -> str:
    """Returns in words how the models compare, by the PR-AUC at prevalence."""
    if record[TEST] is None:
        return f"not compared: {record['reason']}"
    found = record[TEST]["at_prevalence"]["pr_auc"]
    if found["interval"] is None:
        return f"version {record['version']}: too few images for a comparison"
    low, high = found["interval"]
    return (
        f"version {record['version']} has a pr_auc of {found['champion']:.3f} on the same images, "
        f"this model {found['challenger']:.3f}: a difference of {found['difference']:+.4f}, 95 % "
        f"interval {low:+.4f} to {high:+.4f}{with_caution(record[TEST])}"
    )


def with_caution(compared: Mapping[str, Any]) -> str:
    """Returns the caution of a comparison as the end of a sentence; empty without one."""
    caution = compared.get("caution")
    return f"; {caution}" if caution else ""


def newest(spans: Sequence[str]) -> str | None:
    """Returns the newest of spans, which are numbers or dates; None if there are none.

    Args:
      spans: all numbers, such as `7`, or all dates, such as `2026-11-27`; empty texts are ignored.
    """
    found = {span for span in spans if span}
    return max(found, key=_in_order) if found else None


def _in_order(span: str) -> tuple[int, str]:
    number = span.lstrip("0")
    return len(number), number
