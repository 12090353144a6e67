import math

import pytest

from components.evaluator import gates
from components.evaluator.gates import GateError
from components.example_validator import findings


@pytest.mark.parametrize(
    ("text", "metric", "operator", "bound", "at_prevalence"),
    [
        ("recall >= 0.90", "recall", ">=", 0.9, False),
        ("fp<=12", "fp", "<=", 12, False),
        ("anomalies <= 0", "anomalies", "<=", 0, False),
        (" PR_AUC  >  .5 ", "pr_auc", ">", 0.5, False),
        ("precision >= 0.8 at prevalence", "precision", ">=", 0.8, True),
        ("f1 < 1 At  Prevalence", "f1", "<", 1, True),
    ],
)
def test_a_gate_is_parsed(text, metric, operator, bound, at_prevalence):
    gate = gates.parse(text)
    found = (gate.metric, gate.operator, gate.bound, gate.at_prevalence)
    assert found == (metric, operator, bound, at_prevalence)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recal >= 0.9", r"the metric must be one of .*Received: 'recal' \(did you mean 'recall'"),
        ("good", "a gate must be '<metric> .*Received: 'good'"),
        ("recall => 0.9", "must be one of >=, <=, >, <. Received: '=>'"),
        ("recall >= 90%", "must be a number. Received: '90%'"),
        ("recall >= nan", "must be a number. Received: 'nan'"),
        ("recall >= 90", "the bound of recall must be between 0 and 1. Received: 90"),
        ("fp <= -1", "the bound of fp must be 0 or more. Received: -1"),
        ("recall > 1", "no model can pass this gate; use >= instead"),
        ("fp < 0", "no model can pass this gate; use <= instead"),
        ("recall >= 0.9 on cats", "only 'at prevalence' may follow the bound. Received: 'on cats'"),
        ("anomalies <= 0 at prevalence", "at prevalence must be one of recall"),
        ("anomalies < 0", "no model can pass"),
        ("fp <= 3 at prevalence", "counts depend on the number of images"),
    ],
)
def test_an_invalid_gate_is_refused_with_the_reason(text, message):
    with pytest.raises(GateError, match=message):
        gates.parse(text)


def judge(texts, metrics, at_prevalence=None, **intervals):
    return gates.verdict(gates.parse_all(texts), metrics, at_prevalence, **intervals)


def test_a_model_that_passes_every_gate_is_blessed_with_its_metrics():
    verdict = judge(["recall >= 0.9", "fp <= 12"], {"recall": 0.93, "fp": 12})
    assert verdict.blessed
    assert verdict.reason == "recall is 0.93 (>= 0.9); fp is 12 (<= 12)"


def test_one_failed_gate_prevents_the_blessing_and_is_the_only_reason():
    verdict = judge(["recall >= 0.90", "fp <= 12"], {"recall": 0.84, "fp": 3})
    assert not verdict.blessed
    assert verdict.reason == "recall is 0.84, but the gate requires recall >= 0.90"
    assert [gate["passed"] for gate in verdict.to_dict()["gates"]] == [False, True]


def test_a_value_just_below_the_bound_is_shown_as_below():
    assert "recall is 0.899996," in judge(["recall >= 0.9"], {"recall": 0.899996}).reason


def test_a_value_that_equals_its_bound_up_to_rounding_passes():
    assert judge(["recall >= 0.3"], {"recall": 0.1 * 3 - 1e-16}).blessed
    assert not judge(["recall > 0.3"], {"recall": 0.1 * 3}).blessed


@pytest.mark.parametrize("metrics", [{}, {"precision": None}, {"precision": math.nan}])
def test_an_undefined_metric_fails_its_gate(metrics):
    verdict = judge(["precision >= 0"], metrics)
    assert not verdict.blessed
    assert "precision is undefined" in verdict.reason
    assert verdict.to_dict()["gates"][0]["value"] is None


def test_a_gate_at_prevalence_uses_the_metrics_at_prevalence():
    at_test, in_world = {"precision": 0.9}, {"precision": 0.4}
    assert judge(["precision >= 0.8"], at_test, in_world).blessed
    verdict = judge(["precision >= 0.8 at prevalence"], at_test, in_world)
    assert not verdict.blessed
    assert verdict.reason.startswith("precision at prevalence is 0.4,")


def test_without_a_gate_no_model_is_blessed():
    verdict = judge([], {"recall": 1.0})
    assert not verdict.blessed
    assert "evaluator.gates" in verdict.reason


