import pytest


def test_settings_survive_the_way_through_json(make_settings):
    import json

    from components.trainer.settings import TrainerSettings

    settings = make_settings(class_weight={"positive": 5.0, "negative": 1.0})
    assert TrainerSettings.from_mapping(json.loads(json.dumps(settings.as_json()))) == settings


def test_a_missing_and_an_unknown_name_are_both_told(make_settings):
    from components.trainer.settings import TrainerSettings

    values = make_settings().as_json()
    del values["epochs"]
    with pytest.raises(ValueError, match=r"lack \['epochs'\] and have unknown names \['epoch'\]"):
        TrainerSettings.from_mapping(values | {"epoch": 3})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "xception", "image_size": 70}, "at least 71 for 'xception'. Received: 70"),
        ({"model": "cnn", "image_size": 7}, "at least 8 for 'cnn'. Received: 7"),
        ({"model": "cnn", "fine_tune": True}, "fine_tune needs a pretrained body"),
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
def test_auto_is_the_range_that_the_model_was_made_for(make_settings, model, input_scale, expected):
    settings = make_settings(model=model, input_scale=input_scale, image_size=128)
    assert settings.pixel_range == expected
