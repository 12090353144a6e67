import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize, special

from components.trainer import losses
from components.trainer.losses import CrossEntropy, Focal, KerasLoss, MarginLoss, Smoothed
from components.trainer.sampling import epoch_weights, training_balance, training_loss

POSITIVES, NEGATIVES = 30, 600
PRIOR = np.log(POSITIVES / NEGATIVES)
LABELS = np.repeat([1.0, 0.0], [POSITIVES, NEGATIVES])
ALL = [
    CrossEntropy(),
    CrossEntropy(-2.5),
    Focal(),
    Focal(1.5),
    MarginLoss(2.0, 0.7),
    Smoothed(CrossEntropy(1.0), 0.1),
    Smoothed(MarginLoss(0.5, 0.2), 0.3),
]


def _loss(make_settings, **changes) -> losses.Loss:
    return training_loss(LABELS.astype(int), make_settings(**changes))


def _values(loss, labels, logits) -> np.ndarray:
    return loss(tf.constant(labels, tf.float64), tf.constant(logits, tf.float64)).numpy()


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.fixture
def two_logits() -> np.ndarray:
    """Logits of the negative and the positive class, as a softmax over two classes has them."""
    return np.random.default_rng(0).normal(0, 3, (LABELS.size, 2))


@pytest.mark.parametrize("loss", ALL, ids=str)
@pytest.mark.parametrize("label", [0.0, 1.0, 0.35])
def test_both_forms_of_a_loss_have_the_same_values_and_derivatives(loss, label):
    logits = np.linspace(-8, 8, 33)
    labels = np.full_like(logits, label)
    watched = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(watched)
        expected = loss(tf.constant(labels), watched)
    value, derivative = loss.value_and_derivative(labels, logits)
    np.testing.assert_allclose(value, expected, atol=1e-12)
    np.testing.assert_allclose(derivative, tape.gradient(expected, watched), atol=1e-12)


@pytest.mark.parametrize("loss", ALL, ids=str)
def test_losses_of_extreme_log_odds_are_finite(loss):
    logits = np.array([-100.0, 100.0, -100.0, 100.0])
    value, derivative = loss.value_and_derivative(np.array([0.0, 0.0, 1.0, 1.0]), logits)
    assert np.isfinite(value).all()
    assert np.isfinite(derivative).all()