def data_check(anomalies):
    origin = {"version": 1, "time": "2026-11-24 03:00 UTC", "images": 9, "folder": "/models/schema"}
    rows = [
        {"feature": "class_name", "kind": "new class", "found": f"'{n}'", "expected": "'cats'"}
        for n in range(anomalies)
    ]
    return findings.of_check(origin, rows)


def judge_data(text, found):
    return gates.verdict(gates.parse_all([text]), {}, data_check=found)


def test_more_anomalies_than_the_gate_allows_are_listed_with_advice():
    verdict = judge_data("anomalies <= 0", data_check(7))
    assert not verdict.blessed
    assert verdict.reason == (
        "7 anomalies in the data, but the gate requires anomalies <= 0: "
        + "; ".join(f"new class in class_name: '{n}', expected 'cats'" for n in range(5))
        + "; and 2 more; correct the data, or, to accept it, edit /models/schema/schema.pbtxt, or "
        "delete /models/schema to start over with the next blessed model"
    )
    assert verdict.to_dict()["gates"][0]["value"] == 7


def test_data_with_as_many_anomalies_as_the_gate_allows_passes():
    verdict = judge_data("anomalies <= 0", data_check(0))
    assert verdict.blessed
    assert verdict.reason == "0 anomalies in the data (<= 0)"
    assert judge_data("anomalies <= 1", data_check(1)).reason == "1 anomaly in the data (<= 1)"


def test_a_first_model_can_be_blessed_and_the_reason_says_that_its_data_was_not_checked():
    verdict = judge_data("anomalies <= 0", findings.not_checked())
    assert verdict.blessed
    assert verdict.reason == (
        "the data was not checked for gate anomalies <= 0 "
        "(no schema has been kept yet; this run's schema is kept if its model is blessed)"
    )
    assert verdict.to_dict()["gates"][0]["value"] is None


def test_a_gate_on_anomalies_fails_without_findings():
    assert not judge_data("anomalies <= 0", None).blessed


def test_a_gate_that_may_be_passed_by_chance_is_passed_with_a_remark():
    bounds = {"recall": (0.8256, 0.9448)}
    verdict = judge(["recall >= 0.90"], {"recall": 0.9}, intervals=bounds)
    assert verdict.blessed
    assert verdict.reason == (
        "recall is 0.9 (>= 0.9), but its 95 % interval is 0.83 to 0.94: "
        "the true recall may be below the gate"
    )
    (gate,) = verdict.to_dict()["gates"]
    assert gate["interval"] == [0.8256, 0.9448]
    assert (gate["passed"], gate["may_be_missed"]) == (True, True)


@pytest.mark.parametrize(
    ("text", "interval", "may_be_missed"),
    [
        ("recall >= 0.9", (0.9, 0.99), False),
        ("recall >= 0.9", (0.8999, 0.99), True),
        ("recall > 0.9", (0.9, 0.99), True),
        ("recall <= 0.96", (0.9, 0.97), True),
        ("recall <= 0.96", (0.9, 0.96), False),
        ("recall >= 0.9", None, False),
    ],
)
def test_a_gate_may_be_missed_if_an_end_of_its_interval_fails(text, interval, may_be_missed):
    verdict = judge([text], {"recall": 0.95}, intervals={"recall": interval})
    assert verdict.to_dict()["gates"][0]["may_be_missed"] is may_be_missed
    assert ("may be" in verdict.reason) is may_be_missed


def test_a_gate_at_prevalence_uses_the_interval_at_prevalence():
    bounds = {"precision": (0.9, 1.0)}, {"precision": (0.2, 0.95)}
    verdict = judge(
        ["precision >= 0.8", "precision >= 0.8 at prevalence"],
        {"precision": 0.95},
        {"precision": 0.85},
        intervals=bounds[0],
        intervals_at_prevalence=bounds[1],
    )
    assert [gate["may_be_missed"] for gate in verdict.to_dict()["gates"]] == [False, True]
    assert verdict.reason.endswith("the true precision at prevalence may be below the gate")


def test_a_failed_gate_has_no_remark_on_its_interval():
    verdict = judge(["recall >= 0.9"], {"recall": 0.84}, intervals={"recall": (0.7, 0.95)})
    assert verdict.reason == "recall is 0.84, but the gate requires recall >= 0.9"
    assert verdict.to_dict()["gates"][0]["may_be_missed"] is False
