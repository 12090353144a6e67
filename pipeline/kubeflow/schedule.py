"""The pipeline's schedule on Kubeflow Pipelines: created from the settings, replaced if it differs.

A recurring run of Kubeflow Pipelines can be paused and deleted, but not changed, and deleting it
terminates its active runs. So a schedule that differs is replaced in this order:

1. the new version of the pipeline is uploaded;
2. the old schedule is paused: it starts no more runs;
3. its active runs are waited for (not with `force`);
4. the new schedule is created;
5. the old one is deleted.

Two schedules are never enabled at once, so no run starts twice. If anything fails or is
interrupted before step 5, the old schedule is enabled again. If only step 5 fails, the new
schedule is enabled and the old one paused, and the next apply deletes it. Scheduled times between
2 and 4 are skipped, as they would have been by `max_concurrency: 1` while a run was active; they
are reported.
"""

import contextlib
import datetime
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.kubeflow import cron, runs
from pipeline.kubeflow.errors import KubeflowError, NotFoundError, WaitTimeoutError
from pipeline.kubeflow.settings import Schedule

if TYPE_CHECKING:
    from pipeline.kubeflow.client import Api, Version

_NEXT_TIMES = 5
_MAX_MISSED = 100
# A run that started just before the pause may be listed a little later.
_IDLE_POLLS = 2
_ENABLED = "ENABLED"


@dataclass(frozen=True)
class Desired:
    """The schedule that the settings describe."""

    name: str
    schedule: Schedule
    version: "Version"
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Waiting:
    """What to do about active runs before a schedule is deleted.

    Attributes:
      force: terminate them.
      timeout: seconds to wait for them.
      poll: seconds between two requests.
      progress: called with their number after each request.
    """

    force: bool = False
    timeout: float = 3600
    poll: float = 10
    progress: Callable[[int], None] = lambda count: None


@dataclass(frozen=True)
class Applied:
    """The result of applying a schedule.

    Attributes:
      action: unchanged, created, replaced, resumed or paused.
      found: the current schedule, a V2beta1RecurringRun.
      differences: what has changed, such as "cron: '0 0 3 * * *', now '0 0 4 * * *'".
      missed: scheduled times that passed while active runs were waited for.
    """

    action: str
    found: Any
    differences: tuple[str, ...] = ()
    missed: tuple[datetime.datetime, ...] = ()


def apply(api: "Api", desired: Desired, experiment_id: str, waiting: Waiting) -> Applied:
    """Creates or replaces the schedule; does nothing if it is up to date.

    Raises:
      WaitTimeoutError: active runs did not finish in time; the schedule is unchanged.
      KubeflowError: a request to the server failed; the schedule is unchanged unless the message
        says otherwise.
    """
    existing = api.schedules(experiment_id, desired.name)
    differing = [_differences(api, found, desired) for found in existing]
    kept = next((i for i, differs in enumerate(differing) if not differs), None)
    stale = [found for i, found in enumerate(existing) if i != kept]
    if not existing:
        return Applied("created", _create(api, desired, experiment_id))
    if not stale:
        return _switch(api, existing[0], enabled=desired.schedule.enabled)
    if kept is not None:
        with _paused(api, stale):
            _wait_for_active_runs(api, stale, waiting)
        _delete(api, stale)
        left = _switch(api, existing[kept], enabled=desired.schedule.enabled)
        return Applied("replaced", left.found, ("another schedule had the same name",))
    began = datetime.datetime.now(datetime.UTC)
    with _paused(api, stale):
        _wait_for_active_runs(api, stale, waiting)
        made = _create(api, desired, experiment_id)
    _delete(api, stale)
    return Applied("replaced", made, tuple(differing[0]), _missed(stale, began))


def pause(api: "Api", name: str) -> Applied:
    """Pauses the schedule; active runs continue.

    Raises:
      NotFoundError: no schedule of that name exists.
    """
    newest, *others = _require_schedules(api, name)
    for schedule in others:
        _switch(api, schedule, enabled=False)
    return _switch(api, newest, enabled=False)


def resume(api: "Api", name: str) -> Applied:
    """Resumes the newest schedule of that name.

    Raises:
      NotFoundError: no schedule of that name exists.
    """
    return _switch(api, _require_schedules(api, name)[0], enabled=True)


def delete(api: "Api", name: str, waiting: Waiting) -> int:
    """Deletes the schedule once its active runs have finished.

    Returns:
      The number of schedules of that name.

    Raises:
      NotFoundError: no schedule of that name exists.
      WaitTimeoutError: active runs did not finish in time; the schedule is unchanged.
    """
    found = _require_schedules(api, name)
    with _paused(api, found):
        _wait_for_active_runs(api, found, waiting)
    _delete(api, found)
    return len(found)


def is_enabled(found: Any) -> bool:
    """Whether a V2beta1RecurringRun is enabled."""
    return found.status == _ENABLED


