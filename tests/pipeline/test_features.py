"""Which trainings share the features of a frozen backbone."""

import pytest

from components.trainer.settings import TrainerSettings
from pipeline.features import feature_extractor, frozen_backbone


def trainer(**changes) -> TrainerSettings:
    return TrainerSettings(**({"model": "xception", "image_size": 96} | changes))


def test_trainings_that_differ_in_their_head_alone_share_a_backbone():
    one, other = trainer(learning_rate=0.1, epochs=3), trainer(class_weight="balanced")
    assert frozen_backbone(one) == frozen_backbone(other)


@pytest.mark.parametrize(
    "change",
    [{"head": "flatten"}, {"image_size": 128}, {"input_scale": "0..1"}, {"weights": "none"}],
)
def test_what_the_features_depend_on_tells_backbones_apart(change):
    one, other = frozen_backbone(trainer()), frozen_backbone(trainer(**change))
    assert one is not None
    assert other is not None
    assert one != other
    assert one.node_id != other.node_id


def test_the_backbone_s_own_range_is_the_one_that_is_named():
    assert frozen_backbone(trainer()) == frozen_backbone(trainer(input_scale="-1..1"))


@pytest.mark.parametrize("change", [{"model": "cnn"}, {"fine_tune": True}, {"augmentation": True}])
def test_where_images_or_weights_change_there_is_none(change):
    assert frozen_backbone(trainer(**change)) is None


def test_a_changed_file_of_weights_is_another_version(tmp_path):
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
