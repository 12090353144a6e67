"""The pipeline's schedule on Kubeflow Pipelines: made as the settings say, and only if it differs.

A recurring run of Kubeflow Pipelines can be paused and deleted, not changed, and deleting it ends
its runs in flight. So a schedule that differs is replaced in this order:

1. the new version of the pipeline is uploaded;
2. the old schedule is paused: it starts nothing more;
3. its runs in flight are waited for (not with `force`);
4. the new schedule is made;
5. the old one is deleted.

No two schedules are ever on at once, so no run starts twice. Whatever goes wrong before step 5,
or interrupts it, the old schedule is switched on again. If only step 5 fails, the new schedule is
on and the old one paused, and the next apply deletes it. Times that come by between 2 and 4 are
passed over, as they would have been by `max_concurrency: 1` while a run was in flight; they are
told.
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
_MOST_MISSED = 100
# A run of the last second before the pause shows up a little later.
_QUIET_LOOKS = 2
_ENABLED = "ENABLED"


@dataclass(frozen=True)
class Wanted:
    """A schedule as the settings want it."""

    name: str
    schedule: Schedule
    version: "Version"
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Waiting:
    """How runs in flight are dealt with before a schedule is deleted.

    Attributes:
      force: end them.
      timeout: seconds to wait for them.
      poll: seconds between two looks.
      progress: called with how many there are, at each look.
    """

    force: bool = False
    timeout: float = 3600
    poll: float = 10
    progress: Callable[[int], None] = lambda count: None


@dataclass(frozen=True)
class Applied:
    """What an apply did.

    Attributes:
      action: unchanged, created, replaced, resumed or paused.
      found: the schedule as it is now, a V2beta1RecurringRun.
      differences: what differed before, such as "cron: '0 0 3 * * *', now '0 0 4 * * *'".
      missed: times that came by while runs in flight were waited for.
    """

    action: str
    found: Any
    differences: tuple[str, ...] = ()
    missed: tuple[datetime.datetime, ...] = ()


def apply(api: "Api", wanted: Wanted, experiment_id: str, waiting: Waiting) -> Applied:
    """Makes the schedule as wanted; does nothing where it already is.

    Raises:
      WaitTimeoutError: runs in flight did not end in time; the schedule is as it was.
      KubeflowError: the server did not do what it was asked; the schedule is as it was, unless
        the message says otherwise.
    """
    existing = api.schedules(experiment_id, wanted.name)
    differing = [_differences(api, found, wanted) for found in existing]
    kept = next((i for i, differs in enumerate(differing) if not differs), None)
    stale = [found for i, found in enumerate(existing) if i != kept]
    if not existing:
        return Applied("created", _create(api, wanted, experiment_id))
    if not stale:
        return _switch(api, existing[0], enabled=wanted.schedule.enabled)
    if kept is not None:
        with _paused(api, stale):
            _settle(api, stale, waiting)
        _delete(api, stale)
        left = _switch(api, existing[kept], enabled=wanted.schedule.enabled)
        return Applied("replaced", left.found, ("there was another of that name",))
    began = datetime.datetime.now(datetime.UTC)
    with _paused(api, stale):
        _settle(api, stale, waiting)
        made = _create(api, wanted, experiment_id)
    _delete(api, stale)
    return Applied("replaced", made, tuple(differing[0]), _missed(stale, began))


def pause(api: "Api", name: str) -> Applied:
    """Keeps the schedule from starting runs; a run in flight goes on.

    Raises:
      NotFoundError: there is none of that name.
    """
    newest, *others = _one_or_more(api, name)
    for schedule in others:
        _switch(api, schedule, enabled=False)
    return _switch(api, newest, enabled=False)


def resume(api: "Api", name: str) -> Applied:
    """Lets the newest schedule of that name start runs again.

    Raises:
      NotFoundError: there is none of that name.
    """
    return _switch(api, _one_or_more(api, name)[0], enabled=True)


def delete(api: "Api", name: str, waiting: Waiting) -> int:
    """Deletes the schedule, when its runs in flight have ended.

    Returns:
      How many there were of that name.

    Raises:
      NotFoundError: there is none of that name.
      WaitTimeoutError: runs in flight did not end in time; the schedule is as it was.
    """
    found = _one_or_more(api, name)
    with _paused(api, found):
        _settle(api, found, waiting)
    _delete(api, found)
    return len(found)


def is_enabled(found: Any) -> bool:
    """Whether a V2beta1RecurringRun starts runs."""
    return found.status == _ENABLED


def as_json(found: Any) -> dict[str, Any]:
    """A V2beta1RecurringRun as an object for a program; times in ISO 8601, UTC."""
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


def _differences(api: "Api", found: Any, wanted: Wanted) -> list[str]:
    """What differs, but for whether it is enabled: that alone needs no new schedule."""
    is_now, asked = as_json(found), wanted.schedule
    pairs = {
        "cron": (is_now["cron"], asked.cron),
        "catchup": (is_now["catchup"], asked.catchup),
        "max_concurrency": (is_now["max_concurrency"], asked.max_concurrency),
        "pipeline version": (is_now["pipeline_version_id"], wanted.version.version_id),
        "parameters": (is_now["parameters"], dict(wanted.arguments)),
        "pipeline root": (is_now["pipeline_root"], api.pipeline_root(wanted.arguments)),
    }
    if api.section.service_account is not None:
        # Where the settings name none, the server fills in one of its own.
        pairs["service account"] = (is_now["service_account"], api.section.service_account)
    return [f"{key}: {old!r}, now {new!r}" for key, (old, new) in pairs.items() if old != new]


def _create(api: "Api", wanted: Wanted, experiment_id: str) -> Any:
    return api.create_schedule(
        wanted.name, experiment_id, wanted.schedule, wanted.version, wanted.arguments
    )


def _switch(api: "Api", found: Any, *, enabled: bool) -> Applied:
    if is_enabled(found) == enabled:
        return Applied("unchanged", found)
    if enabled:
        api.enable(found.recurring_run_id)
    else:
        api.disable(found.recurring_run_id)
    return Applied("resumed" if enabled else "paused", api.schedule(found.recurring_run_id))


def _one_or_more(api: "Api", name: str) -> list[Any]:
    experiment_id = api.find_experiment_id()
    found = api.schedules(experiment_id, name) if experiment_id else []
    if not found:
        raise NotFoundError(
            f"there is no schedule {name!r} in experiment {api.section.experiment!r} of "
            f"{api.section.host}; make it with `outnumbered kubeflow schedule apply`"
        )
    return found


@contextlib.contextmanager
def _paused(api: "Api", schedules: Sequence[Any]) -> Iterator[None]:
    """Pauses schedules, and switches them on again if what is done inside fails."""
    paused: list[str] = []
    try:
        for schedule in schedules:
            if is_enabled(schedule):
                paused.append(schedule.recurring_run_id)
                api.disable(schedule.recurring_run_id)
        yield
    except BaseException as error:
        for schedule_id in paused:
            _switch_on_again(api, schedule_id, error)
        raise


def _switch_on_again(api: "Api", schedule_id: str, error: BaseException) -> None:
    try:
        api.enable(schedule_id)
    except KubeflowError as second:
        raise KubeflowError(
            f"{error or type(error).__name__}\nand schedule {schedule_id} is still paused: "
            f"{second}; switch it on with `outnumbered kubeflow schedule resume`"
        ) from error


def _settle(api: "Api", schedules: Sequence[Any], waiting: Waiting) -> None:
    if waiting.force:
        return
    began, quiet = time.monotonic(), 0
    while True:
        active = [run for found in schedules for run in _active(api, found)]
        waiting.progress(len(active))
        quiet = 0 if active else quiet + 1
        if quiet == _QUIET_LOOKS:
            return
        if active and time.monotonic() - began > waiting.timeout:
            names = ", ".join(run.display_name for run in active)
            raise WaitTimeoutError(
                f"runs of the schedule still go on after {waiting.timeout:.0f} s: {names}; the "
                "schedule is left as it was. Wait longer with --timeout, or end them with --force"
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
                f"{error}; the same command again deletes it"
            ) from error


def _missed(stale: Sequence[Any], began: datetime.datetime) -> tuple[datetime.datetime, ...]:
    expressions = {_cron(found) for found in stale if is_enabled(found)} - {None}
    now = datetime.datetime.now(datetime.UTC)
    passed = {
        moment
        for expression in expressions
        for moment in itertools.takewhile(
            lambda moment: moment <= now,
            itertools.islice(cron.times(str(expression), began), _MOST_MISSED),
        )
    }
    return tuple(sorted(passed))
