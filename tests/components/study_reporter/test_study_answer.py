import pytest

from components.study_reporter import answer, wording
from components.study_reporter.ranking import Difference, Ranking


def ranking(means, differences=(), metric="f1", images=1100, replicates=10):
    """Makes a ranking from differences (first, second, p), with intervals of ± 0.02."""
    rows = []
    for first, second, p in differences:
        value = means[first] - means[second]
        rows.append(Difference(first, second, value, (value - 0.02, value + 0.02), p))
    return Ranking(metric, means, rows, images, replicates)


def test_a_lead_over_every_arm_has_its_size_and_interval():
    found = ranking(
        {"a": 0.80, "b": 0.90, "c": 0.70},
        [("b", "a", 0.01), ("c", "a", 0.01), ("c", "b", 0.0001)],
        metric="recall",
    )
    assert answer.of_metric(found).replace("\N{NO-BREAK SPACE}", " ") == (
        "“b” has the highest recall, 0.900, ahead of every arm it was compared with: “a” is 0.100 "
        "(95 % interval 0.080 to 0.120, corrected p = 0.010) behind and “c” 0.200."
    )


def test_arms_without_a_shown_difference_from_the_best_are_named():
    found = ranking(
        {"a": 0.80, "b": 0.90, "c": 0.89},
        [("b", "a", 0.01), ("c", "a", 0.01), ("c", "b", 0.8)],
    )
    assert "“c” can't be told apart from it, “a” is 0.100" in answer.of_metric(found)


def test_no_lead_is_stated_if_no_difference_is_shown():
    means = {"a": 0.80, "b": 0.81, "c": 0.79}
    found = ranking(means, [("b", "a", 0.9), ("c", "a", 0.9), ("c", "b", 0.6)])
    assert answer.of_metric(found) == (
        "“b” has the highest F1, 0.810, but no difference from any other arm can be shown."
    )


def test_two_arms_have_their_own_sentences():
    means = {"a": 0.80, "b": 0.90}
    shown = answer.of_metric(ranking(means, [("b", "a", 0.01)]))
    assert shown.startswith("“b” has a higher F1 than “a”: 0.900 and 0.800, a difference of 0.100")
    not_shown = answer.of_metric(ranking(means, [("b", "a", 0.05)]))
    assert not_shown.startswith("“b” and “a” can't be told apart in F1: 0.900 and 0.800")


def test_a_difference_is_positive_for_the_better_arm():
    found = answer.of_metric(ranking({"a": 0.90, "b": 0.80}, [("b", "a", 0.01)]))
    assert "a difference of 0.100 (95 % interval 0.080 to 0.120" in found


def test_arms_that_were_not_compared_are_named():
    means = {"a": 0.80, "b": 0.90, "c": 0.70}
    assert answer.of_metric(ranking(means)) == (
        "“b” has the highest F1, 0.900, but was not compared with “a” and “c”."
    )
    found = answer.of_metric(ranking(means, [("b", "a", 0.5)]))
    assert found.endswith("no difference from “a” can be shown; it was not compared with “c”.")


def test_of_many_arms_that_were_not_compared_the_number_is_given():
    means = dict.fromkeys("abcdefg", 0.8) | {"h": 0.9}
    assert answer.of_metric(ranking(means)).endswith("but was not compared with 7 other arms.")
    found = answer.of_metric(ranking(means, [("h", "a", 0.5)]))
    assert found.endswith("it was not compared with 6 other arms.")


def test_without_two_arms_nothing_is_compared():
    assert answer.of_metric(ranking({"a": 0.8})) == "“a” has an F1 of 0.800."
    assert answer.of_metric(ranking({"a": 0.8}, metric="recall")) == "“a” has a recall of 0.800."
    assert answer.of_metric(ranking({}, metric="precision")) == "No arm has a defined precision."


DIFFERENT = {"a": 0.85, "b": 0.60, "c": 0.84}
SIMILAR = {"a": 0.880, "b": 0.875, "c": 0.885}
PAIRS = [("b", "a"), ("c", "a"), ("c", "b")]


def pairs(*p_values):
    return [(*pair, p) for pair, p in zip(PAIRS, p_values, strict=True)]


def test_differences_that_disappear_with_own_thresholds():
    half, own = ranking(DIFFERENT, pairs(0.001, 0.9, 0.001)), ranking(SIMILAR, pairs(0.9, 0.9, 0.9))
    assert answer.of_thresholds(half, own) == (
        "At a threshold of 0.5 “a” has the highest F1, 0.850, and “b” the lowest, 0.600. With all "
        "arms at their own thresholds, chosen on val, 1,100 images and 10 replicates can no longer "
        "show a difference: the gap between the best arm and the worst shrinks from 0.250 to "
        "0.010. A difference of up to 0.030 remains possible."
    )


