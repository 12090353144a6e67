"""Each alert fires when it should and not otherwise, by evaluating the rules over series.

`rule_evaluation` evaluates them here, and Prometheus' own `promtool` too where it is installed:
    go install -tags remove_all_sd github.com/prometheus/prometheus/cmd/promtool@latest
"""

import copy
import os
import re
import shutil
import subprocess
from pathlib import Path

import promql_parser
import pytest
import yaml
from cluster_objects import DEPLOY
from rule_evaluation import differences, needed, seconds

INTERVAL_MINUTES = 5
HOUR, DAY = 60 // INTERVAL_MINUTES, 24 * 60 // INTERVAL_MINUTES
PHASES = ("Pending", "Running", "Succeeded", "Failed")
NAMESPACE = 'namespace="kubeflow"'
RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook.md"

GROUPS = yaml.safe_load((DEPLOY / "monitoring" / "prometheus-rule.yaml").read_text())["spec"][
    "groups"
]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}


def series(name, labels, *stages):
    """A series of promtool; each stage is a value, `_` for none, and how often it stands."""
    values = " ".join(f"{value}x{count - 1}" for value, count in stages if count)
    return {"series": f"{name}{{{NAMESPACE}, {labels}}}", "values": values}


def counter(name, labels, per_interval, count):
    return {
        "series": f"{name}{{{NAMESPACE}, {labels}}}",
        "values": f"0+{per_interval}x{count}",
    }


def pod(name, run, step, *stages, start=0):
    """What kube-state-metrics says of a pod: its phases, how long each lasts, until it is gone."""
    length = sum(count for _, count in stages)
    found = [
        series(
            "kube_pod_status_phase",
            f'pod="{name}", phase="{phase}"',
            ("_", start),
            *((int(phase == now), count) for now, count in stages),
        )
        for phase in PHASES
    ]
    owner = f'pod="{name}", owner_kind="Workflow", owner_name="{run}"'
    found.append(series("kube_pod_owner", owner, ("_", start), (1, length)))
    if step:
        labels = f'pod="{name}", label_outnumbered_step="{step}"'
        found.append(series("kube_pod_labels", labels, ("_", start), (1, length)))
    ended = length - stages[-1][1]
    if stages[-1][0] in {"Succeeded", "Failed"}:
        at = (start + ended) * INTERVAL_MINUTES * 60
        found.append(
            series(
                "kube_pod_completion_time",
                f'pod="{name}"',
                ("_", start + ended),
                (at, stages[-1][1]),
            )
        )
    return found


def daily_run(day, *, succeeds):
    """A run of a Trainer and, if that succeeds, a Reporter, whose pods are kept for a day."""
    run, start = f"cats-vs-dogs-{day}", day * DAY
    if not succeeds:
        return pod(f"{run}-1", run, "Trainer", ("Running", 6), ("Failed", DAY - 6), start=start)
    return [
        *pod(f"{run}-1", run, "Trainer", ("Running", 6), ("Succeeded", DAY - 6), start=start),
        *pod(f"{run}-2", run, "Reporter", ("Running", 2), ("Succeeded", DAY), start=start + 6),
    ]


def requests(failing_percent, count=8 * HOUR):
    name = "outnumbered_gateway_requests_total"
    return [
        counter(name, 'route="predict", status="200"', (100 - failing_percent) * 10, count),
        counter(name, 'route="predict", status="503"', failing_percent * 10, count),
    ]


def images(refused_percent, count=4 * HOUR):
    refused, judged = (
        "outnumbered_gateway_refused_images_total",
        "outnumbered_gateway_verdicts_total",
    )
    return [
        counter(refused, 'reason="unreadable"', refused_percent, count),
        counter(judged, 'verdict="positive"', 100 - refused_percent, count),
    ]


def latency(fast_percent):
    name = "outnumbered_gateway_request_seconds_bucket"
    return [
        counter(name, 'le="2.0"', fast_percent, HOUR),
        counter(name, 'le="5.0"', 100, HOUR),
        counter(name, 'le="+Inf"', 100, HOUR),
    ]


def replicas(*stages):
    labels = 'deployment="outnumbered-serving"'
    return [series("kube_deployment_status_replicas_available", labels, *stages)]


def version(*stages):
    return [series("outnumbered_gateway_model_version", 'pod="server"', *stages)]


