import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from components import names
from pipeline.compare import differences
from pipeline.compare.differences import Pair, PairError

PREVALENCE = 1 / 11


def predictions(labels, probabilities, *, breed="none", threshold=0.5):
    probabilities = np.asarray(probabilities, np.float32)
    return pd.DataFrame(
        {
            names.URI: [f"{index}.jpg" for index in range(len(labels))],
            names.CLASS_NAME: np.where(np.asarray(labels) == 1, "dogs", "cats"),
            names.LABEL: labels,
            names.PROBABILITY: probabilities,
            names.IS_POSITIVE: (probabilities >= threshold).astype(int),
            "breed": breed,
        },
        index=pd.Index([f"id{index:04d}" for index in range(len(labels))], name=names.IMAGE_ID),
    )


def two_models(rng, *, images=300, gain=0.0):
    """Labels and the scores of two models that agree in part; the second is better by `gain`."""
    labels = (np.arange(images) < images // 4).astype(int)
    common = rng.normal(labels, 0.6)
    scores = [common + rng.normal(shift * (2 * labels - 1), 0.3) for shift in (0, gain)]
    return labels, [1 / (1 + np.exp(-4 * (score - 0.5))) for score in scores]


@pytest.fixture
def pair():
    labels, rows = two_models(np.random.default_rng(3), gain=0.2)
    return Pair.of(*(predictions(labels, row) for row in rows))


def row_of(rows, metric, balance=differences.AT_PREVALENCE):
    return next(row for row in rows if row["metric"] == metric and row["balance"] == balance)


def test_the_values_are_those_of_scikit_learn_at_both_balances(pair):
    positives = pair.labels.sum()
    weight = (1 - PREVALENCE) / PREVALENCE * positives / (len(pair.labels) - positives)
    found = differences.of_metrics(pair, PREVALENCE)
    for balance, weights in (
        (differences.OWN_BALANCE, None),
        (differences.AT_PREVALENCE, np.where(pair.labels == 1, 1, weight)),
    ):
        for model, key in enumerate(("first", "second")):
            of = {"y_true": pair.labels, "sample_weight": weights}
            expected = {
                "f1": sklearn_metrics.f1_score(y_pred=pair.predicted[model], **of),
                "precision": sklearn_metrics.precision_score(y_pred=pair.predicted[model], **of),
                "recall": sklearn_metrics.recall_score(y_pred=pair.predicted[model], **of),
                "accuracy": sklearn_metrics.accuracy_score(y_pred=pair.predicted[model], **of),
                "pr_auc": sklearn_metrics.average_precision_score(
                    y_score=pair.probabilities[model], **of
                ),
            }
            for metric, value in expected.items():
                assert row_of(found, metric, balance)[key] == pytest.approx(value, abs=1e-9)


def test_a_difference_is_second_minus_first_and_changes_sign_with_the_order(pair):
    swapped = Pair(
        pair.labels, pair.probabilities[::-1], pair.predicted[::-1], pair.rows, pair.counts
    )
    for one, other in zip(
        differences.of_metrics(pair, PREVALENCE),
        differences.of_metrics(swapped, PREVALENCE),
        strict=True,
    ):
        assert one["difference"] == pytest.approx(one["second"] - one["first"])
        assert one["difference"] == pytest.approx(-other["difference"])
        assert one["interval"] == pytest.approx([-end for end in other["interval"][::-1]])


def test_intervals_contain_the_true_difference_as_often_as_stated():
    rng = np.random.default_rng(5)
    trials, contained = 100, dict.fromkeys((*differences.RATES, differences.AREA), 0)
    for _ in range(trials):
        labels, rows = two_models(rng)
        pair = Pair.of(*(predictions(labels, row) for row in rows))
        for row in differences.of_metrics(pair, PREVALENCE):
            if row["balance"] == differences.AT_PREVALENCE:
                contained[row["metric"]] += row["interval"][0] <= 0 <= row["interval"][1]
    for metric, count in contained.items():
        assert 0.9 <= count / trials <= 0.99, metric


def test_pairing_is_narrower_than_two_separate_intervals(pair):
    from components.evaluator import intervals, metrics

    row = row_of(differences.of_metrics(pair, PREVALENCE), "recall", differences.OWN_BALANCE)
    apart = [
        intervals.of_rates(metrics.confusion(pair.labels, predicted))["recall"]
        for predicted in pair.predicted
    ]
    assert row["interval"][1] - row["interval"][0] < sum(high - low for low, high in apart)


def test_the_order_of_the_rows_does_not_matter():
    labels, rows = two_models(np.random.default_rng(4), images=80)
    tables = [predictions(labels, row) for row in rows]
    shuffled = [table.sample(frac=1, random_state=index) for index, table in enumerate(tables)]
    assert differences.of_metrics(Pair.of(*tables), 0.2) == differences.of_metrics(
        Pair.of(*shuffled), 0.2
    )


def test_only_images_of_both_runs_with_the_same_label_are_compared():
    labels = np.array([1, 1, 0, 0, 0, 1])
    first = predictions(labels, [0.9, 0.8, 0.1, 0.2, 0.7, 0.6]).iloc[:5]
    second = predictions(labels, [0.9, 0.2, 0.1, 0.2, 0.3, 0.6]).iloc[1:]
    second.loc["id0003", names.LABEL] = 1
    pair = Pair.of(first, second)
    assert pair.counts == {
        "both": 3,
        "positives": 1,
        "only_first": 1,
        "only_second": 1,
        "other_label": 1,
    }
    assert list(pair.rows.index) == ["id0001", "id0002", "id0004"]


def test_runs_without_images_of_a_side_in_common_are_refused():
    first = predictions([1, 0, 0], [0.9, 0.1, 0.2])
    with pytest.raises(PairError, match="0 positive and 2 negative images in common, of 3 and 2"):
        Pair.of(first, first.iloc[1:])


def test_a_model_without_any_alarm_has_no_precision_to_compare():
    labels = np.array([1, 1, 0, 0])
    pair = Pair.of(
        predictions(labels, [0.1, 0.1, 0.1, 0.1]), predictions(labels, [0.9, 0.9, 0.1, 0.1])
    )
    row = row_of(differences.of_metrics(pair, PREVALENCE), "precision")
    assert (row["first"], row["second"], row["difference"], row["p"]) == (None, 1.0, None, None)


def test_decisions_are_counted_by_side():
    labels = np.array([1, 1, 1, 0, 0, 0])
    pair = Pair.of(
        predictions(labels, [0.9, 0.1, 0.1, 0.9, 0.1, 0.1]),
        predictions(labels, [0.9, 0.9, 0.1, 0.1, 0.1, 0.9]),
    )
    positive, negative = differences.of_decisions(pair)
    counts = ("both", "only_first", "only_second", "neither")
    assert [positive[key] for key in counts] == [1, 0, 1, 1]
    assert [negative[key] for key in counts] == [1, 1, 1, 0]


def test_slices_have_bonett_and_prices_interval():
    labels = np.array([1] * 10 + [0] * 4)
    breeds = ["beagle"] * 10 + ["none"] * 4
    pair = Pair.of(
        predictions(labels, [0.9] * 4 + [0.1] * 6 + [0.1] * 4, breed=breeds),
        predictions(labels, [0.9] * 7 + [0.1] * 3 + [0.1] * 4, breed=breeds),
    )
    beagle, rest = differences.of_slices(pair, ["breed"])
    assert (beagle["value"], beagle["metric"], beagle["images"]) == ("beagle", "recall", 10)
    assert (beagle["first"], beagle["second"]) == (0.4, 0.7)
    assert beagle["difference"] == pytest.approx(0.3)
    # p12 = 1 / 12, p21 = 4 / 12; 0.25 -+ 1.96 sqrt((5 / 12 - 1 / 16) / 12)
    assert beagle["interval"] == pytest.approx([-0.0867, 0.5867], abs=5e-4)
    assert (rest["metric"], rest["difference"]) == ("specificity", 0)


def test_changed_images_come_in_the_order_of_the_change():
    labels = np.array([1, 0, 1, 0])
    pair = Pair.of(
        predictions(labels, [0.4, 0.6, 0.9, 0.1]), predictions(labels, [0.6, 0.1, 0.9, 0.9])
    )
    found = differences.changed_images(pair)
    assert [row["uri"] for row in found] == ["3.jpg", "1.jpg", "0.jpg"]
    assert [row["corrected"] for row in found] == [False, True, True]


def test_only_settings_that_differ_are_listed():
    first, second = {"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}
    assert differences.of_settings(first, second) == [
        {"key": "b", "first": "2", "second": "3"},
        {"key": "c", "first": None, "second": "4"},
    ]
