"""Runs on Kubeflow Pipelines: their description, and waiting for them to finish."""

import datetime
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pipeline.kubeflow.errors import RefusedError, UnavailableError, WaitTimeoutError

if TYPE_CHECKING:
    from pipeline.kubeflow.client import Api

SUCCEEDED = "SUCCEEDED"
FINISHED = frozenset({SUCCEEDED, "SKIPPED", "FAILED", "CANCELED"})
_UNKNOWN = "PENDING"
# A run of hours survives a restart of the server.
_OUTAGE_SECONDS = 300.0


@dataclass(frozen=True)
class Task:
    """A step of a run."""

    name: str
    state: str
    error: str | None


@dataclass(frozen=True)
class Run:
    """The description of a run.

    Attributes:
      run_id: the server's id.
      name: as shown in the user interface.
      state: PENDING, RUNNING, SUCCEEDED, SKIPPED, FAILED, CANCELING, CANCELED or PAUSED.
      created_at: in UTC.
      finished_at: in UTC; None while it is running.
      schedule_id: of the schedule that started it; None if started by hand.
      parameters: its runtime parameters.
      pipeline_root: where its artifacts are.
      error: the server's error message.
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
        """Whether the run has finished, successfully or not."""
        return self.state in FINISHED

    @property
    def succeeded(self) -> bool:
        """Whether every step succeeded."""
        return self.state == SUCCEEDED

    def seconds(self) -> float | None:
        """Duration, up to now if the run has not finished; None if it was never created."""
        if self.created_at is None:
            return None
        ended = self.finished_at if self.finished else None
        return ((ended or datetime.datetime.now(datetime.UTC)) - self.created_at).total_seconds()

    def as_json(self) -> dict[str, Any]:
        """The run as a JSON object; times in ISO 8601."""
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
        # While a run is active, the server gives a time in 1970.
        finished_at=answer.finished_at if state in FINISHED else None,
        schedule_id=answer.recurring_run_id,
        parameters=dict(config.parameters or {}) if config else {},
        pipeline_root=config.pipeline_root if config else None,
        error=_error(answer),
        tasks=_tasks(answer.run_details),
        url=page(host, answer.run_id),
    )


def page(host: str, run_id: str) -> str:
    """The URL of a run's page in the user interface."""
    return f"{host.rstrip('/')}/#/runs/details/{run_id}"


def is_active(answer: Any) -> bool:
    """Whether kfp's V2beta1Run has not finished."""
    return (answer.state or _UNKNOWN) not in FINISHED


def wait(
    api: "Api",
    run_id: str,
    *,
    timeout: float | None,
    poll: float,
    progress: Callable[[Run], None] = lambda run: None,
) -> Run:
    """Waits for a run to finish. kfp's own function never returns for a canceled run.

    Args:
      api: the server.
      run_id: the server's id of the run.
      timeout: seconds; None for no limit.
      poll: seconds between two requests.
      progress: called with the run after each request.

    Raises:
      WaitTimeoutError: the run has not finished after `timeout`.
      RefusedError: the server requires to sign in, for example since a session has expired.
      KubeflowError: the run does not exist, or the server can't be reached for five minutes.
    """
    host = api.section.host or ""
    began = answered = time.monotonic()
    while True:
        try:
            run = describe(api.run(run_id), host)
        except UnavailableError:
            if time.monotonic() - answered > _OUTAGE_SECONDS or answered == began:
                raise
        except RefusedError as error:
            if answered == began:
                raise
            raise RefusedError(
                f"{error}. The run goes on; to keep waiting, run `outnumbered kubeflow runs wait "
                f"{run_id}`"
            ) from error
        else:
            answered = time.monotonic()
            progress(run)
            if run.finished:
                return run
        if timeout is not None and time.monotonic() - began > timeout:
            raise WaitTimeoutError(
                f"run {run_id} has not finished after {timeout:.0f} s; to keep waiting, run "
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