def pointed(pod, at, served, *faults):
    """What the gateway of a pod says of the registry's version and the served one."""
    labels = f'pod="{pod}"'
    return [
        series("outnumbered_gateway_registry_version", labels, *at),
        series("outnumbered_gateway_model_version", labels, *served),
        *(
            series("outnumbered_gateway_registry_fault", f'{labels}, reason="{reason}"', *stages)
            for reason, *stages in faults
        ),
    ]


DAMAGED = ("refused", (0, HOUR), (1, HOUR))
INTACT = ("refused", (0, 2 * HOUR))
RUN = "cats-vs-dogs-a"
FAILED_TRAINER = pod("a-1", RUN, "Trainer", ("Running", 6), ("Failed", DAY))
OF_TRAINER = {"namespace": "kubeflow", "owner_name": RUN, "label_outnumbered_step": "Trainer"}
RETRY = pod("a-2", RUN, "Trainer", ("Pending", 1), ("Running", 6), ("Succeeded", DAY), start=8)
OF_NAMESPACE = {"namespace": "kubeflow"}

# Alerts on rates over five minutes, of which a series must have more than one sample.
OF_MINUTES = {"OutnumberedRequestsFail"}

# Alert, case, series, time, and the labels of what fires; none: it doesn't fire.
CASES = [
    ("OutnumberedStepFailed", "a step failed", FAILED_TRAINER, "45m", [OF_TRAINER]),
    (
        "OutnumberedStepFailed",
        "it is being tried again",
        FAILED_TRAINER + RETRY,
        "1h",
        [OF_TRAINER],
    ),
    ("OutnumberedStepFailed", "it was tried again, successfully", FAILED_TRAINER + RETRY, "2h", []),
    (
        "OutnumberedStepFailed",
        "another step succeeded later",
        FAILED_TRAINER + pod("a-3", RUN, "Evaluator", ("Running", 9), ("Succeeded", DAY)),
        "2h",
        [OF_TRAINER],
    ),
    (
        "OutnumberedStepFailed",
        "the same step of another run succeeded later",
        FAILED_TRAINER + pod("b-1", f"{RUN}b", "Trainer", ("Running", 9), ("Succeeded", DAY)),
        "2h",
        [OF_TRAINER],
    ),
    (
        "OutnumberedStepFailed",
        "a step of another pipeline failed",
        pod("c-1", "study-a", "Trainer", ("Failed", DAY)),
        "2h",
        [],
    ),
    ("OutnumberedRunMissing", "there was never a run", [], "2h", [{}]),
    ("OutnumberedRunMissing", "the last run succeeded", daily_run(0, succeeds=True), "25h", []),
    ("OutnumberedRunMissing", "the next is a little late", daily_run(0, succeeds=True), "27h", []),
    ("OutnumberedRunMissing", "there was none since", daily_run(0, succeeds=True), "28h", [{}]),
    (
        "OutnumberedRunMissing",
        "runs end without success",
        daily_run(0, succeeds=True) + daily_run(1, succeeds=False) + daily_run(2, succeeds=False),
        "60h",
        [{}],
    ),
    (
        "OutnumberedRunMissing",
        "a run succeeded again",
        daily_run(0, succeeds=False) + daily_run(1, succeeds=True),
        "40h",
        [],
    ),
    (
        "OutnumberedRunsFail",
        "two of the last six failed",
        [one for day in range(6) for one in daily_run(day, succeeds=day < 4)],
        "143h",
        [OF_NAMESPACE],
    ),
    (
        "OutnumberedRunsFail",
        "one of six failed",
        [one for day in range(6) for one in daily_run(day, succeeds=day < 5)],
        "143h",
        [],
    ),
    (
        "OutnumberedRunsFail",
        "two failed, and three succeeded since",
        [one for day in range(6) for one in daily_run(day, succeeds=day not in {0, 1})],
        "143h",
        [],
    ),
    (
        "OutnumberedRunsFail",
        "a run succeeded after it had waited two hours for a retry",
        FAILED_TRAINER + pod("a-9", RUN, "Reporter", ("Succeeded", DAY), start=3 * HOUR),
        "4h",
        [],
    ),
    (
        "OutnumberedStepsUnlabelled",
        "no pod of a run has the label",
        pod("a-1", RUN, None, ("Running", DAY)),
        "2h",
        [{}],
    ),
    (
        "OutnumberedStepsUnlabelled",
        "no pod has it yet",
        pod("a-1", RUN, None, ("Running", DAY)),
        "55m",
        [],
    ),
    (
        "OutnumberedStepsUnlabelled",
        "drivers have none, steps have it",
        pod("a-0", RUN, None, ("Succeeded", DAY)) + pod("a-1", RUN, "Trainer", ("Running", DAY)),
        "2h",
        [],
    ),
    ("OutnumberedModelNotServed", "no server is ready", replicas((2, 6), (0, 12)), "1h", [{}]),
    ("OutnumberedModelNotServed", "one is", replicas((2, 6), (1, 12)), "1h", []),
    ("OutnumberedModelNotServed", "one was back soon", replicas((2, 6), (0, 1), (2, 9)), "30m", []),
    (
        "OutnumberedVersionRefused",
        "one of two pods found a damaged file",
        pointed("a", [(7, 2 * HOUR)], [(6, 2 * HOUR)], DAMAGED, ("rules", (0, 2 * HOUR)))
        + pointed("b", [(7, 2 * HOUR)], [(7, 2 * HOUR)], INTACT),
        "90m",
        [{**OF_NAMESPACE, "reason": "refused"}],
    ),
    (
        "OutnumberedVersionRefused",
        "it did just now",
        pointed("a", [(7, 2 * HOUR)], [(6, 2 * HOUR)], DAMAGED),
        "65m",
        [],
    ),
    (
        "OutnumberedVersionRefused",
        "it is intact",
        pointed("a", [(7, 2 * HOUR)], [(7, 2 * HOUR)], INTACT),
        "90m",
        [],
    ),
    (
        "OutnumberedVersionNotSwitched",
        "one of two pods serves another version",
        pointed("a", [(6, HOUR), (7, HOUR)], [(6, 2 * HOUR)], INTACT)
        + pointed("b", [(6, HOUR), (7, HOUR)], [(6, HOUR), (7, HOUR)], INTACT),
        "90m",
        [OF_NAMESPACE],
    ),
    (
        "OutnumberedVersionNotSwitched",
        "it has not had the time",
        pointed("a", [(6, HOUR), (7, HOUR)], [(6, 2 * HOUR)], INTACT),
        "70m",
        [],
    ),
    (
        "OutnumberedVersionNotSwitched",
        "a rollback was followed",
        pointed("a", [(7, HOUR), (6, HOUR)], [(7, HOUR), (6, HOUR)], INTACT),
        "90m",
        [],
    ),
    (
        "OutnumberedVersionNotSwitched",
        "a rollback was not followed",
        pointed("a", [(7, HOUR), (6, HOUR)], [(7, 2 * HOUR)], INTACT),
        "90m",
        [OF_NAMESPACE],
    ),
    (
        "OutnumberedVersionNotSwitched",
        "the version is damaged, which is another alert",
        pointed("a", [(6, HOUR), (7, HOUR)], [(6, 2 * HOUR)], DAMAGED),
        "90m",
        [],
    ),
    (
        "OutnumberedVersionNotSwitched",
        "the registry has no version yet",
        pointed("a", [(0, 2 * HOUR)], [(0, 2 * HOUR)], INTACT),
        "90m",
        [],
    ),
    ("OutnumberedModelOld", "nine days old", version((3, 9 * DAY)), "8d", [OF_NAMESPACE]),
    ("OutnumberedModelOld", "first served four days ago", version((3, 4 * DAY)), "95h", []),
    ("OutnumberedModelOld", "seven days and two hours old", version((3, 9 * DAY)), "170h", []),
    ("OutnumberedModelOld", "new since", version((3, 8 * DAY), (4, DAY)), "202h", []),
    ("OutnumberedRequestsFail", "a tenth fails", requests(10), "80m", [OF_NAMESPACE]),
    ("OutnumberedRequestsFail", "a hundredth fails", requests(1), "80m", []),
    ("OutnumberedRequestsFail", "nobody asks", requests(0, 1), "80m", []),
    ("OutnumberedRequestsFailSlowly", "4 % fail for hours", requests(4), "7h", [OF_NAMESPACE]),
    ("OutnumberedRequestsFailSlowly", "a hundredth fails", requests(1), "7h", []),
    ("OutnumberedImagesRefused", "a tenth is refused", images(10), "3h", [{}]),
    ("OutnumberedImagesRefused", "a tenth is refused, not yet for long", images(10), "1h", []),
    ("OutnumberedImagesRefused", "a hundredth is refused", images(1), "3h", []),
    ("OutnumberedRequestsSlow", "two in a hundred are slow", latency(98), "30m", [{}]),
    ("OutnumberedRequestsSlow", "two in a hundred are, not yet for long", latency(98), "10m", []),
    ("OutnumberedRequestsSlow", "one in two hundred is", latency(99.5), "30m", []),
]


