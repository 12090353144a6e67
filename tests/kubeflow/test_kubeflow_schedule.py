"""A schedule is created once, as in the settings, and replaced without terminating runs."""

import datetime

import pytest
from kfp_samples import section, write_package
from kfp_server import KfpServer

from pipeline.kubeflow import package, schedule, transport
from pipeline.kubeflow.client import connect
from pipeline.kubeflow.errors import KubeflowError, NotFoundError, WaitTimeoutError
from pipeline.kubeflow.schedule import Waiting
from pipeline.kubeflow.settings import Schedule

NAME = "cats-vs-dogs"
CRON = "0 0 3 * * *"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_BACKOFF_SECONDS", 0)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[package.Package]:
    """Two versions of one pipeline."""
    folder = tmp_path_factory.mktemp("packages")
    return [
        package.read(write_package(folder / f"{message}.yaml", message=message))
        for message in ("hello", "bye")
    ]


class Cluster:
    """A server and its schedules."""

    def __init__(self, server: KfpServer, packages: list[package.Package]) -> None:
        self.server = server
        self.packages = packages

    def api(self, **more: object):
        return connect(section(self.server.url, **more))

    def apply(self, *, version=0, arguments=None, waiting=None, more=None, **planned):
        api = self.api(**(more or {}))
        desired = schedule.Desired(
            NAME,
            Schedule.model_validate({"cron": CRON, **planned}),
            api.ensure_version(self.packages[version])[0],
            arguments or {},
        )
        return schedule.apply(api, desired, api.experiment_id(), waiting or Waiting(poll=0.01))

    def schedules(self) -> list[dict]:
        return self.server.all("recurringruns")

    def the_schedule(self) -> dict:
        (one,) = self.schedules()
        return one

    def active_run(self, *states: str) -> dict:
        """A run that the schedule starts now, with its successive states."""
        self.server.states = list(states)
        return self.server.tick(self.the_schedule()["recurring_run_id"])

    def changes(self) -> list[str]:
        """The requests for schedules other than reads, in order."""
        return [
            f"{request.method} {request.path.rpartition(':')[2].rpartition('/')[2]}"
            for request in self.server.requests
            if request.method != "GET" and "/recurringruns" in request.path
        ]


@pytest.fixture
def cluster(packages):
    with KfpServer() as server:
        yield Cluster(server, packages)


def test_a_schedule_runs_a_pipeline_with_an_exit_handler(tmp_path):
    handled = package.read(write_package(tmp_path / "handled.yaml", in_exit_handler=True))
    with KfpServer() as server:
        cluster = Cluster(server, [handled])
        assert cluster.apply(arguments={"epochs": 3}).action == "created"
        assert cluster.apply(arguments={"epochs": 3}).action == "unchanged"
        run = cluster.active_run("SUCCEEDED")
    assert run["runtime_config"]["parameters"] == {"epochs": 3}
    assert handled.parameters["epochs"] == "NUMBER_INTEGER"


def test_the_first_apply_creates_it(cluster):
    applied = cluster.apply(arguments={"epochs": 3}, more={"service_account": "trainer"})
    assert applied.action == "created"
    made = cluster.the_schedule()
    assert made["trigger"] == {"cron_schedule": {"cron": CRON}}
    assert made["max_concurrency"] == "1"
    assert made["no_catchup"] is True
    assert made["mode"] == "ENABLE"
    assert made["service_account"] == "trainer"
    assert made["runtime_config"] == {
        "parameters": {"epochs": 3},
        "pipeline_root": "s3://bucket/outnumbered",
    }


def test_the_second_apply_does_nothing(cluster):
    more = {"service_account": "trainer"}
    cluster.apply(arguments={"epochs": 3, "learning_rate": 1}, more=more)
    before = len(cluster.changes())
    applied = cluster.apply(arguments={"epochs": 3, "learning_rate": 1.0}, more=more)
    assert (applied.action, applied.differences) == ("unchanged", ())
    assert len(cluster.changes()) == before
    assert len(cluster.server.all("versions")) == 1


