import numpy as np
import pandas as pd
import pytest
from cleanlab.outlier import OutOfDistribution
from scipy.special import expit, logit

from components import names
from components.evaluator.metrics import roc_auc
from components.reporter import label_doubt


def images(labels, probabilities, typicality=None):
    count = len(labels)
    return pd.DataFrame(
        {
            names.IMAGE_ID: [f"{index:04}" for index in range(count)],
            names.URI: [f"{index}.jpg" for index in range(count)],
            names.SPLIT: names.VAL,
            names.CLASS_NAME: ["dogs" if label else "cats" for label in labels],
            names.LABEL: labels,
            names.PROBABILITY: np.asarray(probabilities, np.float32),
            label_doubt.TYPICALITY: np.nan if typicality is None else typicality,
        }
    )


def ranked_ids(found):
    return [int(image_id) for image_id in found[names.IMAGE_ID]]


@pytest.fixture(scope="module")
def two_groups():
    """Features of 60 positives and 540 negatives in two groups, of which ten labels are wrong."""
    rng = np.random.default_rng(0)
    truth = np.repeat([1, 0], [60, 540])
    features = rng.normal(0, 1, (600, 20)).astype(np.float32)
    features[:, 0] += 5 * truth
    wrong = np.r_[0:5, 60:65]
    labels = truth.copy()
    labels[wrong] = 1 - labels[wrong]
    return features, labels, wrong


def test_wrong_labels_of_both_sides_come_first(two_groups):
    features, labels, wrong = two_groups
    found = label_doubt.out_of_fold(features, labels, prevalence=0.1)
    ranked = label_doubt.rank(images(labels, found), prevalence=0.1)
    assert set(ranked_ids(ranked)[:10]) == set(wrong)
    assert set(ranked[label_doubt.REASON]) == {"contradicted"}
    assert ranked[label_doubt.LABEL_QUALITY].is_monotonic_increasing


def test_no_image_is_scored_by_a_regression_that_saw_its_label():
    # Labels that have nothing to do with the features can only be known by heart.
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 2000)).astype(np.float32)
    labels = rng.integers(0, 2, 200)
    found = label_doubt.out_of_fold(features, labels, prevalence=0.5)
    assert roc_auc(labels, found) == pytest.approx(0.5, abs=0.1)


def test_out_of_fold_probabilities_are_at_the_prevalence(two_groups):
    features, labels, _ = two_groups
    share = labels.mean()
    own = label_doubt.out_of_fold(features, labels, prevalence=share)
    moved = label_doubt.out_of_fold(features, labels, prevalence=0.01)
    np.testing.assert_allclose(moved, expit(logit(own) - logit(share) + logit(0.01)), rtol=1e-6)
    assert own.mean() == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(("positives", "is_known"), [(0, False), (1, False), (2, True)])
def test_few_images_of_a_side_are_divided_into_fewer_folds_or_none(positives, is_known):
    labels = np.repeat([1, 0], [positives, 10])
    features = np.random.default_rng(0).normal(size=(len(labels), 3)).astype(np.float32)
    found = label_doubt.out_of_fold(features, labels, prevalence=0.1)
    assert (found is not None) is is_known


def test_a_missed_image_of_a_weakly_predicted_side_is_less_doubted_than_a_certain_contradiction():
    # The rare class has low probabilities in general, which is no reason to doubt its labels.
    labels = np.repeat([1, 0], [20, 200])
    probabilities = np.r_[np.full(20, 0.3), np.full(199, 0.01), 0.7]
    ranked = label_doubt.rank(images(labels, probabilities), prevalence=1 / 11)
    assert ranked_ids(ranked)[0] == 219


def test_the_ranking_is_the_same_at_any_prevalence_of_the_probabilities(two_groups):
    features, labels, _ = two_groups
    ids = []
    for prevalence in (0.001, 0.1, 0.6):
        found = label_doubt.out_of_fold(features, labels, prevalence=prevalence)
        ids.append(ranked_ids(label_doubt.rank(images(labels, found), prevalence=prevalence))[:30])
    assert ids[0] == ids[1] == ids[2]


def test_typicality_is_the_outlier_score_of_cleanlab():
    features = np.random.default_rng(1).normal(1, 1, (80, 12)).astype(np.float32)
    expected = OutOfDistribution().fit_score(features=features, verbose=False)
    np.testing.assert_allclose(label_doubt.typicality(features), expected, rtol=1e-4)


def test_the_ranking_takes_turns_between_contradicted_and_atypical_images():
    labels = np.repeat([1, 0], [5, 5])
    probabilities = [0.1, 0.2, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1]
    typicality = [0.1, 0.9, 0.5, 0.2, 0.6, 0.7, 0.8, np.nan, 0.85, 0.86]
    ranked = label_doubt.rank(images(labels, probabilities, typicality), prevalence=0.5)
    assert ranked_ids(ranked)[:3] == [0, 1, 3]
    assert ranked[label_doubt.REASON].tolist()[:3] == ["contradicted", "contradicted", "atypical"]


def test_the_ranking_does_not_depend_on_the_order_of_the_images():
    rng = np.random.default_rng(2)
    # Few distinct values, so that many are equal.
    rows = images(rng.integers(0, 2, 50), rng.choice([0.1, 0.9], 50), rng.choice([0.2, 0.8], 50))
    shuffled = rows.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(
        *(label_doubt.rank(each, prevalence=0.5) for each in (rows, shuffled))
    )


def test_the_summary_has_the_first_hundred_as_plain_values():
    rng = np.random.default_rng(3)
    typicality = np.where(np.arange(150) < 100, rng.uniform(size=150), np.nan)
    rows = images(np.arange(150) % 2, rng.uniform(size=150), typicality)
    rows.loc[:29, names.SPLIT] = names.TEST
    found = label_doubt.summarize(label_doubt.rank(rows, prevalence=0.5), {"train": "why"})
    assert found["looked_at"] == {"test": 30, "val": 120}
    assert found["with_features"] == {"test": 30, "val": 70}
    assert found["left_out"] == {"train": "why"}
    assert [row["rank"] for row in found["images"]] == list(range(1, 101))
    assert {type(row["typicality"]) for row in found["images"]} == {float, type(None)}
    assert {type(row["label"]) for row in found["images"]} == {int}
