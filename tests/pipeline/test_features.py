"""Trainings that share the features of a frozen backbone."""

import pytest

from components.trainer.settings import TrainerSettings
from pipeline.features import feature_extractor, frozen_backbone


def trainer(**changes) -> TrainerSettings:
    return TrainerSettings(**({"model": "xception", "image_size": 96} | changes))


def test_trainings_that_differ_only_in_the_head_share_a_backbone():
    one, other = trainer(learning_rate=0.1, epochs=3), trainer(class_weight="balanced")
    assert frozen_backbone(one) == frozen_backbone(other)


@pytest.mark.parametrize(
    "change",
    [{"head": "flatten"}, {"image_size": 128}, {"input_scale": "0..1"}, {"weights": "none"}],
)
def test_settings_that_change_the_features_give_another_backbone(change):
    one, other = frozen_backbone(trainer()), frozen_backbone(trainer(**change))
    assert one is not None
    assert other is not None
    assert one != other
    assert one.node_id != other.node_id


def test_auto_is_the_same_backbone_as_its_own_pixel_range():
    assert frozen_backbone(trainer()) == frozen_backbone(trainer(input_scale="-1..1"))


@pytest.mark.parametrize("change", [{"model": "cnn"}, {"fine_tune": True}, {"augmentation": True}])
def test_there_is_no_frozen_backbone_if_images_or_weights_change(change):
    assert frozen_backbone(trainer(**change)) is None


def test_a_changed_weights_file_has_another_version(tmp_path):
    from tfx.types import Channel, standard_artifacts

    path = tmp_path / "xception.weights.h5"
    backbone = frozen_backbone(trainer(weights=str(path)))
    assert backbone is not None

    def version(content: bytes) -> str:
        path.write_bytes(content)
        examples = Channel(type=standard_artifacts.Examples)
        extractor = feature_extractor(backbone, examples, store="")
        return extractor.exec_properties["weights_version"]

    assert version(b"one") != version(b"other")
    assert version(b"one") == version(b"one")


def test_a_training_on_each_view_shares_the_backbone_of_one_on_their_mean():
    views = {"views": ["original", "mirror"]}
    one, other = trainer(**views), trainer(**views, views_as="rows")
    assert frozen_backbone(one) == frozen_backbone(other)
    assert (one.row_views, other.row_views) == (None, 2)
