"""The units of a split, and how they reach the folds that choose a head's penalty."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from listed import list_files
from tfx.components.trainer.fn_args_utils import FnArgs

from components.example_files import shard_name, split_dir
from components.imbalance_sampler import draws as drawn_splits
from components.imbalance_sampler import records
from components.imbalance_sampler.request import SamplingError
from components.imbalance_sampler.units import form_units
from components.trainer import arm as arm_module
from components.trainer import penalty, run
from components.trainer.checkpoint import training_identity
from components.trainer.data import read_split
from components.trainer.draws import DrawnSplits, Part
from components.trainer.units import UnitRule, binding, units_of

FEATURES = 2048
RULE = UnitRule(group_by="patient", max_distance=4)
# (perceptual hash, patient): 0, 1 and 4 are a chain, 2 and 3 of one patient, 5 and 6 have neither.
IMAGES = [
    ("0000000000000000", ""),
    ("000000000000000f", ""),
    ("123456789abcdef0", "anna"),
    ("fedcba9876543210", "anna"),
    ("00000000000000ff", ""),
    ("", ""),
    ("", ""),
]


def columns_of(images) -> dict[str, np.ndarray]:
    hashes, patients = np.array([[text.encode() for text in image] for image in images], object).T
    ids = np.array([b"%064x" % number for number in range(len(images))], object)
    names = np.full(len(images), b"cats", object)
    return {
        "image_id": ids,
        "class_name": names,
        "perceptual_hash": hashes,
        "patient": patients,
    }


def _write(uri: Path, split: str, images, *, labels=(0, 1)) -> str:
    """Writes images with features as a split, alternately of the labels; returns its pattern."""
    columns = columns_of(images)
    folder = Path(split_dir(str(uri), split))
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with tf.io.TFRecordWriter(str(folder / shard_name(0, 1))) as writer:
        for number in range(len(images)):
            label = labels[number % len(labels)]
            values = (rng.normal(size=FEATURES) + 0.1 * label).astype(np.float32)
            features = tf.train.Features()
            features.feature["features"].bytes_list.value.append(values.tobytes())
            features.feature["features_shape"].int64_list.value.append(FEATURES)
            features.feature["features_type"].bytes_list.value.append(b"float32")
            features.feature["label"].int64_list.value.append(label)
            for name, texts in columns.items():
                features.feature[name].bytes_list.value.append(texts[number])
            writer.write(tf.train.Example(features=features).SerializeToString())
    list_files(uri)
    return str(folder / "*")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (RULE, [0, 0, 2, 2, 0, 5, 6]),
        (UnitRule("", 4), [0, 0, 2, 3, 0, 5, 6]),
        (UnitRule("patient", 0), [0, 1, 2, 2, 4, 5, 6]),
        (UnitRule(), [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_images_of_a_group_and_chains_of_near_duplicates_are_units(rule, expected):
    assert list(units_of(columns_of(IMAGES), rule)) == expected
    assert units_of(columns_of(IMAGES), rule).dtype == np.int64


def test_an_image_without_a_group_is_of_the_unit_of_the_one_that_it_resembles():
    images = [("00000000000000f0", ""), ("00000000000000f1", "anna"), ("f" * 16, "anna")]
    assert list(units_of(columns_of(images), RULE)) == [0, 0, 0]


def test_equal_hashes_bind_only_if_there_are_near_duplicates():
    images = [("f" * 16, "")] * 3
    assert list(units_of(columns_of(images), UnitRule("", 1))) == [0, 0, 0]
    assert list(units_of(columns_of(images), UnitRule("", 0))) == [0, 1, 2]


def test_records_without_identities_are_not_of_one_unit():
    columns = columns_of(IMAGES[5:]) | {"image_id": np.full(2, b"", object)}
    assert list(units_of(columns, RULE)) == [0, 1]


def test_a_malformed_hash_is_refused():
    with pytest.raises(SamplingError, match="16 hexadecimal digits"):
        units_of(columns_of([("no hash", "")]), RULE)


def _many_images(rng: np.random.Generator) -> list[tuple[str, str]]:
    """Images some of which are near others, and of patients, none of which resemble another's."""
    scenes = rng.integers(0, 2**63, 40)
    images = []
    for scene in rng.integers(0, len(scenes), 150):
        flipped = int(scenes[scene]) ^ (1 << int(rng.integers(0, 8)))
        patient = f"patient-{scene % 5}" if scene < 20 and rng.random() < 0.7 else ""
        images.append((f"{flipped:016x}" if rng.random() < 0.8 else "", patient))
    return images


@pytest.mark.parametrize("rule", [RULE, UnitRule("patient", 0), UnitRule("", 2)])
def test_the_units_of_a_split_are_those_of_the_sampler(tmp_path, rule):
    pattern = _write(tmp_path, "train", _many_images(np.random.default_rng(3)))
    path = pattern.replace("*", shard_name(0, 1))
    (rows,), _ = records.scan(path, 0, random_states=[42], group_by=rule.group_by)
    sampled = form_units(rows, random_state=42, max_distance=rule.max_distance)
    units = read_split("train", [pattern], rule=rule).units
    drawn = ~sampled.excluded
    together = sampled.unit[drawn, None] == sampled.unit[drawn]
    np.testing.assert_array_equal(units[drawn, None] == units[drawn], together)
    assert binding(units[drawn])


def test_the_units_of_a_split_are_read_only_on_request(tmp_path):
    pattern = _write(tmp_path, "train", IMAGES)
    assert read_split("train", [pattern]).units is None


class _StopError(Exception):
    pass


PAIRS = [("", f"patient-{number // 4}") for number in range(24)]
SOLVED = {"model": "xception", "image_size": 71, "optimizer": "auto"}