# An alert, a rule that it reads or the alert itself, a part of that, and what replaces the part.
MUTATIONS = [
    ("StepFailed", "outnumbered:run_pod", '=~"cats-vs-dogs.+"', '=~".+"'),
    ("StepsUnlabelled", "outnumbered:step_pod", 'step!=""', 'step=""'),
    ("StepFailed", "outnumbered:step_pod", "max by (namespace, pod, label", "max by (pod, label"),
    ("RunsFail", "outnumbered:run_succeeded", '"Succeeded"', '"Failed"'),
    ("RunsFail", "outnumbered:runs_failed:share2d", "[2d]", "[7d]"),
    ("ModelOld", "outnumbered:model_is_old", "offset 7d", "offset 3d"),
    ("RequestsFail", "outnumbered:requests_failed:share5m", "sum by (namespace)", "sum"),
    ("RequestsFail", "outnumbered:requests_failed:share1h", '"5.."', '"4.."'),
    ("StepFailed", "OutnumberedStepFailed", "(namespace, owner_name, label", "(namespace, label"),
    ("StepFailed", "OutnumberedStepFailed", "unless on (namespace, owner_name,", "unless on ("),
    ("RunMissing", "OutnumberedRunMissing", "26 * 3600", "29 * 3600"),
    ("RunsFail", "OutnumberedRunsFail", "3 * 0.10", "1 * 0.10"),
    ("StepsUnlabelled", "OutnumberedStepsUnlabelled", "unless on ()", "and on ()"),
    ("ModelNotServed", "OutnumberedModelNotServed", "> 0", "> 1"),
    ("VersionRefused", "OutnumberedVersionRefused", "max by (namespace, reason)", "max"),
    ("VersionNotSwitched", "OutnumberedVersionNotSwitched", "!=", ">"),
    ("VersionNotSwitched", "OutnumberedVersionNotSwitched", "> 0) != ", ">= 0) == "),
    ("VersionNotSwitched", "OutnumberedVersionNotSwitched", "unless on", "and on"),
    ("ModelOld", "OutnumberedModelOld", "[1d]", "[1h]"),
    ("RequestsFail", "OutnumberedRequestsFail", "14.4 * 0.005", "24 * 0.005"),
    ("RequestsFailSlowly", "OutnumberedRequestsFailSlowly", "6 * 0.005", "1 * 0.005"),
    ("ImagesRefused", "OutnumberedImagesRefused", "0.05", "0.005"),
    ("RequestsSlow", "OutnumberedRequestsSlow", "0.99", "0.999"),
    *(
        (alert.removeprefix("Outnumbered"), alert, f"for: {rule['for']}", "")
        for alert, rule in ALERTS.items()
        if "for" in rule
    ),
]