def test_an_account_that_the_server_chose_is_no_difference(cluster):
    cluster.apply()
    assert cluster.the_schedule()["service_account"] == "pipeline-runner"
    assert cluster.apply().action == "unchanged"


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"cron": "0 0 4 * * *"}, "cron: '0 0 3 * * *', now '0 0 4 * * *'"),
        ({"catchup": True}, "catchup: False, now True"),
        ({"arguments": {"epochs": 9}}, "parameters: {}, now {'epochs': 9}"),
        ({"version": 1}, "pipeline version: "),
        (
            {"more": {"pipeline_root": "gs://other/root"}},
            "pipeline root: 's3://bucket/outnumbered', now 'gs://other/root'",
        ),
        (
            {"more": {"service_account": "other"}},
            "service account: 'pipeline-runner', now 'other'",
        ),
    ],
)
def test_each_difference_replaces_it_and_is_reported(cluster, change, difference):
    first = cluster.apply().found.recurring_run_id
    applied = cluster.apply(**change)
    assert applied.action == "replaced"
    assert len(applied.differences) == 1
    assert applied.differences[0].startswith(difference)
    assert cluster.the_schedule()["recurring_run_id"] != first
    assert cluster.apply(**change).action == "unchanged"


def test_the_old_one_is_paused_before_the_new_one_is_created_then_deleted(cluster):
    old = cluster.apply().found.recurring_run_id
    cluster.apply(cron="0 0 4 * * *")
    assert cluster.changes()[1:] == ["POST disable", "POST recurringruns", f"DELETE {old}"]


def test_a_paused_schedule_needs_no_replacement(cluster):
    first = cluster.apply().found.recurring_run_id
    assert cluster.apply(enabled=False).action == "paused"
    assert cluster.the_schedule()["mode"] == "DISABLE"
    assert cluster.apply(enabled=False).action == "unchanged"
    assert cluster.apply().action == "resumed"
    assert cluster.the_schedule()["recurring_run_id"] == first


def test_an_active_run_is_waited_for(cluster):
    cluster.apply()
    run = cluster.active_run("RUNNING", "RUNNING", "SUCCEEDED")
    seen: list[int] = []
    applied = cluster.apply(cron="0 0 4 * * *", waiting=Waiting(poll=0.01, progress=seen.append))
    assert applied.action == "replaced"
    assert run["state"] == "SUCCEEDED"
    assert seen == [1, 1, 1, 0, 0]


def test_a_run_that_is_listed_late_is_waited_for(cluster):
    cluster.apply()
    late: list[dict] = []

    def progress(count: int) -> None:
        # It was started just before the pause, and is listed only now.
        if not late:
            old = cluster.the_schedule()
            old["mode"] = "ENABLE"
            late.append(cluster.active_run("RUNNING", "SUCCEEDED"))
            old["mode"] = "DISABLE"

    cluster.apply(cron="0 0 4 * * *", waiting=Waiting(poll=0.01, progress=progress))
    assert late[0]["state"] == "SUCCEEDED"


def test_force_terminates_an_active_run(cluster):
    cluster.apply()
    run = cluster.active_run("RUNNING")
    assert cluster.apply(cron="0 0 4 * * *", waiting=Waiting(force=True)).action == "replaced"
    assert run["state"] == "CANCELED"


def test_a_run_that_does_not_finish_in_time_leaves_the_schedule_unchanged(cluster):
    first = cluster.apply().found.recurring_run_id
    run = cluster.active_run("RUNNING")
    with pytest.raises(WaitTimeoutError, match=rf"{run['display_name']}.*--timeout.*--force"):
        cluster.apply(cron="0 0 4 * * *", waiting=Waiting(timeout=0, poll=0.01))
    still = cluster.the_schedule()
    assert (still["recurring_run_id"], still["mode"]) == (first, "ENABLE")
    assert still["trigger"] == {"cron_schedule": {"cron": CRON}}
    assert run["state"] == "RUNNING"


def test_if_the_new_one_can_t_be_created_the_old_one_stays_enabled(cluster):
    first = cluster.apply().found.recurring_run_id
    cluster.server.fail(500, method="POST", path="/recurringruns")
    with pytest.raises(KubeflowError, match="500"):
        cluster.apply(cron="0 0 4 * * *")
    still = cluster.the_schedule()
    assert (still["recurring_run_id"], still["mode"]) == (first, "ENABLE")


def test_a_schedule_that_was_paused_stays_paused_when_its_replacement_fails(cluster):
    cluster.apply(enabled=False)
    cluster.server.fail(500, method="POST", path="/recurringruns")
    with pytest.raises(KubeflowError):
        cluster.apply(cron="0 0 4 * * *")
    assert cluster.the_schedule()["mode"] == "DISABLE"


def test_an_old_one_that_can_t_be_enabled_again_is_reported(cluster):
    first = cluster.apply().found.recurring_run_id
    cluster.server.fail(500, method="POST", path="/recurringruns")
    cluster.server.fail(403, method="POST", path="/recurringruns/.+:enable")
    with pytest.raises(KubeflowError, match=rf"500[\s\S]*{first} is still paused.*403"):
        cluster.apply(cron="0 0 4 * * *")


