"""The study's components: which images each of them receives."""

import json

from components.feature_extractor import executor
from components.imbalance_sampler import executor as sampler_executor
from pipeline.dag import Places
from pipeline.study.dag import build
from pipeline.study.settings import StudySettings, load_study

PLACES = Places(pipeline_root="root", registry="registry", checkpoints="kept", data_version="1")


def extracted(study: StudySettings) -> dict[str, list[str]]:
    """Returns the splits that each FeatureExtractor of a study computes, by its image size."""
    return {
        node.id.split("-")[1]: json.loads(node.exec_properties[executor.SPLITS])
        for node in build(study, PLACES).components
        if node.id.startswith("FeatureExtractor")
    }


def test_a_backbone_sees_only_images_of_the_splits_that_its_arms_use():
    study = load_study("better", None, ["trainer.weights=none"])
    assert extracted(study) == {
        "128": ["test", "train_unbalanced", "val"],
        "224": ["test", "train_balanced", "train_unbalanced", "val"],
    }


def test_splits_of_arms_that_train_the_whole_network_are_left_out():
    arms = [
        {"name": "frozen", "train": "train_unbalanced", "test": ["test"]},
        {"name": "cnn", "train": "train_balanced", "trainer": {"model": "cnn"}},
    ]
    study = load_study(
        "better", None, ["trainer.weights=none", "baseline=null", f"arms={json.dumps(arms)}"]
    )
    assert extracted(study) == {"224": ["test", "train_unbalanced", "val"]}


def test_the_features_of_each_view_are_kept_if_an_arm_trains_on_them():
    views = {"views": ["original", "mirror"]}
    arms = [
        {"name": "one", "train": "train_balanced", "trainer": {"image_size": 96, **views}},
        {"name": "other", "train": "train_balanced", "trainer": {"image_size": 96, **views}},
        {"name": "larger", "train": "train_balanced", "trainer": {"image_size": 128, **views}},
    ]
    arms[1]["trainer"]["views_as"] = "rows"
    study = load_study(
        "better", None, ["trainer.weights=none", "baseline=null", f"arms={json.dumps(arms)}"]
    )
    kept = {
        node.id.split("-")[1]: node.exec_properties[executor.KEEPS_VIEWS]
        for node in build(study, PLACES).components
        if node.id.startswith("FeatureExtractor")
    }
    assert kept == {"96": 1, "128": 0}


def test_several_draws_write_only_the_splits_that_an_arm_uses():
    arms = [{"name": "unbalanced", "train": "train_unbalanced"}]
    study = load_study(
        "better",
        None,
        ["baseline=null", f"arms={json.dumps(arms)}", "replicates={seeds: 1, splits: 2}"],
    )
    (sampler,) = (node for node in build(study, PLACES).components if node.id == "ImbalanceSampler")
    written = json.loads(sampler.exec_properties[sampler_executor.WRITTEN])
    assert written == ["test", "train_unbalanced", "val"]


def test_each_arm_learns_which_images_the_sampler_never_parts():
    own = ["sampler.group_by=class_name", "sampler.near_duplicates.max_distance=2"]
    study = load_study("better", None, ["trainer.weights=none", *own])
    trainers = [node for node in build(study, PLACES).components if node.id.startswith("Trainer")]
    assert len(trainers) == len(study.arms)
    for node in trainers:
        config = json.loads(node.exec_properties["custom_config"])
        assert config["units"] == {"group_by": "class_name", "max_distance": 2}