def test_focal_loss_equals_keras_s_for_mixed_labels_too():
    labels = np.array([[0.0], [1.0], [0.3], [0.8]], np.float32)
    logits = np.array([[-2.0], [0.5], [1.5], [-1.0]], np.float32)
    keras_loss = keras.losses.BinaryFocalCrossentropy(from_logits=True, reduction=None)
    expected = keras_loss(labels, logits)
    np.testing.assert_allclose(Focal()(labels, logits)[:, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("tau", [0.5, 1.0, 1.5])
def test_logit_adjusted_equals_the_softmax_form_of_the_source(make_settings, two_logits, tau):
    """Menon et al., eq. 10: each class's logit plus tau times the log of its prior."""
    priors = np.array([NEGATIVES, POSITIVES]) / LABELS.size
    adjusted = _softmax(two_logits + tau * np.log(priors))
    expected = -np.log(adjusted[np.arange(LABELS.size), LABELS.astype(int)])
    loss = _loss(make_settings, loss="logit_adjusted", tau=tau)
    found = _values(loss, LABELS, two_logits[:, 1] - two_logits[:, 0])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_balanced_softmax_equals_the_source_and_logit_adjustment_with_tau_1(
    make_settings, two_logits
):
    """Ren et al., eq. 3: exponentials of the logits, weighted with the numbers of images."""
    weighted = np.array([NEGATIVES, POSITIVES]) * np.exp(two_logits)
    shares = weighted / weighted.sum(axis=1, keepdims=True)
    expected = -np.log(shares[np.arange(LABELS.size), LABELS.astype(int)])
    loss = _loss(make_settings, loss="balanced_softmax")
    found = _values(loss, LABELS, two_logits[:, 1] - two_logits[:, 0])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert loss == _loss(make_settings, loss="logit_adjusted")


def test_ldam_equals_the_code_of_its_authors(make_settings):
    """Cao et al.: margins from n^(-1/4) with a largest of 0.5, cosines times 30."""
    scale, largest = 30, 0.5
    cosines = np.random.default_rng(1).uniform(-1, 1, (LABELS.size, 2))
    margins = 1 / np.sqrt(np.sqrt([NEGATIVES, POSITIVES]))
    margins *= largest / margins.max()
    classes = LABELS.astype(int)
    moved = cosines.copy()
    moved[np.arange(LABELS.size), classes] -= margins[classes]
    expected = -np.log(_softmax(scale * moved)[np.arange(LABELS.size), classes])
    loss = _loss(make_settings, loss="ldam", ldam={"margin": scale * largest})
    found = _values(loss, LABELS, scale * (cosines[:, 1] - cosines[:, 0]))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_deferred_weights_equal_those_of_the_authors_code():
    """Cao et al.: (1 - beta) / (1 - beta^n), divided by their sum, times the number of classes."""
    effective = 1.0 - np.power(0.9999, [NEGATIVES, POSITIVES])
    expected = (1.0 - 0.9999) / effective
    expected = expected / np.sum(expected) * 2
    found = losses.deferred_weights(POSITIVES, NEGATIVES, beta=0.9999)
    assert (found.negative, found.positive) == pytest.approx(tuple(expected))
    assert losses.deferred_weights(POSITIVES, NEGATIVES, beta=0) == losses.ClassWeight()


def test_the_sides_are_weighted_in_the_last_fifth_of_the_epochs_of_ldam(make_settings):
    labels, expected = LABELS.astype(int), losses.deferred_weights(POSITIVES, NEGATIVES, beta=0.9)
    settings = make_settings(loss="ldam", ldam={"beta": 0.9}, epochs=10)
    found = [epoch_weights(labels, settings, done=done) for done in range(10)]
    assert found[:8] == [None] * 8
    assert found[8:] == [{0: expected.negative, 1: expected.positive}] * 2
    never = make_settings(loss="ldam", ldam={"reweight_after": None}, epochs=10)
    assert epoch_weights(labels, never, done=9) is None


def test_label_smoothing_equals_keras_s():
    logits = np.linspace(-3, 3, 7, dtype=np.float32)[:, None]
    labels = (np.arange(7) % 2).astype(np.float32)[:, None]
    expected = keras.losses.BinaryCrossentropy(
        from_logits=True, label_smoothing=0.2, reduction=None
    )(labels, logits)
    found = Smoothed(CrossEntropy(), 0.2)(labels, logits)[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": "logit_adjusted"},
        {"loss": "logit_adjusted", "tau": 0.6},
        {"loss": "balanced_softmax"},
        {"class_weight": "balanced"},
    ],
)
def test_the_recorded_balance_has_the_odds_of_the_scores(make_settings, changes):
    """The lowest loss of images that are all alike is at the odds that the Calibrator assumes."""
    settings, labels = make_settings(**changes), LABELS.astype(int)
    loss, weights = training_loss(labels, settings), epoch_weights(labels, settings, done=0)
    weight = np.array([(weights or {}).get(label, 1.0) for label in labels])

    def mean(logit: float) -> float:
        value, _ = loss.value_and_derivative(LABELS, np.full(LABELS.size, logit))
        return float(weight @ value)

    lowest = optimize.minimize_scalar(mean, bracket=(-5, 5)).x
    assert np.log(training_balance(labels, settings).odds) == pytest.approx(lowest, abs=1e-6)


def test_the_balance_of_ldam_has_the_weights_of_the_last_epoch(make_settings):
    balance = training_balance(LABELS.astype(int), make_settings(loss="ldam", epochs=5))
    weights = losses.deferred_weights(POSITIVES, NEGATIVES, beta=0.9999)
    assert (balance.positive_weight, balance.negative_weight) == (
        weights.positive,
        weights.negative,
    )


def test_a_keras_model_is_trained_on_the_log_odds_before_its_sigmoid():
    inputs = keras.Input((1,))
    outputs = keras.layers.Dense(1, activation="sigmoid", kernel_initializer="ones")(inputs)
    inner = keras.Model(inputs, outputs)
    model = keras.Sequential([keras.Input((1,)), inner])
    # The sigmoid of 40 is 1 in float32: its logarithm would say nothing of how wrong it is.
    values, labels = np.array([[40.0], [-40.0]]), np.array([[0.0], [0.0]])
    for loss, expected in ((CrossEntropy(), 20.0), (MarginLoss(1.0, 2.0), 21.0)):
        model.compile(loss=KerasLoss(loss))
        assert model.evaluate(values, labels, verbose=0) == pytest.approx(expected, abs=1e-4)


def test_probabilities_without_log_odds_are_inverted():
    labels, logits = np.array([[1.0], [0.0]], np.float32), np.array([[0.3], [-2.0]], np.float32)
    probabilities = special.expit(logits)
    found = KerasLoss(CrossEntropy(0.5), reduction=None)(labels, probabilities)
    np.testing.assert_allclose(found, CrossEntropy(0.5)(labels, logits)[:, 0], rtol=1e-5)


def test_a_solved_head_ends_with_the_deferred_weights_of_ldam(make_settings):
    labels = LABELS.astype(int)
    changes = {"model": "xception", "image_size": 71, "loss": "ldam", "epochs": 1}
    solved = training_balance(labels, make_settings(**changes, optimizer="auto"))
    assert solved.positive_weight > solved.negative_weight
    # The first of the first four fifths.
    in_epochs = training_balance(labels, make_settings(**changes, optimizer="adam"))
    assert in_epochs.positive_weight == in_epochs.negative_weight == 1
