import json

import pytest

from components import training_balance
from components.training_balance import TrainingBalance

BALANCE = TrainingBalance(
    positive_images=200, negative_images=100, positive_weight=3.0, negative_weight=0.5
)


def test_the_odds_count_images_and_weights():
    assert BALANCE.odds == 12


def test_the_balance_is_read_from_the_assets_of_a_model(tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/training_balance.json").write_text(BALANCE.to_json())
    assert training_balance.read(str(tmp_path)) == BALANCE


def test_a_model_without_it_has_none(tmp_path):
    assert training_balance.read(str(tmp_path)) is None


@pytest.mark.parametrize(
    "change", [{"positive_images": 0}, {"negative_weight": 0.0}, {"focal_gamma": -1.0}]
)
def test_odds_that_are_not_defined_are_refused(change):
    (name,) = change
    with pytest.raises(ValueError, match=f"{name} must be .* Received: "):
        TrainingBalance.from_mapping({**json.loads(BALANCE.to_json()), **change})


@pytest.mark.parametrize("change", [{"version": 2}, {"label_smoothing": 0.1}])
def test_another_version_of_the_contract_is_refused(change):
    with pytest.raises(ValueError, match="must be of version 1 with the keys"):
        TrainingBalance.from_mapping({**json.loads(BALANCE.to_json()), **change})
