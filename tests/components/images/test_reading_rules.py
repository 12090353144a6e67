import json

import pytest

from components.images.rules import ReadingRules, RulesError, read_rules, shrunk_size

RULES = ReadingRules(image_size=128, pixel_range=(-1.0, 1.0), max_side=256, max_pixels=1000)


def test_rules_survive_a_round_trip_through_json(tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "reading_rules.json").write_text(RULES.to_json())
    assert read_rules(tmp_path) == RULES


def test_a_model_without_rules_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(RulesError, match=r"no assets/reading_rules\.json: .* train and push it"):
        read_rules(tmp_path)


def test_rules_of_another_version_are_refused():
    other = json.dumps(json.loads(RULES.to_json()) | {"version": 99})
    with pytest.raises(RulesError, match=r"must be 1; .* Received: 99"):
        ReadingRules.from_json(other)


@pytest.mark.parametrize("text", ["", '{"version": 1', "[1, 2]", "3"])
def test_rules_that_are_no_json_object_are_refused(text):
    with pytest.raises(RulesError, match=r"must be a JSON object; push the model again .*Received"):
        ReadingRules.from_json(text)


@pytest.mark.parametrize("change", [{"gamma": 2.2}, {"background": None}])
def test_rules_with_other_keys_are_refused(change):
    values = json.loads(RULES.to_json()) | change
    values = {name: value for name, value in values.items() if value is not None}
    with pytest.raises(RulesError, match=r"keys of the reading rules must be .* Received"):
        ReadingRules.from_json(json.dumps(values))


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [
        ((600, 400), 150, (150, 100)),
        ((400, 600), 150, (100, 150)),
        ((150, 100), 150, (150, 100)),
        ((600, 400), 0, (600, 400)),
        ((5000, 3), 100, (100, 1)),
        ((1001, 500), 500, (500, 250)),
    ],
)
def test_the_longest_side_becomes_max_side_and_the_aspect_ratio_is_kept(size, max_side, expected):
    assert shrunk_size(*size, max_side) == expected