def _fn_args(folder: Path, train: str, evaluated: str, config: dict) -> FnArgs:
    return FnArgs(
        train_files=[train],
        eval_files=[evaluated],
        serving_model_dir=str(folder / "model"),
        model_run_dir=str(folder / "run"),
        custom_config=config,
    )


@pytest.fixture
def seen(monkeypatch) -> list[np.ndarray | None]:
    """The units of the images by which each penalty is chosen."""
    found, folds = [], penalty.folds

    def spy(labels, units=None):
        found.append(units)
        return folds(labels, units)

    monkeypatch.setattr(penalty, "folds", spy)
    return found


@pytest.fixture
def run_trainer_on(tmp_path, make_settings, monkeypatch):
    """Runs the Trainer until its head is solved; returns the units of its images."""

    def run_fn(images, rule: UnitRule | None, **changes):
        def solve_head(settings, train, val):
            found.append(train.units)
            raise _StopError

        found = []
        monkeypatch.setattr(run.solved_head, "solve_head", solve_head)
        train, val = (_write(tmp_path / "examples", name, images) for name in ("train", "val"))
        config = {
            "trainer": make_settings(**SOLVED | changes).model_dump(),
            "reading": {"max_side": 0, "max_pixels": 10_000},
            "checkpoint_root": str(tmp_path / "checkpoints"),
            **(rule.as_config() if rule else {}),
        }
        with pytest.raises(_StopError):
            run.run_fn(_fn_args(tmp_path, train, val, config))
        return found[0]

    return run_fn


def test_a_trainer_solves_its_head_on_images_with_their_units(run_trainer_on):
    assert list(run_trainer_on(PAIRS, RULE)) == [4 * (number // 4) for number in range(24)]


def test_a_trainer_that_knows_no_units_has_each_image_by_itself(run_trainer_on):
    assert list(run_trainer_on(PAIRS, None)) == list(range(24))


def test_a_penalty_that_is_given_needs_no_units(run_trainer_on):
    assert run_trainer_on(PAIRS, RULE, penalty=0.5) is None


@pytest.fixture
def run_arm(tmp_path, make_settings):
    def run_fn(train: str, evaluated: str, *, arm: dict | None = None, **changes) -> None:
        config = {
            "trainer": make_settings(**SOLVED | changes).model_dump(),
            "arm": {
                "name": "tried",
                "train_split": "train",
                "val_split": "val",
                "test_splits": [],
                "replicates": 1,
                **(arm or {}),
            },
            "checkpoint_root": str(tmp_path / "checkpoints"),
            "sampling": str(tmp_path / "sampling"),
            **RULE.as_config(),
        }
        arm_module.run_fn(_fn_args(tmp_path, train, evaluated, config))

    return run_fn


@pytest.mark.parametrize("strategy", ["representative", {"kind": "smote", "few": "lower"}])
def test_an_arm_chooses_its_penalty_by_units(tmp_path, run_arm, seen, strategy):
    # A third of the images, in each patient, is positive.
    train, val = (_write(tmp_path, name, PAIRS, labels=(0, 1, 0)) for name in ("train", "val"))
    run_arm(train, val, sampling_strategy=strategy)
    (units,) = seen
    assert list(units) == [4 * (number // 4) for number in range(24)]


def test_the_heads_of_a_bag_choose_their_penalties_by_the_units_of_their_images(
    tmp_path, run_arm, seen
):
    train, val = (_write(tmp_path, name, PAIRS, labels=(0, 1, 0)) for name in ("train", "val"))
    run_arm(train, val, bagging=3)
    assert len(seen) == 3
    for units in seen:
        assert len(units) == 16
        assert set(units) <= {4 * patient for patient in range(6)}


def test_each_draw_and_point_of_a_curve_has_the_units_of_its_images(tmp_path, run_arm, seen):
    pattern = _write(tmp_path, "drawn", PAIRS * 2)
    trained = [np.arange(40), np.arange(8, 48)]
    draws = [{"train": rows, "val": np.setdiff1d(np.arange(48), rows)} for rows in trained]
    drawn_splits.write(draws, str(tmp_path / "sampling"))
    points = [{"positives": None, "negatives": None}, {"positives": 10, "negatives": None}]
    run_arm(pattern, pattern, arm={"draws": 2, "points": points})
    of_source = read_split("drawn", [pattern], rule=RULE).units
    for units, rows in zip(seen[:2], trained, strict=True):
        np.testing.assert_array_equal(units, of_source[rows])
    for units, whole in zip(seen[2:], seen[:2], strict=True):
        assert len(units) == 30
        assert set(units) <= set(whole)


@pytest.fixture
def identities(tmp_path, make_settings):
    """The identities of a training and of an arm, by rule and settings."""
    pattern = _write(tmp_path, "train", IMAGES)
    arm = arm_module.Arm(
        name="a", train_split="train", val_split="val", test_splits=(), replicates=1
    )

    def both(rule: UnitRule | None) -> tuple[str, str]:
        settings = make_settings(**SOLVED)
        train, val = read_split("train", [pattern], rule=rule), read_split("val", [pattern])
        draws = [DrawnSplits(Part("train", train), {"val": Part("val", val)})]
        return (
            training_identity(settings, (train, val)),
            arm_module._identity(settings, arm, draws),
        )

    return both


def test_a_training_is_not_resumed_with_other_units(identities):
    found = [identities(rule) for rule in (None, RULE, UnitRule("", 4), UnitRule("patient"))]
    for each in zip(*found, strict=True):
        assert len(set(each)) == 4


def test_a_training_without_units_of_several_images_is_resumed_whatever_the_rule(identities):
    assert identities(None) == identities(UnitRule()) == identities(UnitRule("", 1))
