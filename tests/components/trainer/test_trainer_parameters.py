import pytest

from components.trainer.executor import with_parameters

CONFIG = {"trainer": {"epochs": 20, "model": "cnn", "batch_size": 16}, "checkpoint_root": "here"}


def test_run_parameters_override_settings():
    changed = with_parameters(
        CONFIG, {"epochs": 3, "model_name": "xception", "pipeline_root": "s3://bucket/root"}
    )
    assert changed == {
        "trainer": {"epochs": 3, "model": "xception", "batch_size": 16},
        "checkpoint_root": "s3://bucket/root/checkpoints",
    }
    assert CONFIG["trainer"]["epochs"] == 20


@pytest.mark.parametrize("unset", [{}, {"epochs": None, "model_name": "", "pipeline_root": None}])
def test_parameters_that_are_not_set_are_ignored(unset):
    assert with_parameters(CONFIG, unset) == CONFIG


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"epochs": 0}, "'epochs' must be at least 1. Received: 0"),
        ({"model_name": "resnet"}, "'model' must be cnn.*mean 'resnet50'.*Received: 'resnet'"),
        ({"model_name": "other.keras"}, "must be a name.*Received: 'other.keras'"),
    ],
)
def test_a_parameter_that_is_not_allowed_is_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        with_parameters(CONFIG, parameters)
