import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from components.study_reporter import bootstrap


def weights_of(labels, draws):
    return np.concatenate(list(bootstrap.image_weights(labels == 1, draws)), axis=1)


@pytest.fixture(scope="module")
def models():
    """Labels, and probabilities of three models with many ties."""
    rng = np.random.default_rng(2)
    labels = np.repeat([1, 0], [20, 60])
    rng.shuffle(labels)
    rows = np.round(np.clip(rng.normal(0.35 + 0.3 * labels, 0.2, (3, 80)), 0, 1), 1)
    return labels, rows.astype(np.float32)


def test_each_draw_keeps_the_sizes_of_the_classes(models):
    labels, _ = models
    weights = weights_of(labels, 500)
    assert weights.shape == (80, 500)
    assert (weights[labels == 1].sum(axis=0) == 20).all()
    assert (weights[labels == 0].sum(axis=0) == 60).all()
    assert weights.mean() == pytest.approx(1)
    # The variance of a binomial count with n trials and probability 1 / n.
    assert weights[labels == 0].var() == pytest.approx(1 - 1 / 60, rel=0.05)


def test_metrics_of_a_draw_are_those_of_its_images(models):
    labels, rows = models
    rates = bootstrap.rates(labels, rows >= 0.5, draws=8)
    areas = bootstrap.average_precisions(labels, rows, draws=8)
    weights = weights_of(labels, 8)
    for model, probabilities in enumerate(rows):
        predicted = probabilities >= 0.5
        for draw in range(8):
            weight = {"sample_weight": weights[:, draw]}
            expected = {
                "recall": sklearn_metrics.recall_score(labels, predicted, **weight),
                "precision": sklearn_metrics.precision_score(labels, predicted, **weight),
                "f1": sklearn_metrics.f1_score(labels, predicted, **weight),
                "accuracy": sklearn_metrics.accuracy_score(labels, predicted, **weight),
            }
            for name, value in expected.items():
                assert rates[name][model, draw] == pytest.approx(value)
            area = sklearn_metrics.average_precision_score(labels, probabilities, **weight)
            assert areas[model, draw] == pytest.approx(area, abs=1e-6)


def test_draws_of_replicates_have_the_variance_of_their_mean():
    values = np.array([0.1, 0.5, 0.2, 0.9])
    drawn = values @ bootstrap.replicate_weights(4, 50_000)
    assert drawn.mean() == pytest.approx(values.mean(), abs=0.005)
    assert drawn.var() == pytest.approx(values.var(ddof=1) / 4, rel=0.03)


IMAGES, DRAWS = 200, 1000


@pytest.fixture(scope="module")
def image_weights():
    rng = np.random.default_rng(1)
    return rng.multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES), size=DRAWS).T / IMAGES


def interval(rng, weights, *, replicates, by_image, by_replicate, by_both):
    """Returns the interval for a mean over images, of arms without a true difference."""
    values = (
        rng.normal(0, by_image, IMAGES)
        + rng.normal(0, by_replicate, (replicates, 1))
        + rng.normal(0, by_both, (replicates, IMAGES))
    )
    drawn = values @ weights, np.zeros((replicates, DRAWS))
    found = bootstrap.compare(values.mean(axis=1), np.zeros(replicates), drawn, images=IMAGES)
    return found["interval"]


@pytest.mark.parametrize(
    "spread",
    [
        {"by_image": 0.4, "by_replicate": 0.0, "by_both": 0.0},
        {"by_image": 0.0, "by_replicate": 0.03, "by_both": 0.0},
        {"by_image": 0.0, "by_replicate": 0.0, "by_both": 0.8},
        {"by_image": 0.2, "by_replicate": 0.02, "by_both": 0.4},
    ],
)
@pytest.mark.parametrize("replicates", [3, 10])
def test_intervals_contain_the_true_value_for_any_source_of_variance(
    image_weights, spread, replicates
):
    rng = np.random.default_rng(0)
    found = [interval(rng, image_weights, replicates=replicates, **spread) for _ in range(200)]
    coverage = np.mean([low <= 0 <= high for low, high in found])
    assert 0.91 <= coverage <= 1


def test_intervals_are_as_wide_as_the_standard_error_requires(image_weights):
    rng, spread = np.random.default_rng(0), {"by_image": 0.3, "by_replicate": 0, "by_both": 0.9}
    found = [interval(rng, image_weights, replicates=10, **spread) for _ in range(60)]
    error = np.sqrt(0.3**2 / IMAGES + 0.9**2 / (10 * IMAGES))
    assert np.mean(np.diff(found)) == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_equal_arms_have_no_difference():
    values, drawn = np.full(4, 0.8), np.random.default_rng(0).random((4, 100))
    found = bootstrap.compare(values, values, (drawn, drawn), images=50)
    assert (found["difference"], found["p"]) == (0, 1)
    # With no discordant image among 50, a difference of more than 3 % is still possible.
    low, high = found["interval"]
    assert -low == high
    assert 0.03 < high < 0.08


@pytest.mark.parametrize(("images", "shown"), [(1, False), (3, False), (50, True)])
def test_a_difference_that_no_draw_changes_is_shown_only_with_many_images(images, shown):
    """In every draw, the first arm classifies all images correctly and the second none."""
    correct, incorrect = np.ones(3), np.zeros(3)
    drawn = np.ones((3, 100)), np.zeros((3, 100))
    found = bootstrap.compare(correct, incorrect, drawn, images=images)
    assert found["difference"] == 1
    assert found["interval"][0] < 1 == found["interval"][1]
    assert 0 < found["p"] < 1
    assert (found["p"] < 0.05) is shown


def test_a_metric_that_is_undefined_for_an_arm_is_not_compared():
    values, drawn = np.full(4, 0.8), np.full((4, 100), 0.8)
    undefined = np.full(4, np.nan), np.full((4, 100), np.nan)
    found = bootstrap.compare(values, undefined[0], (drawn, undefined[1]), images=50)
    assert set(found.values()) == {None}


def test_undefined_draws_are_excluded():
    values = np.array([0.8, 0.6, np.nan])
    rng = np.random.default_rng(0)
    drawn = rng.normal(0.7, 0.01, (3, 400))
    drawn[2] = np.nan
    zeros = np.zeros((3, 400))
    found = bootstrap.compare(values, np.zeros(3), (drawn, zeros), images=50)
    assert found["difference"] == pytest.approx(0.7)
    assert found["interval"][0] < 0.7 < found["interval"][1]


def test_with_one_replicate_only_the_images_vary():
    rng = np.random.default_rng(0)
    drawn = rng.normal(0.1, 0.02, (1, 4000))
    found = bootstrap.compare(
        np.array([0.1]), np.zeros(1), (drawn, np.zeros((1, 4000))), images=1000
    )
    assert found["interval"] == pytest.approx([0.1 - 0.0393, 0.1 + 0.0393], abs=0.002)
