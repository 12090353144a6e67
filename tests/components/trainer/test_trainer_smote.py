import numpy as np
import pytest
from imblearn.over_sampling import SMOTE, BorderlineSMOTE
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from components.trainer import penalty, smote
from components.trainer.checkpoint import Checkpoint
from components.trainer.devices import device_policy
from components.trainer.features import Rows
from components.trainer.methods import Smote
from components.trainer.models import Network, build_head
from components.trainer.replicates import ArmRows, train_heads
from components.trainer.sampling import epoch_size, training_balance
from components.trainer.solved_head import solve_head
from components.trainer.training import Training

POSITIVES, NEGATIVES = 12, 60
LABELS = np.repeat([1, 0], [POSITIVES, NEGATIVES])


def _rows(seed: int = 0, *, distance: float = 1.0, shape=(5,)) -> Rows:
    sides = LABELS.reshape(-1, *[1] * len(shape)) * distance
    values = np.random.default_rng(seed).normal(sides, size=(LABELS.size, *shape))
    return Rows(values.astype(np.float16), LABELS)


@pytest.mark.parametrize(
    ("settings", "reference"),
    [
        (Smote(kind="smote"), SMOTE(random_state=3)),
        (
            Smote(kind="smote", ratio=0.5, k_neighbors=2),
            SMOTE(sampling_strategy=0.5, k_neighbors=2, random_state=3),
        ),
        (Smote(kind="borderline_smote"), BorderlineSMOTE(random_state=3)),
        (
            Smote(kind="borderline_smote", m_neighbors=6),
            BorderlineSMOTE(m_neighbors=6, random_state=3),
        ),
    ],
)
def test_new_rows_are_those_of_imbalanced_learn(settings, reference):
    rows = _rows()
    found = smote.new_rows(rows, settings, random_state=3)
    values, labels = reference.fit_resample(rows.values.astype(np.float32), LABELS)
    np.testing.assert_array_equal(found.values, values[LABELS.size :].astype(np.float16))
    np.testing.assert_array_equal(found.labels, labels[LABELS.size :])


def test_a_new_row_lies_between_two_images_of_the_smaller_side():
    rows = Rows(_rows().values.astype(np.float64), LABELS)
    positives = rows.values[LABELS == 1]
    first, second = positives[:, None], positives[None]
    length = np.linalg.norm(first - second, axis=-1)
    for new in smote.new_rows(rows, Smote(kind="smote"), random_state=0).values:
        around = np.linalg.norm(first - new, axis=-1) + np.linalg.norm(second - new, axis=-1)
        assert (around - length).min() == pytest.approx(0, abs=1e-5)


def test_feature_maps_keep_their_shape():
    found = smote.new_rows(_rows(shape=(2, 2, 3)), Smote(kind="smote"), random_state=0)
    assert found.values.shape == (NEGATIVES - POSITIVES, 2, 2, 3)


@pytest.mark.parametrize("ratio", [0.1, 0.35, 1.0])
def test_an_epoch_has_as_many_images_as_there_are_rows(make_settings, ratio):
    strategy = Smote(kind="smote", ratio=ratio)
    found = smote.enlarged(_rows(), strategy, [1])
    assert epoch_size(LABELS, strategy) == len(found.rows.labels) == len(found.members[0])
    # Rows that already have the ratio have no need of others.
    assert epoch_size(found.rows.labels, strategy) == len(found.rows.labels)
    settings = make_settings(
        model="xception", image_size=71, sampling_strategy={"kind": "smote", "ratio": ratio}
    )
    balance = training_balance(LABELS, settings)
    assert balance.positive_images == found.rows.labels.sum()
    assert balance.negative_images == NEGATIVES


def test_too_few_images_for_the_neighbours_are_an_error_that_says_what_to_do():
    rows = Rows(_rows().values[8:], LABELS[8:])
    message = r"k_neighbors 5 requires 6 images of the smaller side.*few: lower. Received: 4"
    with pytest.raises(ValueError, match=message):
        smote.new_rows(rows, Smote(kind="smote"), random_state=0)
    lowered = smote.new_rows(rows, Smote(kind="smote", few="lower"), random_state=0)
    expected = smote.new_rows(rows, Smote(kind="smote", k_neighbors=3), random_state=0)
    np.testing.assert_array_equal(lowered.values, expected.values)
    one = Rows(_rows().values[11:], LABELS[11:])
    with pytest.raises(ValueError, match=r"requires 2 images of the smaller side.*Received: 1"):
        smote.new_rows(one, Smote(kind="smote", few="lower"), random_state=0)


def test_sides_without_a_border_are_an_error():
    with pytest.raises(ValueError, match=r"no image at the border.*choose 'smote'"):
        smote.new_rows(_rows(distance=50.0), Smote(kind="borderline_smote"), random_state=0)