@pytest.fixture(scope="session")
def promtool():
    """The path of promtool; skips the test where there is none."""
    places = [os.environ.get("GOBIN", ""), str(Path.home() / "go" / "bin")]
    path = os.pathsep.join([os.environ.get("PATH", ""), *filter(None, places)])
    found = shutil.which("promtool", path=path)
    if found is None:
        pytest.skip("no promtool on the PATH, in GOBIN or in ~/go/bin")
    return found


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


def bare(groups):
    """Rules without annotations, which promtool would compare too."""
    groups = copy.deepcopy(groups)
    for group in groups:
        for rule in group["rules"]:
            rule.pop("annotations", None)
    return groups


def replaced(name, old, new):
    """The rules, with a part of one replaced wherever it is in the rule's YAML."""
    groups = bare(GROUPS)
    for group in groups:
        for index, rule in enumerate(group["rules"]):
            if name in {rule.get("record"), rule.get("alert")}:
                text = yaml.safe_dump(rule, width=1_000)
                assert old in text
                group["rules"][index] = yaml.safe_load(text.replace(old, new))
    return groups


def document(alert):
    """The cases of an alert as a test of promtool, but for the names of its files of rules."""
    return {
        "evaluation_interval": f"{INTERVAL_MINUTES}m",
        "tests": [
            {
                "name": name,
                "interval": "1m" if alert in OF_MINUTES else f"{INTERVAL_MINUTES}m",
                "input_series": given,
                "alert_rule_test": [
                    {
                        "eval_time": time,
                        "alertname": alert,
                        "exp_alerts": [
                            {"exp_labels": {**ALERTS[alert]["labels"], **one}} for one in fires
                        ],
                    }
                ],
            }
            for of, name, given, time, fires in CASES
            if of == alert
        ],
    }


