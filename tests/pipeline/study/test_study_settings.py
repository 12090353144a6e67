from pathlib import Path
from typing import Any

import pytest
import yaml

from components.trainer.methods import Smote
from pipeline.settings import SettingsError
from pipeline.study.settings import Replicates, load_study, scaled_splits, study_presets

TREE: dict[str, Any] = {
    "name": "study-small",
    "data": {"source": "photos", "positive_class": "dogs"},
    "sampler": {
        "splits": {
            "train_even": {"cats": 20, "dogs": 20},
            "train_rare": {"cats": 20, "dogs": 2},
            "val": {"cats": 10, "dogs": 1},
            "test": {"cats": 10, "dogs": 1},
        }
    },
    "arms": [
        {"name": "balanced", "train": "train_even"},
        {"name": "weighted", "train": "train_rare", "trainer": {"class_weight": {"positive": 10}}},
    ],
    "replicates": 2,
}

ON_FEATURES = {"model": "xception", "image_size": 71, "sampling_strategy": "smote"}


@pytest.fixture
def load(tmp_path):
    """Loads TREE with changed keys."""

    def loaded(*overrides: str, scale: float = 1.0, **changes: Any):
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(TREE | changes))
        return load_study(None, path, overrides, scale=scale)

    return loaded


def _arm(**changes: Any) -> dict[str, Any]:
    return {"name": "other", "train": "train_even"} | changes


def test_an_arm_overrides_the_study_s_trainer_settings(load):
    study = load("trainer.epochs=7")
    balanced, weighted = (study.trainer_of(arm) for arm in study.arms)
    assert balanced.epochs == weighted.epochs == 7
    assert balanced.class_weight is None
    assert weighted.class_weight is not None
    assert weighted.class_weight.positive == 10
    assert weighted.class_weight.negative == 1


def test_the_first_arm_is_the_baseline_unless_another_is_named(load):
    assert load().baseline_name == "balanced"
    assert load(baseline="weighted").baseline_name == "weighted"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"arms": [_arm(train="trian_even")]},
            "arm 'other': train must be .*Received: 'trian_even'",
        ),
        ({"arms": [_arm(val="vall")]}, "arm 'other': val must be .*Received: 'vall'"),
        ({"arms": [_arm(test=["tests"])]}, "arm 'other': test must be .*Received: 'tests'"),
        ({"arms": [_arm(), _arm()]}, "names of arms must be unique. Received: 'other'"),
        ({"arms": [_arm(val="train_even")]}, "must not contain 'train_even', its training split"),
        ({"arms": [_arm(test=["val"])]}, "must not contain 'val', the split for choosing"),
        ({"arms": []}, "at least 1 item"),
        (
            {"arms": [_arm(trainer={"epoch": 3})]},
            r"arm 'other': trainer\.epoch: no such setting .did you mean 'epochs'",
        ),
        (
            {"arms": [_arm(trainer={"model": "xception", "image_size": 32})]},
            r"arm 'other': trainer\.image_size must be at least 71.*Received: 32$",
        ),
        ({"arms": [_arm(trainer={"learning_rate": -1})]}, "trainer.learning_rate.*Received: -1"),
        ({"replicates": 0}, "replicates.*greater than or equal to 1.*Received: 0"),
        (
            {"arms": [_arm(trainer={"warm_start": "champion"})]},
            "arm 'other': trainer.warm_start must be null in a study.*Received: 'champion'",
        ),
        ({"baseline": "none"}, "baseline must be one of the arms.*Received: 'none'"),
        (
            {"arms": [_arm(baseline="none")], "comparisons": "baseline"},
            "arm 'other': baseline must be one of the other arms.*Received: 'none'",
        ),
        (
            {"arms": [_arm(baseline="other")], "comparisons": "baseline"},
            "arm 'other': baseline must be one of the other arms.*Received: 'other'",
        ),
        (
            {"arms": [_arm(name="first"), _arm(baseline="first")]},
            "arm 'other': baseline requires comparisons: baseline. Received: 'all'",
        ),
        ({"costs": {"missed": 0, "false_alarm": 0}}, "costs: must not both be 0"),
        (
            {"arms": [_arm(trainer={"sampling_strategy": "smote"})]},
            "arm 'other': trainer.sampling_strategy 'smote' can't be combined with a network",
        ),
        (
            {"arms": [_arm(train="train_rare", trainer=ON_FEATURES)]},
            "arm 'other': trainer.sampling_strategy 'smote' with k_neighbors 5 requires 6 images "
            "of the smaller side.*Received: 2",
        ),
        ({"arm": []}, "no such setting .did you mean 'arms'"),
        ({"arms": [_arm(trian="x")]}, r"arms.0.trian: no such setting .did you mean 'train'"),
    ],
)
def test_an_invalid_study_is_rejected_with_the_reason(load, changes, message):
    with pytest.raises(SettingsError, match=message):
        load(**changes)


def test_a_scale_shrinks_every_split_alike(load):
    splits = load(scale=0.5, arms=[_arm()], sampler={"splits": _even(40)}).sampler.splits
    assert splits == _even(20)


def _even(size: int) -> dict[str, dict[str, int]]:
    return {split: {"cats": size, "dogs": size} for split in ("train_even", "val", "test")}


def test_a_scale_rounds_half_up_and_leaves_fractions():
    splits = {"a": {"cats": 25, "dogs": 0.5}, "b": {"total": 10, "ratio": {"cats": 3, "dogs": 1}}}
    assert scaled_splits(splits, 0.1) == {
        "a": {"cats": 3, "dogs": 0.5},
        "b": {"total": 1, "ratio": {"cats": 3, "dogs": 1}},
    }


