import pytest

from components.evaluator import champion_record, gates, judgement
from components.evaluator.champion_record import State
from components.evaluator.gates import GateError

NOTHING = {"challenger": None, "champion": None, "difference": None, "interval": None}


def row(challenger, champion, low, high):
    difference = challenger - champion
    return {
        "challenger": challenger,
        "champion": champion,
        "difference": difference,
        "interval": [low, high],
    }


def images(positives=40, agrees=False, at_prevalence=None, **rows):
    return {
        "images": 11 * positives,
        "positives": positives,
        "agrees": agrees,
        "metrics": rows,
        "at_prevalence": at_prevalence or rows,
    }


def judge(text, test, newest=None):
    record = {
        "state": State.COMPARED,
        "version": 7,
        "reason": None,
        "test": test,
        "newest_span": newest,
    }
    verdict = judgement.verdict(gates.parse_all([text]), {}, champion=record)
    return verdict.blessed, verdict.to_dict()["gates"][0]


@pytest.mark.parametrize(
    ("interval", "outcome", "more"),
    [
        ((-0.0099, 0.03), "passed", None),
        ((-0.02, 0.03), "too_few_images", {"positives": 72, "negatives": 711}),
        ((-0.04, -0.02), "failed", None),
    ],
)
def test_not_worse_is_decided_by_the_interval_of_the_difference(interval, outcome, more):
    middle = sum(interval) / 2
    blessed, gate = judge(
        "pr_auc not worse than champion by 0.01", images(pr_auc=row(0.8 + middle, 0.8, *interval))
    )
    assert (gate["outcome"], gate["more_images"]) == (outcome, more)
    assert blessed is (outcome == "passed")


@pytest.mark.parametrize(
    ("interval", "outcome"),
    [((0.001, 0.05), "passed"), ((-0.001, 0.05), "too_few_images"), ((-0.05, 0), "failed")],
)
def test_better_is_decided_by_the_interval_of_the_difference(interval, outcome):
    difference = sum(interval) / 2
    found = images(recall=row(0.8 + difference, 0.8, *interval))
    assert judge("recall better than champion", found)[1]["outcome"] == outcome


def test_of_errors_and_costs_the_lower_is_better():
    found = images(brier=row(0.02, 0.04, -0.03, -0.01), ece=row(0.05, 0.02, 0.01, 0.05))
    assert judge("brier better than champion", found)[0]
    assert not judge("ece not worse than champion by 0.005", found)[0]


def test_a_gate_accepts_too_few_images_if_it_says_so():
    found = images(recall=row(0.8, 0.8, -0.1, 0.1))
    text = "recall not worse than champion by 0.01"
    assert not judge(text, found)[0]
    assert judge(f"{text}, or too few images", found)[0]


def test_the_result_has_both_models_and_the_difference_in_words_and_as_data():
    found = images(pr_auc=row(0.91, 0.9, -0.005, 0.025))
    _, gate = judge("pr_auc not worse than champion by 0.01", found)
    assert gate["value"] == 0.91
    champion = gate["champion"]
    assert (champion["value"], champion["interval"]) == (0.9, [-0.005, 0.025])
    assert champion["difference"] == pytest.approx(0.01)
    assert gate["description"] == (
        "pr_auc is 0.91, the champion's is 0.9: a difference of +0.0100, 95 % interval -0.0050 to "
        "+0.0250 (pr_auc not worse than champion by 0.01)"
    )
    _, gate = judge("pr_auc better than champion", found)
    assert gate["description"].startswith(
        "too few images to tell for pr_auc better than champion, which counts as a failure: "
        "pr_auc is 0.91, the champion's is 0.9"
    )
    assert gate["description"].endswith("would decide")


def test_a_gate_at_prevalence_compares_the_metrics_at_prevalence():
    own = row(0.9, 0.8, 0.05, 0.15)
    found = images(precision=own, at_prevalence={"precision": row(0.4, 0.5, -0.2, -0.05)})
    assert judge("precision better than champion", found)[0]
    assert not judge("precision better than champion at prevalence", found)[0]


def test_a_gate_in_the_newest_span_is_decided_by_its_images_alone():
    test = images(recall=row(0.9, 0.8, 0.05, 0.15))
    newest = {"span": "2026-11-27", **images(positives=9, recall=row(0.5, 0.9, -0.6, -0.2))}
    text = "recall better than champion in the newest span"
    blessed, gate = judge(text, test, newest)
    assert not blessed
    assert gate["slice"] == {"span": "2026-11-27"}
    assert gate["description"].startswith("recall in span = 2026-11-27 is 0.5")


def test_a_newest_span_with_too_few_images_of_a_class_says_so():
    newest = {"span": "7", **images(positives=1, recall=NOTHING)}
    test = images(recall=row(0.9, 0.8, 0.05, 0.15))
    _, gate = judge("recall better than champion in the newest span", test, newest)
    assert gate["outcome"] == "too_few_images"
    assert (
        "requires at least two images of each side; of the 11 images, one side"
        in gate["description"]
    )


def test_a_gate_in_the_newest_span_requires_spans():
    test = images(recall=row(0.9, 0.8, 0.05, 0.15))
    with pytest.raises(GateError, match=r"set \{SPAN\} in data.source"):
        judge("recall better than champion in the newest span", test)


def test_an_undefined_metric_of_one_of_the_models_fails_the_gate():
    undefined = {"challenger": 0.9, "champion": None, "difference": None, "interval": None}
    blessed, gate = judge("precision better than champion", images(precision=undefined))
    assert not blessed
    assert gate["description"] == (
        "the champion's precision is undefined (no image was predicted positive), but the gate "
        "requires precision better than champion"
    )


@pytest.mark.parametrize(
    ("state", "blessed"),
    [(State.FIRST_MODEL, True), (State.SAME_MODEL, True), (State.REFUSED, False)],
)
def test_without_a_comparison_the_reason_is_given(state, blessed):
    record = champion_record.without_comparison(state, "the registry says why")
    text = "recall better than champion"
    verdict = judgement.verdict(gates.parse_all([text]), {}, champion=record)
    assert verdict.blessed is blessed
    assert "the registry says why" in verdict.reason
    assert text in verdict.reason


def test_a_gate_on_the_champion_requires_one_to_be_looked_for():
    with pytest.raises(GateError, match="give ChampionFinder's output"):
        judgement.verdict(gates.parse_all(["recall better than champion"]), {})


@pytest.mark.parametrize(
    ("spans", "newest"),
    [
        (["2026-11-27", "2026-12-01", ""], "2026-12-01"),
        (["9", "10", "2"], "10"),
        (["007", "012"], "012"),
        (["", ""], None),
    ],
)
def test_the_newest_span_is_the_highest_number_or_the_latest_date(spans, newest):
    assert champion_record.newest(spans) == newest


@pytest.mark.parametrize("interval", [(-0.0099, 0.03), (-0.02, 0.03), (-0.04, -0.02)])
def test_a_gate_says_that_the_champion_may_know_the_images(interval):
    found = images(pr_auc=row(0.8 + sum(interval) / 2, 0.8, *interval))
    known = {**found, "caution": "the champion may have seen them"}
    text = "pr_auc not worse than champion by 0.01"
    assert judge(text, known)[1]["description"].endswith("; the champion may have seen them")
    assert judge(text, known)[1]["outcome"] == judge(text, found)[1]["outcome"]