def _train(make_settings, seeds, **changes):
    settings = make_settings(model="xception", image_size=71, epochs=2, batch_size=8, **changes)
    rows = ArmRows(train=_rows(), val="val", evaluated={"val": _rows(1)})
    stacks = train_heads(settings, seeds, rows, on_epoch=lambda epoch: None)
    return [replicate for stack in stacks for replicate in stack]


@pytest.mark.parametrize("head", ["pooled", "flatten"])
def test_replicates_with_new_rows_of_their_own_train_as_if_alone(make_settings, head):
    together = _train(make_settings, [1, 2], head=head, sampling_strategy="smote")
    for replicate in together:
        (alone,) = _train(
            make_settings, [replicate.random_state], head=head, sampling_strategy="smote"
        )
        np.testing.assert_allclose(
            replicate.probabilities["val"], alone.probabilities["val"], atol=1e-5
        )
        epoch = replicate.epochs[0]
        assert epoch["tp"] + epoch["fn"] == epoch["tn"] + epoch["fp"] == NEGATIVES


def test_a_network_is_trained_on_new_rows(make_settings, tmp_path):
    settings = make_settings(model="xception", image_size=71, sampling_strategy="smote", epochs=1)
    head = build_head(settings, (5,))
    training = Training(
        Network(full=head, body=None, trained=head, top=None),
        train=_rows(),
        val=_rows(1),
        settings=settings,
        policy=device_policy(gpus=0),
        checkpoint=Checkpoint(str(tmp_path)),
    )
    (epoch,) = training.run()
    assert epoch["tp"] + epoch["fn"] == epoch["tn"] + epoch["fp"] == NEGATIVES


def test_smote_finds_more_positives_at_one_half(make_settings):
    (plain,) = _train(make_settings, [1], learning_rate=0.05)
    (more,) = _train(make_settings, [1], learning_rate=0.05, sampling_strategy="smote")
    recalls = [np.mean(each.probabilities["val"][LABELS == 1] >= 0.5) for each in (plain, more)]
    assert recalls[1] > recalls[0]


def _solved(make_settings, train: Rows, seed: int = 3, **changes):
    settings = make_settings(
        model="xception", image_size=71, optimizer="auto", random_state=seed, **changes
    )
    return solve_head(settings, train, _rows(1))


def _in_float32() -> Rows:
    return Rows(_rows().values.astype(np.float32), LABELS)


def test_a_head_is_solved_on_the_images_and_the_new_rows(make_settings):
    train = _in_float32()
    found = _solved(make_settings, train, sampling_strategy="smote", penalty=0.3)
    rows = SMOTE(random_state=3).fit_resample(train.values, LABELS)
    reference = LogisticRegression(C=0.3, tol=1e-10, max_iter=5000).fit(*rows)
    np.testing.assert_allclose(found.weights[0][:, 0], reference.coef_[0], atol=1e-4)
    np.testing.assert_allclose(found.weights[1], reference.intercept_, atol=1e-4)


@pytest.mark.parametrize("kind", ["smote", "borderline_smote"])
def test_the_penalty_of_new_rows_is_chosen_on_images_between_which_none_lies(make_settings, kind):
    train = _in_float32()
    found = _solved(make_settings, train, sampling_strategy=kind)
    sampler = SMOTE if kind == "smote" else BorderlineSMOTE
    weights = np.where(LABELS == 1, NEGATIVES / POSITIVES, 1.0)
    folds = StratifiedKFold(penalty.FOLDS, shuffle=True, random_state=0)
    for score in found.solver["cross_validation"]:
        total = 0.0
        for fitted, held in folds.split(train.values, LABELS):
            rows = sampler(random_state=3).fit_resample(train.values[fitted], LABELS[fitted])
            head = LogisticRegression(C=score["penalty"], tol=1e-8, max_iter=5000).fit(*rows)
            right = head.predict_proba(train.values[held])[np.arange(len(held)), LABELS[held]]
            total += weights[held] @ -np.log(right)
        assert score["loss"] == pytest.approx(total / weights.sum(), abs=2e-3)


def test_a_fold_with_too_few_images_for_new_rows_repeats_its_images(make_settings):
    train = Rows(_in_float32().values[10:], LABELS[10:])  # two positives, one in each fold
    strategy = {"kind": "smote", "few": "lower"}
    assert _solved(make_settings, train, sampling_strategy=strategy).solver["penalty_chosen"]


def test_each_seed_has_new_rows_of_its_own_when_the_head_is_solved(make_settings):
    first, second = _train(make_settings, [1, 2], optimizer="auto", sampling_strategy="smote")
    assert not np.array_equal(first.weights[0], second.weights[0])
    assert first.solver["converged"]
