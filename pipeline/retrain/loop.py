"""One turn of the loop: train on the data there is, judge, release if better, and record it.

A turn that was killed after its model had been released is repeated, finds everything in the cache,
and releases nothing twice. The version that served when it was begun first is kept in
`tfx/retrain.json` until it is recorded.
"""

import datetime
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from components.code_version import project_version
from components.whole_file import write_text
from pipeline.retrain import history
from pipeline.retrain.history import HISTORY_FILE, Outcome, Row

if TYPE_CHECKING:
    from pipeline.local import RunResult
    from pipeline.settings import Settings

PAGE_FILE = "history.html"


class Turn(NamedTuple):
    """The result of a turn.

    Attributes:
      row: its line in the history.
      is_new: False if an earlier turn had the same data, settings and code; nothing was run.
      result: the run; None if nothing was run.
    """

    row: Row
    is_new: bool
    result: "RunResult | None"


@dataclass(frozen=True)
class Loop:
    """The loop of one pipeline.

    Attributes:
      output: output folder of its runs, with the history.
      serving: returns the registry's serving version; None if it has none.
      run: runs the pipeline, and returns its result.
      title: heading of the history's page.
    """

    output: Path
    serving: Callable[[], int | None]
    run: Callable[[], "RunResult"]
    title: str

    def turn(self, key: str) -> Turn:
        """Runs the pipeline, unless a finished turn had the same key, and records the outcome.

        A turn of the same key is not repeated even if another version serves by now: a release
        that was taken back by hand would else be made again.

        Args:
          key: see `turn_key`.

        Raises:
          HistoryError: the history is damaged; nothing was run.
          Exception: the run failed, with the run's own error, which is recorded too.
        """
        rows = history.read(self._history)
        if earlier := history.find(rows, key):
            return Turn(earlier, is_new=False, result=None)
        champion = self._champion(key)
        begun = time.monotonic()
        try:
            result = self.run()
        except Exception as error:
            self._record(
                Row(
                    key=key,
                    at=_now(),
                    seconds=_rounded(time.monotonic() - begun),
                    outcome=Outcome.FAILED,
                    reason=str(error),
                    champion=champion,
                )
            )
            raise
        seconds = time.monotonic() - begun
        row = self._row(result, key=key, seconds=seconds, champion=champion)
        self._record(row)
        self._pending.unlink(missing_ok=True)
        return Turn(row, is_new=True, result=result)

    @property
    def _history(self) -> Path:
        return self.output / HISTORY_FILE

    @property
    def _pending(self) -> Path:
        return self.output / "tfx" / "retrain.json"

    def _champion(self, key: str) -> int | None:
        """Returns the version that served when a turn of this key was begun first."""
        try:
            pending = json.loads(self._pending.read_text(encoding="utf-8"))
            if pending["key"] == key:
                return None if pending["champion"] is None else int(pending["champion"])
        except (OSError, ValueError, KeyError, TypeError):  # none, or damaged: it is replaced
            pass
        champion = self.serving()
        write_text(self._pending, json.dumps({"key": key, "champion": champion}))
        return champion

    def _record(self, row: Row) -> None:
        from pipeline.retrain import page

        rows = history.append(self._history, row)
        write_text(self.output / PAGE_FILE, page.render(rows, title=self.title))

    def _row(self, result: "RunResult", *, key: str, seconds: float, champion: int | None) -> Row:
        metrics = result.metrics
        classes = metrics["quarantine"]["by_class"]
        return Row(
            key=key,
            at=_now(),
            seconds=_rounded(seconds),
            outcome=Outcome.RELEASED if metrics["pushed_model"] else Outcome.REJECTED,
            reason=metrics["reason"],
            run=result.folder.relative_to(self.output.absolute()).as_posix(),
            version=_version(metrics),
            champion=champion,
            images=sum(classes.values()),
            positives=classes.get(metrics["positive_class"], 0),
            tested=metrics["examples"],
            prevalence=metrics["at_prevalence"]["prevalence"],
            metrics=history.figures(metrics),
            gates=[
                history.GateOutcome.model_validate(
                    {key: gate[key] for key in history.GateOutcome.model_fields}
                )
                for gate in metrics["gates"]
            ],
        )


def turn_key(settings: "Settings", data_version: str) -> str:
    """Returns a digest of what decides the outcome of a turn: data, settings and code.

    Args:
      settings: the pipeline's settings.
      data_version: a digest of the data.
    """
    content = json.dumps([settings.model_dump(mode="json"), data_version, project_version()])
    return hashlib.sha256(content.encode()).hexdigest()


def _version(metrics: dict[str, Any]) -> int | None:
    return (
        int(metrics["pushed_model"].rstrip("/").rpartition("/")[2])
        if metrics["pushed_model"]
        else None
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def _rounded(seconds: float) -> float:
    return round(seconds, 1)