def test_differences_that_remain_with_own_thresholds():
    half = ranking(DIFFERENT, pairs(0.001, 0.9, 0.001))
    own = ranking({"a": 0.9, "b": 0.8, "c": 0.85}, pairs(0.001, 0.9, 0.9))
    assert answer.of_thresholds(half, own).endswith(
        "“a” still has the highest F1, 0.900, and 1 of 3 differences between arms can be shown, "
        "compared with 2 at 0.5: the gap between the best arm and the worst shrinks from 0.250 to "
        "0.100."
    )


def test_another_arm_can_lead_with_own_thresholds():
    half = ranking({"a": 0.9, "b": 0.8}, [("b", "a", 0.001)])
    own = ranking({"a": 0.8, "b": 0.95}, [("b", "a", 0.001)])
    assert answer.of_thresholds(half, own) == (
        "At a threshold of 0.5 “a” has a higher F1 than “b”, 0.900 and 0.800. With both arms at "
        "their own thresholds, chosen on val, “b” has the higher F1 instead, 0.950, and the "
        "difference can still be shown: the gap between “a” and “b” grows from 0.100 to 0.150."
    )


def test_differences_that_are_shown_only_with_own_thresholds():
    half = ranking(SIMILAR, pairs(0.9, 0.9, 0.9))
    own = ranking({"a": 0.9, "b": 0.8, "c": 0.85}, pairs(0.001, 0.9, 0.9))
    assert answer.of_thresholds(half, own) == (
        "At a threshold of 0.5 no difference in F1 can be shown. With all arms at their own "
        "thresholds, chosen on val, “a” has the highest F1, 0.900, and 1 of 3 differences between "
        "arms can be shown: the gap between the best arm and the worst grows from 0.010 to 0.100."
    )


def test_no_difference_at_either_threshold():
    half = ranking({"a": 0.90, "b": 0.91}, [("b", "a", 0.4)], images=1, replicates=1)
    own = ranking({"a": 0.92, "b": 0.91}, [("b", "a", 0.4)], images=1, replicates=1)
    assert answer.of_thresholds(half, own) == (
        "1 image and 1 replicate can show no difference in F1, neither at a threshold of 0.5 nor "
        "with each arm's own threshold, chosen on val: the gap between “a” and “b” is 0.010 at "
        "0.5 and 0.010 with own thresholds. A difference of up to 0.030 remains possible."
    )


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (0.60, 0.601, "hardly changes, from 0.250 to 0.249"),
        (0.60, 0.60, "is unchanged at 0.250"),
        (0.60, 0.50, "grows from 0.250 to 0.350"),
    ],
)
def test_a_gap_changes_only_if_its_rounded_value_changes(before, after, text):
    half = ranking({**DIFFERENT, "b": before}, pairs(0.001, 0.9, 0.001))
    own = ranking({**DIFFERENT, "b": after}, pairs(0.001, 0.9, 0.001))
    assert text in answer.of_thresholds(half, own)


def test_thresholds_of_one_arm_or_of_arms_that_were_not_compared():
    one = answer.of_thresholds(ranking({"a": 0.8}), ranking({"a": 0.9}))
    assert one == (
        "“a” has an F1 of 0.800 at a threshold of 0.5 and of 0.900 with the threshold chosen on "
        "val."
    )
    same = answer.of_thresholds(ranking({"a": 0.8}), ranking({"a": 0.8}))
    assert same.endswith("at a threshold of 0.5 and the same with the threshold chosen on val.")
    not_compared = answer.of_thresholds(
        ranking({"a": 0.8, "b": 0.7}), ranking({"a": 0.8, "b": 0.9})
    )
    assert not_compared.startswith(
        "The arms were not compared. At 0.5 “a” has the highest F1, 0.800;"
    )


def arm(name, total, trained, details=()):
    diverged = [{"replicate": 9, "detail": detail} for detail in details]
    return {
        "arm": name,
        "replicates": {"asked": total, "trained": list(range(trained)), "diverged": diverged},
    }


