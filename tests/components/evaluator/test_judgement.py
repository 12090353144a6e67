import math

import numpy as np
import pytest

from components.evaluator import gates, intervals, judgement, metrics, more_images
from components.evaluator.metrics import Confusion
from components.example_validator import findings


def judge(texts, metrics, at_prevalence=None, **intervals):
    """Judges the metrics of a split of 40 positives and 400 negatives."""
    counts = {"tp": 36, "fn": 4, "tn": 380, "fp": 20}
    figures = {
        "examples": 440,
        "metrics": counts | metrics,
        "intervals": intervals.get("intervals", {}),
        "at_prevalence": {
            "prevalence": 0.01,
            "intervals": intervals.get("intervals_at_prevalence", {}),
            **(at_prevalence or {}),
        },
        "slices": [],
    }
    return judgement.verdict(gates.parse_all(texts), figures)


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
    assert "precision is undefined (no image was predicted positive)" in verdict.reason
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
    return judgement.verdict(gates.parse_all([text]), {}, found)


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


def of_split(counts: Confusion, prevalence: float, slices=(), **more):
    """The part of `summary.json` that follows from counts."""
    share = counts.positives / (counts.positives + counts.negatives)
    world = metrics.rates_at_prevalence(counts.recall, counts.false_positive_rate, prevalence)
    weight = metrics.negative_weight(counts.positives, counts.negatives, prevalence)
    return {
        "examples": counts.positives + counts.negatives,
        "metrics": {**vars(counts), **metrics.rates(counts), **more},
        "intervals": intervals.at_prevalence(counts, share, seed=0),
        "at_prevalence": {
            "prevalence": prevalence,
            **world,
            "intervals": intervals.at_prevalence(counts, prevalence, seed=0),
        },
        "slices": [of_slice(each, weight, values) for values, each in slices],
    }


def of_slice(counts: Confusion, weight: float, values):
    share = counts.positives / (counts.positives + weight * counts.negatives)
    return {
        "slice": values,
        **vars(counts),
        **metrics.rates(counts),
        "intervals": intervals.of_slice(counts, seed=0),
        "at_prevalence": {
            "prevalence": share,
            **metrics.rates(counts, weight),
            "intervals": intervals.of_slice(counts, share=share, seed=0),
        },
    }


COUNTS = Confusion(tp=90, fn=10, fp=20, tn=980)


def one_gate(text, figures):
    """The entry of the only gate in the verdict."""
    (gate,) = judgement.verdict([gates.parse(text)], figures).to_dict()["gates"]
    return gate


@pytest.mark.parametrize(
    ("text", "outcome", "passed"),
    [
        ("recall >= 0.82, lower bound", "passed", True),
        ("recall >= 0.84, lower bound", "too_few_images", False),
        ("recall >= 0.92, lower bound", "too_few_images", False),
        ("recall >= 0.84, lower bound, or too few images", "too_few_images", True),
        ("recall >= 0.97, lower bound", "failed", False),
        ("recall >= 0.97, lower bound, or too few images", "failed", False),
        ("specificity <= 0.99, upper bound", "passed", True),
        ("precision >= 0.80 at prevalence, lower bound", "failed", False),
        ("precision >= 0.80, lower bound", "too_few_images", False),
        ("recall >= 0.9", "passed", True),
        ("recall >= 0.92", "failed", False),
    ],
)
def test_a_gate_has_one_of_three_outcomes(text, outcome, passed):
    found = one_gate(text, of_split(COUNTS, 0.01))
    assert (found["outcome"], found["passed"]) == (outcome, passed)
    assert (found["more_images"] is not None) == (outcome == "too_few_images")


def test_too_few_images_prevent_the_blessing_and_the_reason_says_how_many_would_decide():
    verdict = judgement.verdict(
        gates.parse_all(["recall >= 0.85, lower bound", "f1 >= 0.5"]), of_split(COUNTS, 0.01)
    )
    assert not verdict.blessed
    assert verdict.reason == (
        "too few images to tell for recall >= 0.85, lower bound, which counts as a failure: "
        "recall is 0.9, 95 % interval 0.83 to 0.94 from 100 positives; "
        f"{more_of('recall >= 0.85, lower bound').positives} more positives would decide"
    )
    accepted = judgement.verdict(
        gates.parse_all(["recall >= 0.85, lower bound, or too few images"]), of_split(COUNTS, 0.01)
    )
    assert accepted.blessed
    assert "which the gate accepts: recall is 0.9" in accepted.reason


