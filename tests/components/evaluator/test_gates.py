import pytest

from components.evaluator import gates
from components.evaluator.gates import ChampionRule, GateError, SliceRule


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
    ("text", "by_interval", "accepts_too_few", "slices"),
    [
        ("precision >= 0.80 at prevalence, lower bound", True, False, None),
        ("f1 >= 0.8, LOWER  bound, or too few images", True, True, None),
        ("ece <= 0.05, upper bound at prevalence", True, False, None),
        ("expected_cost <= 120 per 1000", False, False, None),
        ("alerts_per_thousand < 30 per 1,000 images at prevalence", False, False, None),
        ("recall >= 0.7 in every breed", False, False, SliceRule(("breed",))),
        (
            "recall >= 0.70 in every breed with at least 30 images",
            *(False, False),
            SliceRule(("breed",), at_least=30),
        ),
        (
            "fp <= 3 in 'eye, colour' = \"light blue\" with at least 9 images or too few images",
            *(False, True),
            SliceRule(("eye, colour",), value="light blue", at_least=9),
        ),
        (
            "f1 >= 0.5 in every breed and light at prevalence, lower bound",
            *(True, False),
            SliceRule(("breed", "light")),
        ),
        ("recall > 0 in every Gro\u0308\u00dfe", False, False, SliceRule(("Gr\u00f6\u00dfe",))),
    ],
)
def test_additions_follow_the_bound_in_any_order(text, by_interval, accepts_too_few, slices):
    gate = gates.parse(text)
    assert gate.text == " ".join(text.split())
    assert (gate.by_interval, gate.accepts_too_few, gate.slices) == (
        by_interval,
        accepts_too_few,
        slices,
    )


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
        ("recall >= 0.9 on cats", "only these may follow the bound.*'lower bound'.*: 'on cats'"),
        ("recall >= 0.9 in every breed with at least 3", "Received: 'with at least 3'"),
        ("recall >= 0.9, lower bound,", "Received: ','"),
        ("recall >= 0.9 lower bound lower bound", "'lower bound' may be given once"),
        ("recall >= 0.9 in breed = pug in every light", "'in' may be given once"),
        ("ece <= 0.05 lower bound", "must be on the upper bound of the interval"),
        ("recall > 0.9 lower bound, upper bound", "must be on the lower bound"),
        ("fp <= 3, upper bound", "bound of its interval must be one of recall.*counts have none"),
        ("recall >= 0.9, or too few images", "requires 'lower bound', 'upper bound', 'with at"),
        ("recall >= 0.9 per 1000", "per 1000 must be one of expected_cost"),
        ("ece <= 0.05 in every breed", "in slices must be one of recall"),
        ("pr_auc >= 0.5 in every breed, lower bound", "must be one of recall"),
        ("anomalies <= 0 in every breed", "in slices must be one of recall"),
        ("alerts_per_thousand <= 1001", "must be between 0 and 1000. Received: 1001"),
        ("expected_costs <= 9", r"did you mean 'expected_cost'\?"),
        ("anomalies <= 0 at prevalence", "at prevalence must be one of recall"),
        ("anomalies < 0", "no model can pass"),
        ("fp <= 3 at prevalence", "counts depend on the number of images"),
    ],
)
def test_an_invalid_gate_is_refused_with_the_reason(text, message):
    with pytest.raises(GateError, match=message):
        gates.parse(text)


KNOWN = [["class_name"], ["breed"], ["light", "breed"]]


@pytest.mark.parametrize("slices", ["breed", "class_name", "breed and light", "light and breed"])
def test_gates_on_known_slices_are_accepted(slices):
    gates.check_columns(gates.parse_all([f"recall > 0 in every {slices}", "f1 > 0"]), KNOWN)


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        ("every bread", r"add a column to data.slices.*Received: 'bread' \(did you mean 'breed'"),
        ("every light", "Received: 'light'"),
        ("every breed and class_name", "Received: 'breed and class_name'"),
        ("fur = black", "one of breed, class_name, light and breed; .*Received: 'fur'"),
    ],
)
def test_a_gate_on_slices_that_are_not_computed_is_refused(slices, message):
    with pytest.raises(GateError, match=message):
        gates.check_columns([gates.parse(f"recall >= 0.5 in {slices}")], KNOWN)


@pytest.mark.parametrize(
    ("text", "bound", "rule"),
    [
        ("pr_auc not worse than champion by 0.01", -0.01, ChampionRule(0.01)),
        ("recall  better than CHAMPION", 0.0, ChampionRule(None)),
        ("f1 better than champion in the newest span", 0.0, ChampionRule(None, True)),
        (
            "expected_cost not worse than champion by 5 per 1000, in the newest span",
            *(-5.0, ChampionRule(5.0, True)),
        ),
    ],
)
def test_a_comparison_with_the_champion_is_a_bound_on_the_improvement(text, bound, rule):
    gate = gates.parse(text)
    assert (gate.operator, gate.bound, gate.champion) == (">", bound, rule)


def test_a_comparison_with_the_champion_takes_further_additions():
    gate = gates.parse("ece better than champion at prevalence, or too few images")
    assert gate.at_prevalence
    assert gate.accepts_too_few


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fp better than champion", "compared with the champion's must be one of recall, .*"),
        ("recall not worse than champion", "'<metric> not worse than champion by <number>'"),
        ("recall not worse than champion by 0", "for 0, use 'recall better than champion'. Rec"),
        ("recall not worse than champion by 2", "must be above 0 and below 1.*Received: 2"),
        ("recall not worse than champion by x", "must be a number. Received: 'x'"),
        ("recall better than champion by 0.1", "Received: 'by 0.1'"),
        ("recall better than champion, lower bound", "Received: 'lower bound'"),
        ("recall better than champion in every breed", "'champion' there may be .*: 'in'"),
        ("recall >= 0.9 in the newest span", "requires a comparison with the champion"),
    ],
)
def test_a_comparison_with_the_champion_that_has_no_meaning_is_refused(text, message):
    with pytest.raises(GateError, match=message):
        gates.parse(text)
