import numpy as np
import pytest

from components.evaluator import champion, gates, metrics
from components.evaluator.champion import Pair
from components.evaluator.metrics import Costs

PREVALENCE = 0.05
COSTS = Costs(missed=50, false_alarm=1)


def drawn_pair(seed, *, positives=40, negatives=400, shifts=(2.5, 2.5), threshold=0.3):
    """Draws two models whose scores are binormal, correlated, and calibrated up to a constant."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([True, False], [positives, negatives])
    noise = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], labels.size).T
    shift = np.array(shifts)[:, None]
    logits = (noise + labels * shift) * shift - shift**2 / 2 + np.log(PREVALENCE)
    probabilities = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return Pair(labels, probabilities, metrics.is_positive(probabilities, threshold))


@pytest.fixture(scope="module")
def pair():
    return drawn_pair(1)


@pytest.fixture(scope="module")
def compared(pair):
    return champion.compare(pair, PREVALENCE, COSTS)


def test_the_values_are_those_of_each_model_at_each_balance(pair, compared):
    counts = metrics.confusion(pair.labels, pair.called[1])
    rates = metrics.rates(counts)
    own, world = compared["metrics"], compared["at_prevalence"]
    assert own["precision"]["champion"] == pytest.approx(rates["precision"])
    assert own["recall"]["champion"] == world["recall"]["champion"] == counts.recall
    assert world["precision"]["champion"] < own["precision"]["champion"]
    area = metrics.average_precision(pair.labels, pair.probabilities[0], PREVALENCE)
    assert world["pr_auc"]["challenger"] == pytest.approx(area)
    assert world["prevalence"] == PREVALENCE
    assert (compared["images"], compared["positives"]) == (440, 40)


def test_every_metric_has_an_interval_around_the_difference_of_challenger_and_champion(compared):
    for metric in gates.COMPARED:
        row = compared["at_prevalence"][metric]
        assert row["difference"] == row["challenger"] - row["champion"]
        low, high = row["interval"]
        assert low < row["difference"] < high


def test_no_interval_of_a_rate_goes_beyond_the_largest_possible_difference():
    few = champion.compare(drawn_pair(2, positives=2, negatives=20), PREVALENCE, COSTS)
    for metric in (*gates.RATES, "ece", "brier"):
        low, high = few["metrics"][metric]["interval"]
        assert -1 <= low < high <= 1
    assert few["metrics"]["recall"]["interval"] == [-1, 1]


def test_with_the_models_exchanged_the_differences_change_their_sign(pair, compared):
    exchanged = Pair(pair.labels, pair.probabilities[::-1], pair.called[::-1])
    other = champion.compare(exchanged, PREVALENCE, COSTS)["metrics"]
    for metric, row in compared["metrics"].items():
        low, high = row["interval"]
        assert other[metric]["difference"] == -row["difference"]
        # The draws of the exchanged decisions are others.
        assert other[metric]["interval"] == pytest.approx([-high, -low], rel=0.1, abs=5e-3)


def test_a_repeated_comparison_gives_the_same_intervals(pair, compared):
    assert champion.compare(pair, PREVALENCE, COSTS) == compared


def test_models_that_predict_the_same_for_every_image_do_not_differ_at_all(pair):
    same = Pair(pair.labels, pair.probabilities[[0, 0]], pair.called[[0, 0]])
    found = champion.compare(same, PREVALENCE)
    assert found["agrees"]
    assert found["metrics"]["pr_auc"]["interval"] == [0, 0]
    assert found["metrics"]["recall"]["interval"] == [0, 0]
    assert found["metrics"]["expected_cost"]["interval"] is None  # the costs are not known


def test_models_without_any_error_may_differ_on_other_images():
    labels = np.repeat([True, False], [30, 300])
    probabilities = np.where(labels, [[0.9], [0.8]], [[0.1], [0.2]]).astype(np.float32)
    found = champion.compare(Pair(labels, probabilities, probabilities > 0.5), PREVALENCE)
    for metric in ("recall", "pr_auc", "auc"):
        low, high = found["metrics"][metric]["interval"]
        assert -0.2 < low < -0.02
        assert high == -low


def test_a_metric_that_is_undefined_for_one_model_has_no_difference(pair):
    none_called = Pair(pair.labels, pair.probabilities, pair.called * [[True], [False]])
    found = champion.compare(none_called, PREVALENCE)["metrics"]
    row = found["precision"]
    assert (row["champion"], row["difference"], row["interval"]) == (None, None, None)
    assert found["recall"]["interval"] is not None


@pytest.mark.parametrize("positives", [0, 1])
def test_too_few_images_of_a_class_have_no_figures(positives):
    found = champion.compare(drawn_pair(2, positives=positives, negatives=9), PREVALENCE)
    assert (found["images"], found["positives"]) == (9 + positives, positives)
    assert set(found["metrics"]["recall"].values()) == {None}


def test_the_decision_on_one_image_in_four_is_no_proof_of_a_better_recall():
    """A bootstrap alone would find that 4 of 50 images more are significant; McNemar wouldn't."""
    labels = np.repeat([True, False], [50, 500])
    called = np.stack([labels, labels & (np.arange(550) >= 4)])
    probabilities = np.where(called, 0.9, 0.1).astype(np.float32)
    low, _ = champion.compare(Pair(labels, probabilities, called), PREVALENCE)["metrics"]["recall"][
        "interval"
    ]
    assert low < 0


def missed(truths, seeds, **shape):
    """Returns how often the truth is below and above the interval, by metric."""
    found = {metric: np.zeros(2) for metric in gates.COMPARED}
    for seed in seeds:
        rows = champion.compare(drawn_pair(seed, **shape), PREVALENCE, COSTS)["at_prevalence"]
        for metric, sides in found.items():
            low, high = rows[metric]["interval"]
            sides += [truths[metric] < low, truths[metric] > high]
    return {metric: sides / len(seeds) for metric, sides in found.items()}


def test_of_two_equally_good_models_one_is_rarely_found_better():
    """With a true difference of 0, each side may be missed by 2.5 % of the intervals."""
    shares = missed(dict.fromkeys(gates.COMPARED, 0.0), range(200))
    assert max(share.max() for share in shares.values()) <= 0.05
    # Intervals that are much too wide would find nothing.
    assert sum(share.sum() for share in shares.values()) > 0.02


def test_the_intervals_contain_a_true_difference():
    shape = {"positives": 40, "negatives": 400, "shifts": (3.2, 2.5)}
    many = champion.compare(
        drawn_pair(0, **{**shape, "positives": 10_000, "negatives": 100_000}), PREVALENCE, COSTS
    )
    truths = {metric: many["at_prevalence"][metric]["difference"] for metric in gates.COMPARED}
    assert truths["recall"] > 0.1
    assert truths["brier"] < 0
    shares = missed(truths, range(1, 51), **shape)
    assert max(share.sum() for share in shares.values()) <= 0.1