def test_the_images_that_a_figure_rests_on_are_kept():
    figures = of_split(COUNTS, 0.01)
    texts = ["recall >= 0.1", "specificity >= 0.1", "fp <= 30", "precision >= 0.1 at prevalence"]
    assert [one_gate(text, figures)["images"] for text in texts] == [100, 1000, 1000, 1100]


def more_of(text: str, counts: Confusion = COUNTS) -> more_images.MoreImages:
    return more_images.MoreImages(**one_gate(text, of_split(counts, 0.01))["more_images"])


def contains(text: str, counts: Confusion) -> bool:
    """Whether the interval that these counts give contains the gate's bound."""
    gate = gates.parse(text)
    figures = of_split(counts, 0.01)
    found = figures["at_prevalence"] if gate.at_prevalence else figures
    low, high = found["intervals"][gate.metric]
    return low <= gate.bound <= high


@pytest.mark.parametrize(
    ("metric", "bound", "images", "share", "side"),
    [
        *(("recall", bound, 100, 9 / 10, "positives") for bound in (0.84, 0.85, 0.89, 0.91, 0.94)),
        *(("specificity", bound, 1000, 49 / 50, "negatives") for bound in (0.975, 0.985)),
    ],
)
def test_the_images_that_a_proportion_lacks_are_the_fewest_that_decide(
    metric, bound, images, share, side
):
    more = more_of(f"{metric} >= {bound}, lower bound")
    assert {name for name, number in vars(more).items() if number} == {side}
    required = images + more.total
    # Multiples of 50, of which the observed rate is a whole number.
    below, above = required // 50 * 50, -(-required // 50) * 50

    def contains_bound(trials):
        low, high = intervals.wilson(round(trials * share), trials)
        return low <= bound <= high

    assert contains_bound(below)
    assert not contains_bound(above)


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("precision >= 0.3 at prevalence, lower bound", {"positives", "negatives"}),
        ("f1 >= 0.4 at prevalence, lower bound", {"negatives"}),
        ("f1 >= 0.83, lower bound", {"positives", "negatives"}),
        ("precision >= 0.85, lower bound", {"positives", "negatives"}),
    ],
)
def test_with_that_many_more_images_the_interval_no_longer_contains_the_bound(text, sides):
    more = more_of(text)
    assert {side for side, number in vars(more).items() if number} == sides
    assert contains(text, COUNTS)
    assert not contains(text, with_more(more))
    assert contains(text, with_more(more, share=0.8))


def with_more(more: more_images.MoreImages, share: float = 1.0) -> Confusion:
    return more_images.scaled(
        COUNTS,
        COUNTS.positives + round(share * more.positives),
        COUNTS.negatives + round(share * more.negatives),
    )


def test_no_number_of_images_decides_a_rate_that_equals_its_bound():
    found = one_gate("recall >= 0.9, lower bound", of_split(COUNTS, 0.01))
    assert (found["outcome"], found["more_images"]) == ("too_few_images", None)
    assert "no number of images up to 10,000,000 would decide" in found["description"]


def test_an_area_lacks_about_the_images_that_decide_it():
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], [40, 200])
    scores = rng.normal(1.5 * labels)

    def figures(times):
        truth, found = np.tile(labels, times), np.tile(scores, times)
        area = metrics.average_precision(truth, found)
        split = of_split(Confusion(tp=times * 30, fn=times * 10, fp=0, tn=times * 200), 0.01)
        split["metrics"]["pr_auc"] = area
        split["intervals"]["pr_auc"] = intervals.of_areas(truth, found, seed=0)["pr_auc"]
        return split

    bound = figures(1)["metrics"]["pr_auc"] - 0.05
    text = f"pr_auc >= {bound}, lower bound"
    more = one_gate(text, figures(1))["more_images"]
    times = 1 + (more["positives"] + more["negatives"]) / 240
    assert more["negatives"] == pytest.approx(5 * more["positives"], rel=0.1)
    assert one_gate(text, figures(round(0.7 * times)))["outcome"] == "too_few_images"
    assert one_gate(text, figures(round(1.3 * times)))["outcome"] == "passed"


def breeds(**counts):
    return [({"breed": name}, Confusion(*each)) for name, each in counts.items()]


# Confusion(tp, fp, tn, fn) by breed; no image of a cat is positive.
BREEDS = breeds(
    pug=(45, 0, 0, 5),
    boxer=(20, 0, 0, 20),
    husky=(6, 0, 0, 1),
    beagle=(18, 0, 0, 18),
    manx=(0, 3, 90, 0),
)