def test_a_scale_that_leaves_a_split_without_positives_is_rejected(load):
    with pytest.raises(SettingsError, match=r"'(val|test)' has no positive image.*\n.*--scale"):
        load(scale=0.1)


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_a_scale_is_above_zero(load, scale):
    with pytest.raises(SettingsError, match="--scale must be a number above 0"):
        load(scale=scale)


@pytest.mark.parametrize("preset", study_presets())
def test_every_preset_is_a_study(preset):
    assert load_study(preset, None).arms


def test_half_of_the_images_suffice_for_the_notebook_s_presets():
    for preset in ("training", "validation", "evaluation"):
        splits = load_study(preset, None, scale=0.5).sampler.splits.values()
        for name in ("cats", "dogs"):
            assert sum(split[name] for split in splits) <= 2500


def test_an_arm_may_have_a_baseline_of_its_own(load):
    arms = [_arm(name=name) for name in "abc"]
    assert load(arms=arms, comparisons="baseline").compared == "baseline"
    arms[2]["baseline"] = "b"
    found = load(arms=arms, comparisons="baseline").compared
    assert found == [("b", "a"), ("c", "b")]
    found = load(arms=arms, comparisons="baseline", baseline="c").compared
    assert found == [("a", "c"), ("b", "c"), ("c", "b")]


def test_the_preset_methods_fits_the_public_set_and_a_fifth_of_it_2500_images_of_a_class():
    for scale, images in ((1, 12_500), (0.2, 2_500)):
        study = load_study("methods", None, scale=scale)
        for name in ("cats", "dogs"):
            assert sum(split[name] for split in study.sampler.splits.values()) <= images
    smallest = min(split["dogs"] for split in study.sampler.splits.values())
    smote = Smote(kind="smote")
    assert smallest == smote.k_neighbors + 1


def test_each_method_is_compared_with_cross_entropy_on_the_same_images():
    study = load_study("methods", None)
    train = {arm.name: arm.train for arm in study.arms}
    for first, second in study.compared:
        if not first.startswith("plain"):
            assert train[first] == train[second] == f"train_{second.removeprefix('plain_')}"


def test_exactly_one_of_preset_and_file_is_required():
    with pytest.raises(SettingsError, match="one of --preset and --settings"):
        load_study("training", Path("mine.yaml"))
    with pytest.raises(SettingsError, match="did you mean 'training'"):
        load_study("trainning", None)


def test_a_number_of_replicates_is_a_number_of_seeds_on_one_draw(load):
    assert load(replicates=3).repeats == Replicates(seeds=3, splits=1)
    several = load(replicates={"seeds": 2, "splits": 4})
    assert (several.repeats.seeds, several.repeats.splits) == (2, 4)
    assert several.parameters()["replicates"] == {"seeds": 2, "splits": 4}
    assert "curve" not in load().parameters()


@pytest.mark.parametrize(
    ("replicates", "message"),
    [
        ({"seeds": 0}, r"replicates\.seeds: .*greater than or equal to 1.*Received: 0$"),
        ({"splits": 0}, r"replicates\.splits: .*greater than or equal to 1.*Received: 0$"),
        ({"split": 3}, r"replicates\.split: no such setting .did you mean 'splits'"),
        ("ten", r"replicates: .*valid integer.*Received: 'ten'$"),
        (True, r"replicates: must be a whole number.*Received: True$"),
    ],
)
def test_invalid_replicates_give_one_error_of_the_form_that_is_meant(load, replicates, message):
    with pytest.raises(SettingsError, match=message) as raised:
        load(replicates=replicates)
    assert str(raised.value).count("Received") <= 1


def test_splits_that_never_change_are_not_drawn_several_times(load):
    sampler = {**TREE["sampler"], "assignment": "stable"}
    with pytest.raises(SettingsError, match="several times only with assignment 'exact'"):
        load(sampler=sampler, replicates={"splits": 2})


def test_a_curve_varies_one_side_at_a_time_and_both_if_balanced(load):
    curve = load(curve={"arm": "weighted", "positives": [2, 1], "negatives": [5, 20]}).curve
    assert curve.numbers() == {
        "positives": [(1, None), (2, None)],
        "negatives": [(None, 5), (None, 20)],
        "balanced": [(1, 1), (2, 2)],
    }
    only = load(curve={"positives": [1], "balanced": False})
    assert list(only.curve.numbers()) == ["positives"]
    assert only.curve_arm.name == "balanced"


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        (
            {"arm": "weighted", "positives": [1, 7]},
            r"asks for 7 positives, 5 more than the 2 of split 'train_rare'; lower curve\.pos",
        ),
        (
            {"negatives": [30]},
            r"asks for 30 negatives, 10 more than the 20 of split 'train_even'; lower curve\.neg",
        ),
        ({"arm": "nobody", "positives": [1]}, r"curve\.arm must be one of.*Received: 'nobody'"),
        ({"arm": "weighted"}, "curve must have numbers in positives or negatives"),
        ({"positives": [0]}, r"curve\.positives\.0: .*greater than or equal to 1.*Received: 0"),
    ],
)
def test_a_curve_that_the_splits_can_t_fill_is_refused(load, curve, message):
    with pytest.raises(SettingsError, match=message):
        load(curve=curve)


def test_an_arm_may_not_have_the_name_of_the_curve_s_training(load):
    with pytest.raises(SettingsError, match="must not be named 'curve'"):
        load(arms=[_arm(name="curve")], curve={"positives": [1]})
