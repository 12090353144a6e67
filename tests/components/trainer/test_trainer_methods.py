import pytest


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"loss": "logit_adjusted", "class_weight": "balanced"}, ("loss", "class_weight")),
        (
            {"loss": "balanced_softmax", "sampling_strategy": "oversample"},
            ("loss", "sampling_strategy"),
        ),
        (
            {"loss": "ldam", "sampling_strategy": {"undersample": 0.5}},
            ("loss", "sampling_strategy"),
        ),
        ({"post_hoc": "logit_adjusted", "class_weight": "balanced"}, ("post_hoc", "class_weight")),
        (
            {"post_hoc": "logit_adjusted", "sampling_strategy": "balanced"},
            ("post_hoc", "sampling_strategy"),
        ),
        ({"post_hoc": "logit_adjusted", "loss": "focal"}, ("post_hoc", "loss")),
        ({"post_hoc": "logit_adjusted", "loss": "logit_adjusted"}, ("post_hoc", "loss")),
        ({"ldam": {"margin": 1.0}}, ("ldam", "loss")),
        ({"tau": 0.5}, ("tau", "loss")),
        ({"tau": 0.5, "loss": "balanced_softmax"}, ("tau", "loss")),
    ],
)
def test_methods_that_contradict_each_other_are_refused_by_both_names(
    make_settings, changes, named
):
    with pytest.raises(ValueError, match="Received: ") as error:
        make_settings(**changes)
    for name in named:
        assert f"trainer.{name}" in str(error.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "logit_adjusted", "tau": 0.5, "label_smoothing": 0.1},
        {"loss": "ldam", "ldam": {"margin": 2, "reweight_after": None}},
        {"loss": "focal", "class_weight": "balanced", "label_smoothing": 0.1},
        {"post_hoc": "logit_adjusted", "tau": 2, "label_smoothing": 0.1},
    ],
)
def test_methods_that_fit_can_be_combined(make_settings, changes):
    assert make_settings(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"label_smoothing": 1},
        {"label_smoothing": -0.1},
        {"tau": 0, "loss": "logit_adjusted"},
        {"loss": "ldam", "ldam": {"margin": 0}},
        {"loss": "ldam", "ldam": {"beta": 1}},
        {"loss": "ldam", "ldam": {"reweight_after": 1}},
        {"loss": "ldam", "ldam": {"margins": 1}},
    ],
)
def test_values_out_of_range_are_refused(make_settings, changes):
    with pytest.raises(ValueError, match=r"less than|greater than|not permitted"):
        make_settings(**changes)
