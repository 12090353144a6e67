"""One turn of the loop: train on the data there is, judge, release if better, and record it.

A turn that is killed or terminated records nothing. If it is repeated, it is compared with the same
champion, see `pipeline.run_champion`, finds all that was finished in the cache, releases nothing
twice, and is recorded then.
"""

import datetime
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from components.champion_finder import wanted
from pipeline.retrain import history
from pipeline.retrain.history import HISTORY_FILE, GateOutcome, HistoryError, Outcome, Row

if TYPE_CHECKING:
    from pipeline.local import RunResult

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
      champion: finds the version that a turn is compared with, see `pipeline.run_champion.find`.
      run: runs the pipeline with this champion, and returns its result.
      has_lost: whether the registry has lost a version, see `Registry.has_lost`.
      title: heading of the history's page.
    """

    output: Path
    champion: Callable[[], str]
    run: Callable[[str], "RunResult"]
    has_lost: Callable[[int], bool]
    title: str

    def turn(self, key: str) -> Turn:
        """Runs the pipeline, unless the last finished turn had the same key, and records it.

        Such a turn is not repeated even if another version serves by now: a release that was taken
        back by hand would else be made again. It is repeated if the registry has lost its version:
        then the model is pushed again. Two turns at a time must be prevented by a lock.

        Args:
          key: see `pipeline.run_champion.run_key`.

        Raises:
          HistoryError: the history is damaged, and nothing was run; or it can't be written, and
            the same turn records what was run.
          Exception: the run failed, with the run's own error, which is recorded too.
        """
        rows = history.read(self._history)
        earlier = history.unchanged(rows, key)
        if earlier and not (earlier.version and self.has_lost(earlier.version)):
            self._show(rows)  # the turn may have been killed before
            return Turn(earlier, is_new=False, result=None)
        found = self.champion()
        champion = wanted.number(found)
        begun = time.monotonic()
        try:
            result = self.run(found)
        except Exception as error:
            failed = Row(
                key=key,
                at=_now(),
                seconds=_rounded(time.monotonic() - begun),
                outcome=Outcome.FAILED,
                reason=history.words(str(error)),
                champion=champion,
            )
            with suppress(HistoryError):  # the first error is the one to report
                self._record(failed)
            raise
        seconds = time.monotonic() - begun
        row = self._row(result, key=key, seconds=seconds, champion=champion)
        self._record(row)
        return Turn(row, is_new=True, result=result)

    @property
    def _history(self) -> Path:
        return self.output / HISTORY_FILE

    def _record(self, row: Row) -> None:
        self._show(history.append(self._history, row))

    def _show(self, rows: Sequence[Row]) -> None:
        from pipeline.retrain import page

        history.write(self.output / PAGE_FILE, page.render(rows, title=self.title))

    def _row(self, result: "RunResult", *, key: str, seconds: float, champion: int | None) -> Row:
        metrics = result.metrics
        accepted, pushed = metrics["quarantine"], metrics["pushed_model"]
        spans = [each["span"] for each in accepted["data"]["spans"]]
        return Row(
            key=key,
            at=_now(),
            seconds=_rounded(seconds),
            outcome=Outcome.RELEASED if pushed else Outcome.REJECTED,
            reason=history.words(metrics["reason"]),
            run=result.folder.relative_to(self.output.absolute()).as_posix(),
            version=int(Path(pushed).name) if pushed else None,
            champion=champion,
            span=spans[-1],
            spans=len(spans) if spans[-1] else 0,
            images=accepted["accepted"],
            positives=accepted["by_class"].get(metrics["positive_class"], 0),
            tested=metrics["examples"],
            prevalence=metrics["at_prevalence"]["prevalence"],
            metrics=history.figures(metrics),
            gates=[
                GateOutcome(
                    gate=gate["gate"],
                    passed=gate["passed"],
                    description=history.words(gate["description"]),
                )
                for gate in metrics["gates"]
            ],
        )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def _rounded(seconds: float) -> float:
    return round(seconds, 1)
