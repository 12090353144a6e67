import pytest


def test_settings_survive_a_round_trip_through_json(make_settings):
    import json

    from components.trainer.settings import TrainerSettings

    settings = make_settings(class_weight={"positive": 5.0, "negative": 1.0})
    assert TrainerSettings.model_validate_json(json.dumps(settings.model_dump())) == settings


def test_an_unknown_name_is_refused(make_settings):
    with pytest.raises(ValueError, match=r"epoch\n\s+Extra inputs are not permitted"):
        make_settings(epoch=3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "xception", "image_size": 70}, "at least 71 for 'xception'. Received: 70"),
        ({"model": "cnn", "image_size": 7}, "greater than or equal to 16"),
        ({"model": "cnn", "fine_tune": True}, "fine_tune requires a pretrained model"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(make_settings, changes, message):
    with pytest.raises(ValueError, match=message):
        make_settings(**changes)


@pytest.mark.parametrize(
    ("model", "input_scale", "expected"),
    [
        ("cnn", "auto", (0.0, 1.0)),
        ("xception", "auto", (-1.0, 1.0)),
        ("xception", "0..1", (0.0, 1.0)),
        ("cnn", "-1..1", (-1.0, 1.0)),
    ],
)
def test_auto_is_the_range_that_the_model_expects(make_settings, model, input_scale, expected):
    settings = make_settings(model=model, input_scale=input_scale, image_size=128)
    assert settings.pixel_range == expected