def test_diverged_replicates_are_listed_with_their_reasons():
    arms = [arm("a", 10, 10), arm("b", 10, 8, ["NaN", "NaN"]), arm("c", 3, 0, ["x", "y", "x"])]
    assert answer.of_replicates(arms) == [
        "2 of 10 replicates of “b” diverged and are excluded: NaN.",
        "All 3 replicates of “c” diverged, so it is not evaluated: x; y.",
    ]
    assert answer.of_replicates([arm("a", 2, 1, ["NaN"])])[0] == (
        "1 of 2 replicates of “a” diverged and is excluded: NaN."
    )


def test_the_limits_of_one_replicate_are_stated():
    (sentence,) = answer.of_replicates([arm("a", 1, 1), arm("b", 1, 1)])
    assert sentence.startswith("“a” and “b” each have only one trained replicate: the effect")


def results(precision, recall, real_world=None):
    figures = {"precision": {"mean": precision}, "recall": {"mean": recall}}
    return {"at_half": figures, "at_prevalence": {"at_half": {"precision": {"mean": real_world}}}}


def two_test_sets(balanced, representative, prevalence=None):
    return {
        "splits": {
            "balanced": {"positives": 500, "negatives": 500},
            "real": {"positives": 100, "negatives": 1000},
        },
        "prevalence": prevalence,
        "arms": [{"arm": "a", "tests": {"real": representative, "balanced": balanced}}],
    }


def test_the_effect_of_a_balanced_test_set_on_precision_is_stated():
    (sentence,) = answer.of_test_sets(
        two_test_sets(results(0.99, 0.95, 0.9), results(0.93, 0.94, 0.8), prevalence=0.05)
    )
    assert sentence == (
        "At 0.5 the models of “a” have a precision of 0.990 on “balanced” (50 % positive) and of "
        "0.930 on “real” (9.1 %), with a recall of 0.950 and 0.940: a test set with more positives "
        "makes precision look better. Re-weighted to the real world's 5 %, the precisions are "
        "0.900 and 0.800."
    )
    (sentence,) = answer.of_test_sets(two_test_sets(results(0.9, 0.95), results(0.93, 0.94)))
    assert sentence.endswith(
        "here the test set with more positives doesn't make precision look better."
    )


def test_an_undefined_precision_is_not_mentioned():
    assert answer.of_test_sets(two_test_sets(results(None, 0), results(0.93, 0.94))) == []


def test_numbers_are_formatted():
    assert wording.listed(["a"]) == "“a”"
    assert wording.listed(["a", "b", "c"]) == "“a”, “b” and “c”"
    assert wording.plural(1, "image") == "1 image"
    assert wording.plural(1100, "image") == "1,100 images"
    assert [wording.signed(value) for value in (0.0123, -0.5, -0.0001, None)] == [
        "+0.012",
        f"{wording.MINUS}0.500",
        "0.000",
        "–",
    ]
    assert wording.span([-0.01, 0.02]) == f"{wording.MINUS}0.010 to 0.020"
    assert wording.p_value(0.0004).split() == ["p", "<", "0.001"]


def test_after_calibration_no_difference_may_remain():
    found = answer.of_calibration(
        ranking(DIFFERENT, pairs(0.001, 0.9, 0.001)), ranking(SIMILAR, pairs(0.9, 0.8, 0.7))
    )
    assert found == (
        "With all arms calibrated on val, and at 0.5, 1,100 images and 10 replicates can no longer "
        "show a difference in F1: the gap between the best arm and the worst shrinks from 0.250 to "
        "0.010. A difference of up to 0.030 remains possible."
    )
    never = answer.of_calibration(
        ranking(SIMILAR, pairs(0.9, 0.8, 0.7)), ranking(SIMILAR, pairs(0.9, 0.8, 0.7))
    )
    assert "can't show a difference in F1: the gap between the best arm and the worst is" in never


def test_after_calibration_the_differences_that_remain_are_counted():
    found = answer.of_calibration(
        ranking(DIFFERENT, pairs(0.001, 0.9, 0.001)), ranking(DIFFERENT, pairs(0.001, 0.9, 0.9))
    )
    assert found == (
        "With all arms calibrated on val, and at 0.5, “a” has the highest F1, 0.850, and 1 of 3 "
        "differences can be shown, compared with 2 before: the gap between the best arm and the "
        "worst is unchanged at 0.250."
    )


def test_one_calibrated_arm_is_compared_with_itself_before():
    found = answer.of_calibration(ranking({"a": 0.7}), ranking({"a": 0.8}))
    assert found == "Calibrated on val, “a” has an F1 of 0.800 at 0.5, and of 0.700 before."
    assert answer.of_calibration(ranking({}), ranking({})) == "No arm has a defined F1."