def by_promtool(promtool, folder, groups, alert):
    """The result of promtool, whose status says whether an alert fires as its cases expect."""
    groups = needed(groups, alert)
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    order = [group["name"] for group in groups]
    test = {"rule_files": ["rules.yaml"], "group_eval_order": order, **document(alert)}
    (folder / "test.yaml").write_text(yaml.safe_dump(test))
    return run(promtool, "test", "rules", str(folder / "test.yaml"))


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_an_alert_fires_when_it_should_and_only_then(alert):
    assert differences(bare(GROUPS), document(alert)) == []


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_promtool_finds_that_an_alert_fires_when_it_should(promtool, tmp_path, alert):
    result = by_promtool(promtool, tmp_path, bare(GROUPS), alert)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(("alert", "name", "old", "new"), MUTATIONS)
def test_the_cases_notice_a_changed_rule(alert, name, old, new):
    alert = f"Outnumbered{alert}"
    assert differences(replaced(name, old, new), document(alert))


@pytest.mark.parametrize(("alert", "name", "old", "new"), MUTATIONS)
def test_promtool_notices_a_changed_rule_too(promtool, tmp_path, alert, name, old, new):
    groups, alert = replaced(name, old, new), f"Outnumbered{alert}"
    result = by_promtool(promtool, tmp_path, groups, alert)
    output = result.stdout + result.stderr
    # Each line of the evaluation here is a case that promtool names too.
    lines = differences(groups, document(alert))
    assert result.returncode == 1
    assert sorted(set(re.findall(r"name: (.*?),$", output, re.MULTILINE))) == sorted(
        line.partition(":")[0] for line in lines
    )


def test_the_rules_can_be_parsed_and_their_annotations_use_the_labels_of_their_alerts():
    for group in GROUPS:
        for rule in group["rules"]:
            promql_parser.parse(rule["expr"])
            assert seconds(rule.get("for", "1s")) > 0
    for alert, rule in ALERTS.items():
        labels = {key for case in CASES if case[0] == alert for one in case[-1] for key in one}
        text = " ".join(rule["annotations"].values())
        templates = re.findall(r"\{\{(.*?)\}\}", text)
        assert text.count("{{") == text.count("}}") == len(templates)
        assert {template.strip() for template in templates} <= {
            "$value | humanizePercentage",
            *(f"$labels.{label}" for label in labels),
        }


def test_promtool_accepts_the_rules_and_their_annotations(promtool, tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": GROUPS}))
    result = run(promtool, "check", "rules", "--lint-fatal", str(path))
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_has_cases_in_which_it_fires_and_in_which_it_does_not():
    outcomes = {alert: {bool(case[-1]) for case in CASES if case[0] == alert} for alert in ALERTS}
    assert all(found == {True, False} for found in outcomes.values()), outcomes
    assert {case[0] for case in CASES} == ALERTS.keys()


def test_every_alert_has_a_section_of_the_runbook():
    parts = re.split(r"^## ", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    sections = {part.partition("\n")[0]: part for part in parts}
    for alert, rule in ALERTS.items():
        anchor = rule["annotations"]["runbook_url"].partition("#")[2]
        (section,) = [text for title, text in sections.items() if title.lower() == anchor]
        assert f"`{alert}`" in section or section.startswith(alert)
        for question in ("What it means", "How to find", "What to do", "How to know"):
            assert f"**{question}" in section