def as_json(found: Any) -> dict[str, Any]:
    """A V2beta1RecurringRun as a JSON object; times in ISO 8601, UTC."""
    reference, config = found.pipeline_version_reference, found.runtime_config
    expression = _cron(found)
    return {
        "schedule_id": found.recurring_run_id,
        "name": found.display_name,
        "enabled": is_enabled(found),
        "cron": expression,
        "words": expression and cron.words(expression),
        "next": [moment.isoformat() for moment in _next(found)],
        "catchup": not found.no_catchup,
        "max_concurrency": int(found.max_concurrency or 0),
        "pipeline_id": reference and reference.pipeline_id,
        "pipeline_version_id": reference and reference.pipeline_version_id,
        "parameters": dict(config.parameters or {}) if config else {},
        "pipeline_root": config and config.pipeline_root,
        "service_account": found.service_account,
    }


def _next(found: Any) -> list[datetime.datetime]:
    expression = _cron(found)
    if expression is None or not is_enabled(found):
        return []
    return cron.next_times(expression, count=_NEXT_TIMES)


def _cron(found: Any) -> str | None:
    schedule = found.trigger and found.trigger.cron_schedule
    return schedule.cron if schedule else None


def _differences(api: "Api", found: Any, desired: Desired) -> list[str]:
    """What differs, except being enabled, which doesn't require a new schedule."""
    current, planned = as_json(found), desired.schedule
    pairs = {
        "cron": (current["cron"], planned.cron),
        "catchup": (current["catchup"], planned.catchup),
        "max_concurrency": (current["max_concurrency"], planned.max_concurrency),
        "pipeline version": (current["pipeline_version_id"], desired.version.version_id),
        "parameters": (current["parameters"], dict(desired.arguments)),
        "pipeline root": (current["pipeline_root"], api.pipeline_root(desired.arguments)),
    }
    if api.section.service_account is not None:
        # If the settings name none, the server fills in its default.
        pairs["service account"] = (current["service_account"], api.section.service_account)
    return [f"{key}: {old!r}, now {new!r}" for key, (old, new) in pairs.items() if old != new]


def _create(api: "Api", desired: Desired, experiment_id: str) -> Any:
    return api.create_schedule(
        desired.name, experiment_id, desired.schedule, desired.version, desired.arguments
    )


def _switch(api: "Api", found: Any, *, enabled: bool) -> Applied:
    if is_enabled(found) == enabled:
        return Applied("unchanged", found)
    if enabled:
        api.enable(found.recurring_run_id)
    else:
        api.disable(found.recurring_run_id)
    return Applied("resumed" if enabled else "paused", api.schedule(found.recurring_run_id))


def _require_schedules(api: "Api", name: str) -> list[Any]:
    experiment_id = api.find_experiment_id()
    found = api.schedules(experiment_id, name) if experiment_id else []
    if not found:
        raise NotFoundError(
            f"there is no schedule {name!r} in experiment {api.section.experiment!r} of "
            f"{api.section.host}; create it with `outnumbered kubeflow schedule apply`"
        )
    return found


@contextlib.contextmanager
def _paused(api: "Api", schedules: Sequence[Any]) -> Iterator[None]:
    """Pauses schedules, and enables them again if the block fails."""
    paused: list[str] = []
    try:
        for schedule in schedules:
            if is_enabled(schedule):
                paused.append(schedule.recurring_run_id)
                api.disable(schedule.recurring_run_id)
        yield
    except BaseException as error:
        for schedule_id in paused:
            _enable_again(api, schedule_id, error)
        raise


def _enable_again(api: "Api", schedule_id: str, error: BaseException) -> None:
    try:
        api.enable(schedule_id)
    except KubeflowError as second:
        raise KubeflowError(
            f"{error or type(error).__name__}\nand schedule {schedule_id} is still paused: "
            f"{second}; enable it with `outnumbered kubeflow schedule resume`"
        ) from error


def _wait_for_active_runs(api: "Api", schedules: Sequence[Any], waiting: Waiting) -> None:
    if waiting.force:
        return
    began, quiet = time.monotonic(), 0
    while True:
        active = [run for found in schedules for run in _active(api, found)]
        waiting.progress(len(active))
        quiet = 0 if active else quiet + 1
        if quiet == _IDLE_POLLS:
            return
        if active and time.monotonic() - began > waiting.timeout:
            names = ", ".join(run.display_name for run in active)
            raise WaitTimeoutError(
                f"runs of the schedule have not finished after {waiting.timeout:.0f} s: {names}; "
                "the schedule is unchanged. Wait longer with --timeout, or terminate them with "
                "--force"
            )
        time.sleep(waiting.poll)


def _active(api: "Api", found: Any) -> list[Any]:
    return [run for run in api.runs_of_schedule(found.recurring_run_id) if runs.is_active(run)]


def _delete(api: "Api", schedules: Sequence[Any]) -> None:
    for found in schedules:
        try:
            api.delete(found.recurring_run_id)
        except KubeflowError as error:
            raise KubeflowError(
                f"the old schedule {found.recurring_run_id} is paused and could not be deleted: "
                f"{error}; run the same command again to delete it"
            ) from error


def _missed(stale: Sequence[Any], began: datetime.datetime) -> tuple[datetime.datetime, ...]:
    expressions = {_cron(found) for found in stale if is_enabled(found)} - {None}
    now = datetime.datetime.now(datetime.UTC)
    passed = {
        moment
        for expression in expressions
        for moment in itertools.takewhile(
            lambda moment: moment <= now,
            itertools.islice(cron.times(str(expression), began), _MAX_MISSED),
        )
    }
    return tuple(sorted(passed))
