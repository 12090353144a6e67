"""How a run on Kubeflow Pipelines ended, from its final status and the files it has left.

The final status alone does not say it: in release 2.16 it has no message, and its state is that of
ML Metadata, which stays RUNNING if a pod is lost. But the launcher stores the log of each attempt,
whose last line says why a step failed, and the outputs of each step that succeeded.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from components.notifications.message import Failure
from components.notifications.settings import Outcome
from components.pusher.pushed_file import FILE as PUSHED_FILE
from components.pusher.pushed_file import PushedFile

FINISHED_STATES = frozenset({"SUCCEEDED", "COMPLETE", "CACHED"})
"""States of a run that has succeeded, by the names of all backends."""

_FAILED_STATE = "FAILED"
_OUTPUT = re.compile(r"(?P<step>[^/]+)/[^/]+/(?P<key>[^/]+)")
_LOG = re.compile(r"executor-logs(?:-(?P<retry>\d+))?")
# Begins the last line of a step that a signal has ended.
_INTERRUPTED = "interrupted: "
_MOST_BYTES = 2**24
_LONGEST_LINE = 500
_UNKNOWN = (
    "no step has said why; its pod may have been evicted, killed for lack of memory, or never "
    "started. The run's page says more"
)


@dataclass(frozen=True)
class StoredFile:
    """A file of a run.

    Attributes:
      path: below the run's folder: STEP/SALT/OUTPUT, and a path in the output.
      size: in bytes.
    """

    path: str
    size: int


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """How a run ended.

    Attributes:
      outcome: see `Notification`.
      failures: the steps that failed; one without a step if none has said why.
      pushed: what the Pusher has left; None if it has not run.
      remark: what is not known; None: nothing.
    """

    outcome: Outcome
    failures: tuple[Failure, ...] = ()
    pushed: PushedFile | None = None
    remark: str | None = None

    def facts(self) -> dict[str, Any]:
        """Returns the verdict and the version, by the keys of `Notification`."""
        found = self.pushed
        if found is None:
            return {"reason": self.remark}
        version = found.pushed_version
        return {
            "blessed": found.blessed,
            "reason": found.reason,
            "version": int(version) if version else None,
            "model": found.pushed_destination,
        }


def outcome_of(
    status: Mapping[str, Any],
    files: Collection[StoredFile],
    read: Callable[[str], bytes],
    last_steps: Collection[str],
) -> RunOutcome:
    """Returns how a run ended.

    Args:
      status: the PipelineTaskFinalStatus.
      files: of the run.
      read: returns the content of one of them.
      last_steps: names of the steps on which no other depends, which are not cached.
    """
    pushed = _pushed(files, read)
    state = status.get("state", "")
    if state in FINISHED_STATES or (
        state != _FAILED_STATE and last_steps and set(last_steps) <= _with_outputs(files)
    ):
        return RunOutcome(outcome=_verdict(pushed), pushed=pushed)
    failures = tuple(_failures(files, read)) or (Failure(reason=_message(status) or _UNKNOWN),)
    return RunOutcome(outcome="failed", failures=failures, pushed=pushed)


def without_files(status: Mapping[str, Any], problem: str) -> RunOutcome:
    """Returns how a run ended whose files can't be read.

    Args:
      status: the PipelineTaskFinalStatus.
      problem: why they can't be read.
    """
    state = status.get("state", "")
    if state in FINISHED_STATES:
        remark = f"the verdict on the model is not known, as its files can't be read: {problem}"
        return RunOutcome(outcome="finished", remark=remark)
    known = _message(status) or f"Kubeflow Pipelines says {state or 'nothing'}"
    reason = f"{known}; the files of the run, which say more, can't be read: {problem}"
    return RunOutcome(outcome="failed", failures=(Failure(reason=reason),))


def _verdict(pushed: PushedFile | None) -> Outcome:
    if pushed is None:
        return "finished"
    if pushed.blessed is False:
        return "not_blessed"
    return "pushed" if pushed.is_new else "finished"


def _pushed(files: Iterable[StoredFile], read: Callable[[str], bytes]) -> PushedFile | None:
    paths = [file.path for file in files if file.path.rpartition("/")[2] == PUSHED_FILE]
    try:
        return PushedFile.model_validate_json(read(paths[0])) if paths else None
    except ValidationError:
        return None


def _with_outputs(files: Iterable[StoredFile]) -> set[str]:
    """The steps that have left outputs, which the launcher stores if they have succeeded."""
    places = (_OUTPUT.match(file.path) for file in files)
    return {place["step"] for place in places if place and not _LOG.fullmatch(place["key"])}


def _failures(files: Collection[StoredFile], read: Callable[[str], bytes]) -> Iterable[Failure]:
    succeeded = _with_outputs(files)
    for step, log in sorted(_last_logs(files).items()):
        if step not in succeeded:
            yield Failure(step=step, reason=_reason(step, log, read))


def _last_logs(files: Iterable[StoredFile]) -> dict[str, StoredFile]:
    """The log of each step's last attempt, of those that the launcher could store."""
    found: dict[str, tuple[int, StoredFile]] = {}
    for file in files:
        place = _OUTPUT.fullmatch(file.path)
        log = place and _LOG.fullmatch(place["key"])
        if place and log:
            retry = int(log["retry"] or 0)
            if retry >= found.get(place["step"], (0, None))[0]:
                found[place["step"]] = (retry, file)
    return {step: file for step, (_, file) in found.items()}


def _reason(step: str, log: StoredFile, read: Callable[[str], bytes]) -> str:
    if log.size > _MOST_BYTES:
        return "its log is too long to be read here"
    lines = read(log.path).decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    if last.startswith((f"{step} failed: ", _INTERRUPTED)):
        return last
    killed = "it ended without saying why, as when it is killed for lack of memory"
    return f"{killed}; the end of its log: {last[:_LONGEST_LINE]}" if last else killed


def _message(status: Mapping[str, Any]) -> str:
    """The message of the final status, which newer backends give."""
    return str((status.get("error") or {}).get("message") or "")
