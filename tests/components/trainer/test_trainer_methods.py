import pytest

PRETRAINED = {"model": "xception", "image_size": 71}


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
        ({"sampling_strategy": "smote"}, ("sampling_strategy 'smote'", "model")),
        (
            {"sampling_strategy": "borderline_smote", **PRETRAINED, "fine_tune": True},
            ("sampling_strategy 'borderline_smote'", "fine_tune"),
        ),
        (
            {"sampling_strategy": {"kind": "smote"}, **PRETRAINED, "augmentation": True},
            ("sampling_strategy 'smote'", "augmentation"),
        ),
        ({"bagging": 5}, ("bagging", "model")),
        ({"bagging": 5, **PRETRAINED, "head": "flatten"}, ("bagging", "head")),
        ({"bagging": 5, **PRETRAINED, "class_weight": "balanced"}, ("bagging", "class_weight")),
        (
            {"bagging": 5, **PRETRAINED, "sampling_strategy": "oversample"},
            ("bagging", "sampling_strategy"),
        ),
        ({"bagging": 5, **PRETRAINED, "loss": "ldam"}, ("bagging", "loss 'ldam'")),
        ({"bagging": 5, **PRETRAINED, "post_hoc": "logit_adjusted"}, ("bagging", "post_hoc")),
        ({"bagging": 5, **PRETRAINED, "early_stopping": 3}, ("bagging", "early_stopping")),
        ({"bagging": 5, **PRETRAINED, "warm_start": "champion"}, ("bagging", "warm_start")),
        ({"mixup": 0.2, "class_weight": "balanced"}, ("mixup", "class_weight")),
        ({"mixup": 0.2, "loss": "ldam"}, ("mixup", "loss 'ldam'")),
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
        {"sampling_strategy": "smote", **PRETRAINED, "mixup": 0.2},
        {"sampling_strategy": "smote", **PRETRAINED, "head": "flatten", "loss": "focal"},
        {"bagging": 5, **PRETRAINED, "label_smoothing": 0.1, "mixup": 1},
        {"mixup": 0.2, "loss": "logit_adjusted", "augmentation": True},
    ],
)
def test_methods_that_fit_can_be_combined(make_settings, changes):
    assert make_settings(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"label_smoothing": 1},
        {"mixup": 0},
        {"bagging": 1, **PRETRAINED},
        {"sampling_strategy": {"kind": "smote", "ratio": 1.1}, **PRETRAINED},
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