def in_breeds(text, slices=BREEDS):
    return one_gate(text, of_split(COUNTS, 0.01, slices))


def test_every_slice_must_pass_and_those_that_fail_are_named_with_their_images():
    found = in_breeds("recall >= 0.70 in every breed")
    assert found["outcome"] == "failed"
    assert found["description"] == (
        "recall in breed = beagle is 0.5 from 36 positives; recall in breed = boxer is 0.5 from "
        "40 positives, but the gate requires recall >= 0.70 in every breed"
    )
    assert (found["slice"], found["images"], found["value"]) == ({"breed": "beagle"}, 36, 0.5)
    outcomes = {each["slice"]["breed"]: each["outcome"] for each in found["slices"]}
    assert outcomes == {"beagle": "failed", "boxer": "failed", "husky": "passed", "pug": "passed"}


def test_a_slice_with_fewer_images_than_asked_for_has_too_few():
    slices = [each for each in BREEDS if each[0]["breed"] in ("pug", "husky", "manx")]
    text = "recall >= 0.70 in every breed with at least 30 images"
    found = in_breeds(text, slices)
    assert (found["outcome"], found["passed"]) == ("too_few_images", False)
    assert found["more_images"] == {"positives": 23, "negatives": 0}
    assert "recall in breed = husky is 0.8571 from 7 positives; 23 more" in found["description"]
    assert in_breeds(f"{text}, or too few images", slices)["passed"]
    assert in_breeds(text, [slices[0]])["outcome"] == "passed"
    # A slice that fails decides, whatever the others have.
    assert in_breeds(text)["outcome"] == "failed"


def test_a_small_slice_also_needs_the_images_that_decide_its_interval():
    slices = breeds(husky=(18, 0, 0, 2))
    found = in_breeds("recall >= 0.80 in every breed with at least 25 images, lower bound", slices)
    alone = in_breeds("recall >= 0.80 in every breed, lower bound", slices)
    assert found["more_images"] == alone["more_images"]
    assert found["more_images"]["positives"] > 5


def test_passed_slices_are_described_by_the_worst():
    found = in_breeds("specificity >= 0.9 in every breed")
    assert found["description"] == (
        "specificity in breed = manx is 0.9677 from 93 negatives (>= 0.9), the worst of 1 slices"
    )


def test_a_gate_may_be_on_one_slice():
    assert in_breeds("recall >= 0.70 in breed = pug")["outcome"] == "passed"
    assert in_breeds("recall >= 0.70 in breed = boxer")["outcome"] == "failed"


def test_slices_have_figures_at_prevalence():
    slices = breeds(mixed=(8, 2, 30, 2))
    weight = metrics.negative_weight(100, 1000, 0.01)
    found = in_breeds("precision >= 0.01 in every breed at prevalence", slices)
    assert found["value"] == pytest.approx(8 / (8 + 2 * weight))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recall >= 0.5 in every light", "no image has a value in 'light'.*slices of breed"),
        ("recall >= 0.5 in breed = bug", r"breed must be one of beagle, .*did you mean 'pug'"),
    ],
)
def test_slices_that_no_image_is_in_are_refused_with_those_that_exist(text, message):
    slices = [*BREEDS, ({"light": ""}, COUNTS)]
    with pytest.raises(gates.GateError, match=message):
        in_breeds(text, slices)


def test_the_reason_for_slices_that_are_left_out_is_given():
    left_out = {"light, patient": "patient has 4,812 values"}
    figures = of_split(COUNTS, 0.01, BREEDS) | {"slices_left_out": left_out}
    with pytest.raises(gates.GateError, match="patient has 4,812 values; the evaluation has"):
        one_gate("recall >= 0.5 in every patient and light", figures)


def test_a_gate_that_no_slice_can_decide_fails():
    found = in_breeds("recall >= 0.5 in every breed", breeds(manx=(0, 3, 90, 0)))
    assert not found["passed"]
    assert found["description"].startswith("recall is undefined (no breed has positives)")


def test_an_expected_cost_without_costs_fails_and_says_what_to_set():
    figures = of_split(COUNTS, 0.01, expected_cost=None)
    found = one_gate("expected_cost <= 120 per 1000", figures)
    assert not found["passed"]
    assert "(set calibrator.costs, for instance {missed: 50, fa" in found["description"]
    figures["metrics"]["expected_cost"] = 119.0
    assert one_gate("expected_cost <= 120 per 1000", figures)["passed"]
