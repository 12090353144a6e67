"""Runs on Kubeflow Pipelines: what is said of one, and waiting until it ends."""

import datetime
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pipeline.kubeflow.errors import UnavailableError, WaitTimeoutError

if TYPE_CHECKING:
    from pipeline.kubeflow.client import Api

SUCCEEDED = "SUCCEEDED"
FINISHED = frozenset({SUCCEEDED, "SKIPPED", "FAILED", "CANCELED"})
_UNKNOWN = "PENDING"
# A server that restarts under a run of hours is waited for.
_PATIENCE_SECONDS = 300.0


@dataclass(frozen=True)
class Task:
    """A step of a run."""

    name: str
    state: str
    error: str | None


@dataclass(frozen=True)
class Run:
    """What is told of a run.

    Attributes:
      run_id: the server's id.
      name: as shown in the user interface.
      state: PENDING, RUNNING, SUCCEEDED, SKIPPED, FAILED, CANCELING, CANCELED or PAUSED.
      created_at: in UTC.
      finished_at: in UTC; None while it goes on.
      schedule_id: of the schedule that started it; None where someone did.
      parameters: the runtime parameters it was given.
      pipeline_root: where its artifacts lie.
      error: the server's words for what went wrong.
      tasks: its steps, in the order of their start.
      url: its page in the user interface.
    """

    run_id: str
    name: str
    state: str
    created_at: datetime.datetime | None
    finished_at: datetime.datetime | None
    schedule_id: str | None
    parameters: dict[str, Any]
    pipeline_root: str | None
    error: str | None
    tasks: tuple[Task, ...]
    url: str

    @property
    def finished(self) -> bool:
        """Whether it goes on no more."""
        return self.state in FINISHED

    @property
    def succeeded(self) -> bool:
        """Whether every step did what it should."""
        return self.state == SUCCEEDED

    def seconds(self) -> float | None:
        """How long it took, or takes so far."""
        if self.created_at is None:
            return None
        ended = self.finished_at if self.finished else None
        return ((ended or datetime.datetime.now(datetime.UTC)) - self.created_at).total_seconds()

    def as_json(self) -> dict[str, Any]:
        """The same as an object for a program; times in ISO 8601."""
        fields = asdict(self)
        fields["tasks"] = [asdict(task) for task in self.tasks]
        for key in ("created_at", "finished_at"):
            fields[key] = fields[key] and fields[key].isoformat()
        return fields


def describe(answer: Any, host: str) -> Run:
    """A Run from kfp's V2beta1Run."""
    config = answer.runtime_config
    state = answer.state or _UNKNOWN
    return Run(
        run_id=answer.run_id,
        name=answer.display_name,
        state=state,
        created_at=answer.created_at,
        # The server gives one of 1970 while a run goes on.
        finished_at=answer.finished_at if state in FINISHED else None,
        schedule_id=answer.recurring_run_id,
        parameters=dict(config.parameters or {}) if config else {},
        pipeline_root=config.pipeline_root if config else None,
        error=_error(answer),
        tasks=_tasks(answer.run_details),
        url=f"{host.rstrip('/')}/#/runs/details/{answer.run_id}",
    )


def is_active(answer: Any) -> bool:
    """Whether kfp's V2beta1Run may still do something."""
    return (answer.state or _UNKNOWN) not in FINISHED


def wait(
    api: "Api",
    run_id: str,
    *,
    timeout: float | None,
    poll: float,
    progress: Callable[[Run], None] = lambda run: None,
) -> Run:
    """Waits until a run has ended. kfp's own waiting never ends for a canceled run.

    Args:
      api: the server.
      run_id: which run.
      timeout: seconds; None waits for ever.
      poll: seconds between two looks.
      progress: called with each look's result.

    Raises:
      WaitTimeoutError: it still goes on after `timeout`.
      KubeflowError: there is no such run, or the server can't be asked for five minutes.
    """
    host = api.section.host or ""
    began = answered = time.monotonic()
    while True:
        try:
            run = describe(api.run(run_id), host)
        except UnavailableError:
            if time.monotonic() - answered > _PATIENCE_SECONDS or answered == began:
                raise
        else:
            answered = time.monotonic()
            progress(run)
            if run.finished:
                return run
        if timeout is not None and time.monotonic() - began > timeout:
            raise WaitTimeoutError(
                f"run {run_id} still goes on after {timeout:.0f} s; wait on with "
                f"`outnumbered kubeflow runs wait {run_id}`"
            )
        time.sleep(poll)


def _error(answer: Any) -> str | None:
    if answer.error is not None and answer.error.message:
        return answer.error.message
    failed = [task for task in _tasks(answer.run_details) if task.error]
    return f"{failed[0].name}: {failed[0].error}" if failed else None


def _tasks(details: Any) -> tuple[Task, ...]:
    listed = (details.task_details if details else None) or []
    began = datetime.datetime.max.replace(tzinfo=datetime.UTC)
    ordered = sorted(listed, key=lambda task: (task.start_time or began, task.display_name or ""))
    return tuple(
        Task(
            name=task.display_name,
            state=task.state or _UNKNOWN,
            error=task.error.message if task.error else None,
        )
        for task in ordered
    )