def test_after_an_interrupted_apply_the_old_one_is_enabled(cluster):
    cluster.apply()
    cluster.active_run("RUNNING")

    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cluster.apply(cron="0 0 4 * * *", waiting=Waiting(progress=interrupt))
    assert cluster.the_schedule()["mode"] == "ENABLE"


def test_an_old_one_that_could_not_be_deleted_is_deleted_by_the_next_apply(cluster):
    first = cluster.apply().found.recurring_run_id
    cluster.server.fail(403, method="DELETE")
    with pytest.raises(KubeflowError, match=f"old schedule {first} is paused.*again to delete it"):
        cluster.apply(cron="0 0 4 * * *")
    assert sorted(one["mode"] for one in cluster.schedules()) == ["DISABLE", "ENABLE"]
    applied = cluster.apply(cron="0 0 4 * * *")
    assert applied.action == "replaced"
    left = cluster.the_schedule()
    assert left["trigger"] == {"cron_schedule": {"cron": "0 0 4 * * *"}}
    assert left["mode"] == "ENABLE"
    assert cluster.apply(cron="0 0 4 * * *").action == "unchanged"


def test_two_schedules_are_never_enabled_at_once(cluster, monkeypatch):
    most: list[int] = []
    answer = cluster.server.answer

    def watched(request):
        result = answer(request)
        most.append(sum(one["mode"] == "ENABLE" for one in cluster.schedules()))
        return result

    monkeypatch.setattr(cluster.server, "answer", watched)
    cluster.apply()
    cluster.apply(cron="0 0 4 * * *")
    cluster.server.fail(500, method="POST", path="/recurringruns")
    with pytest.raises(KubeflowError):
        cluster.apply(cron="0 0 5 * * *")
    assert max(most) == 1


def test_times_skipped_while_waiting_are_reported(cluster):
    cluster.apply(cron="* * * * * *")
    run = cluster.active_run("RUNNING")
    began = datetime.datetime.now(datetime.UTC)

    def progress(count: int) -> None:
        if datetime.datetime.now(datetime.UTC) - began > datetime.timedelta(seconds=1.1):
            cluster.server.set_state(run["run_id"], "SUCCEEDED")

    applied = cluster.apply(waiting=Waiting(poll=0.05, progress=progress))
    assert applied.missed
    assert all(began <= moment for moment in applied.missed)


def test_overlap_is_rejected(cluster):
    cluster.apply()
    assert cluster.active_run("RUNNING") is not None
    assert cluster.active_run("RUNNING") is None


def test_schedules_of_other_names_are_unchanged(cluster):
    cluster.apply()
    other = {**cluster.the_schedule(), "display_name": "other", "recurring_run_id": "1"}
    cluster.server._stored["recurringruns"]["1"] = other
    cluster.apply(cron="0 0 4 * * *")
    assert "other" in [one["display_name"] for one in cluster.schedules()]


def test_pause_and_resume(cluster):
    cluster.apply()
    run = cluster.active_run("RUNNING")
    assert schedule.pause(cluster.api(), NAME).action == "paused"
    assert cluster.the_schedule()["mode"] == "DISABLE"
    assert run["state"] == "PENDING"
    assert schedule.pause(cluster.api(), NAME).action == "unchanged"
    assert schedule.resume(cluster.api(), NAME).action == "resumed"
    assert cluster.the_schedule()["mode"] == "ENABLE"


def test_delete_waits_for_active_runs(cluster):
    cluster.apply()
    run = cluster.active_run("RUNNING", "SUCCEEDED")
    assert schedule.delete(cluster.api(), NAME, Waiting(poll=0.01)) == 1
    assert cluster.schedules() == []
    assert run["state"] == "SUCCEEDED"


def test_a_delete_that_waits_too_long_deletes_nothing(cluster):
    cluster.apply()
    cluster.active_run("RUNNING")
    with pytest.raises(WaitTimeoutError):
        schedule.delete(cluster.api(), NAME, Waiting(timeout=0, poll=0.01))
    assert cluster.the_schedule()["mode"] == "ENABLE"


@pytest.mark.parametrize("made_once", [False, True])
def test_a_missing_schedule_can_t_be_paused_resumed_or_deleted(cluster, made_once):
    if made_once:
        cluster.api().experiment_id()
    for act in (schedule.pause, schedule.resume, schedule.delete):
        waiting = [Waiting()] if act is schedule.delete else []
        with pytest.raises(NotFoundError, match=r"no schedule 'cats-vs-dogs'.*schedule apply"):
            act(cluster.api(), NAME, *waiting)
