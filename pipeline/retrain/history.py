"""The history of a model that is retrained: one line per run in `history.jsonl`.

A line says what the run read, what it measured, and what became of its model; of a run that failed,
why. A run that was killed or stopped by a signal has no line: the next one resumes it and has.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from components.messages import cut
from components.whole_file import remove_unfinished, write_text
from pipeline.terminal import visible

HISTORY_FILE = "history.jsonl"
_LONGEST = 2000
METRICS = ("f1", "precision", "recall", "pr_auc")
"""The metrics of a line, at the prevalence of the real world."""


class HistoryError(ValueError):
    """The history can't be read or written; the message names the file and what to do."""


class Outcome(StrEnum):
    """What became of a run."""

    RELEASED = "released"
    REJECTED = "rejected"
    FAILED = "failed"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Figure(_Part):
    """A metric.

    Attributes:
      value: None if it is undefined.
      interval: its 95 % interval.
    """

    value: float | None
    interval: tuple[float, float] | None


class GateOutcome(_Part):
    """A gate.

    Attributes:
      gate: as in the settings.
      passed: whether it doesn't prevent a release.
      description: what was found, in words.
    """

    gate: str
    passed: bool
    description: str


class Row(_Part):
    """One run.

    Attributes:
      schema_version: raised if a key is renamed, removed or changes its meaning.
      key: identifies the run's data, settings and code.
      at: when the run ended.
      seconds: how long it took.
      outcome: what became of its model.
      reason: why, in words; of a failed run the error.
      run: folder of the run with its report; empty if it failed.
      version: version in the registry that was released; None if none was.
      champion: version that served before the run; None if none did.
      span: the newest span of the data; empty if it has none, or the run failed.
      spans: number of spans of the data; None if the run failed.
      images: number of images that were accepted; None if the run failed.
      positives: number of those of the positive class.
      tested: number of images of the test split.
      prevalence: share of positives in the real world, at which the metrics are.
      metrics: the challenger's `METRICS`; empty if the run failed.
      gates: the results of the gates.
    """

    schema_version: Literal[1] = 1
    key: str
    at: datetime
    seconds: float
    outcome: Outcome
    reason: str
    run: str = ""
    version: int | None = None
    champion: int | None = None
    span: str = ""
    spans: NonNegativeInt | None = None
    images: NonNegativeInt | None = None
    positives: NonNegativeInt | None = None
    tested: NonNegativeInt | None = None
    prevalence: float | None = None
    metrics: dict[str, Figure] = {}
    gates: list[GateOutcome] = []

    @property
    def is_released(self) -> bool:
        """Whether its model was released."""
        return self.outcome is Outcome.RELEASED


def read(path: Path) -> list[Row]:
    """Returns the lines of a history, oldest first; none if the file does not exist.

    Raises:
      HistoryError: a line is damaged.
    """
    if not path.exists():
        return []
    try:
        # Not by splitlines(), which also splits at characters that a text in a line may have.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8
        raise HistoryError(_unreadable(path, error)) from error
    return [_row(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def append(path: Path, row: Row) -> list[Row]:
    """Adds a line; the file is replaced as a whole, so that no line is ever half-written.

    Returns:
      All lines.

    Raises:
      HistoryError: a line of the file is damaged, or it can't be written; it is unchanged.
    """
    rows = [*read(path), row]
    write(path, "".join(f"{each.model_dump_json()}\n" for each in rows))
    return rows


def write(path: Path, text: str) -> None:
    """Writes a file of the history atomically, and removes what a killed writer of it has left.

    Raises:
      HistoryError: it can't be written.
    """
    try:
        remove_unfinished(path)
        write_text(path, text)
    except OSError as error:
        raise HistoryError(
            f"{path} can't be written ({error.strerror}); make it writable or free some space, "
            "then run the same command again: no step is repeated that has finished"
        ) from error


def unchanged(rows: Sequence[Row], key: str) -> Row | None:
    """Returns the last finished run if it was of the same data, settings and code, else None.

    A failed run is not finished: it is to be repeated. Neither is an earlier run considered: data
    that is as it was before the last change is a change too.
    """
    finished = (row for row in reversed(rows) if row.outcome is not Outcome.FAILED)
    last = next(finished, None)
    return last if last is not None and last.key == key else None


def words(text: str) -> str:
    """Returns a text for a line: without what can't be printed, such as bytes of a file name."""
    return cut(visible(text, keep="\n"), _LONGEST)


def figures(metrics: dict[str, Any]) -> dict[str, Figure]:
    """Returns a line's metrics.

    Args:
      metrics: content of a run's `metrics.json`.
    """
    world = metrics["at_prevalence"]
    # Recall does not depend on the balance, so its interval is with those of the test split.
    bounds = {**metrics["intervals"], **world["intervals"]}
    return {name: Figure(value=world[name], interval=bounds.get(name)) for name in METRICS}


def _row(path: Path, number: int, line: str) -> Row:
    try:
        return Row.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the line"
        raise HistoryError(_unreadable(path, f"line {number}: {where}: {first['msg']}")) from error


def _unreadable(path: Path, why: object) -> str:
    return (
        f"the history {path} can't be read ({why}); correct it or restore it from a backup, or "
        "rename it: then a new history begins, and nothing else is lost"
    )
