"""Settings: valid values, and the errors for invalid ones."""

import unicodedata

import pytest
import yaml

from pipeline import settings as settings_module
from pipeline.settings import SettingsError, load, parse, preset_names, preset_path


def minimal(**changes):
    tree = {
        "name": "dogs-among-cats",
        "data": {"source": "photos", "positive_class": "dogs"},
        "sampler": {
            "splits": {
                "train": {"cats": 100, "dogs": 10},
                "val": {"cats": 50, "dogs": 5},
                "test": {"cats": 50, "dogs": 5},
            }
        },
    }
    return settings_module.apply_overrides(tree, [f"{k}={v}" for k, v in changes.items()])


def test_missing_keys_take_their_defaults():
    settings = parse(minimal(), origin="test")
    assert settings.trainer.epochs == 20
    assert settings.calibrator.rule == "best_f1"
    assert settings.beam.runner == "FnApiRunner"


def with_spans(**changes):
    return parse(minimal(**{"data.source": "photos/{SPAN}", **changes}), origin="test").data


@pytest.mark.parametrize(
    ("window", "found"),
    [
        ("newest", "newest"),
        ("3", 3),
        ("{first: 2026-11-20}", {"first": "2026-11-20"}),
        ("{first: 3, last: 07}", {"first": "3", "last": "7"}),
    ],
)
def test_a_window_is_a_word_a_number_or_a_range_of_numbers_or_dates(window, found):
    assert with_spans(**{"data.window": window}).plain_window() == found


@pytest.mark.parametrize("span", ["2026-11-27", "'07'", "7"])
def test_a_span_is_a_number_or_a_date_also_as_yaml_reads_them(span):
    assert with_spans(**{"data.span": span}).span == span.strip("'")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.window": "0"}, r"data.window: must be newest, all, a number .* Received: 0$"),
        ({"data.window": "[3]"}, r"data.window: must be newest, all, .* Received: \[3\]$"),
        ({"data.window": "{first: 4, last: 3}"}, "data.window: first must not be after last"),
        ({"data.span": "soon"}, r"data.span: .* must be a whole number such as 7, or a date"),
        ({"data.source": "photos", "data.span": "7"}, r"span requires \{SPAN\} in source"),
        ({"data.source": "photos", "data.window": "all"}, r"window requires \{SPAN\} in source"),
    ],
)
def test_windows_and_spans_that_make_no_sense_are_refused_in_one_line(changes, message):
    with pytest.raises(SettingsError, match=message) as refused:
        with_spans(**changes)
    assert len(str(refused.value).splitlines()) == 2


@pytest.mark.parametrize("name", preset_names())
def test_each_preset_is_valid(name):
    assert load(preset_path(name)).sampler.splits.keys() >= {"train", "val", "test"}


def test_an_override_replaces_a_value_and_is_parsed_as_yaml():
    tree = settings_module.apply_overrides(
        minimal(), ["trainer.epochs=3", "evaluator.gates=['recall >= 0.5']", "trainer.weights=none"]
    )
    settings = parse(tree, origin="test")
    assert settings.trainer.epochs == 3
    assert settings.evaluator.gates == ["recall >= 0.5"]
    assert settings.trainer.weights == "none"


@pytest.mark.parametrize(
    "calibrator",
    [
        "{rule: expected_cost, costs: {missed: 50, false_alarm: 1}, review: 0.02}",
        # With any rule, the expected cost is reported.
        "{costs: {missed: 50, false_alarm: 0}}",
        "{rule: best_fbeta, beta: 2}",
        "{rule: precision_at_recall, recall_floor: 0.95}",
        "{rule: alerts_per_thousand, alerts: 20}",
    ],
)
def test_each_rule_of_the_operating_point_is_accepted_also_from_the_settings_of_a_run(calibrator):
    tree = settings_module.apply_overrides(minimal(), [f"calibrator={calibrator}"])
    settings = parse(tree, origin="test")
    # latest/settings.yaml has every default.
    assert parse(settings.model_dump(mode="json"), origin="again") == settings


def test_overrides_do_not_change_their_input():
    tree = minimal()
    settings_module.apply_overrides(tree, ["data.source=elsewhere"])
    assert tree["data"]["source"] == "photos"


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        (
            "sampler.near_duplicates.max_distance=9",
            ["sampler.near_duplicates.max_distance: ", "or up to 8 bits", "different photographs"],
        ),
        ("sampler.near_duplicates.max_distance=-1", ["must be 0, for images of the same bytes"]),
        ("sampler.near_duplicates=4", ["sampler.near_duplicates: "]),
        ("trainer.epoch=3", ["trainer.epoch: no such setting", "did you mean 'epochs'"]),
        ("trainre.epochs=3", ["trainre: no such setting", "did you mean 'trainer'"]),
        ("trainer.epochs=many", ["trainer.epochs", "'many'"]),
        ("trainer.epochs=true", ["trainer.epochs", "True"]),
        ("trainer.batch_size=-4", ["trainer.batch_size", "-4", "greater than or equal to 1"]),
        ("trainer.model=resnet", ["trainer.model", "did you mean 'resnet50'", "'resnet'"]),
        ("trainer.class_weight=heavy", ["trainer.class_weight", "'heavy'", "balanced"]),
        ("trainer.class_weight={dogs: 2}", ["trainer.class_weight.dogs: no such setting"]),
        (
            "trainer.sampling_strategy={undersampel: 0.5}",
            ["sampling_strategy.undersampel: no such setting", "did you mean 'undersample'"],
        ),
        (
            "trainer.sampling_strategy={kind: smote, k_neighbours: 3}",
            ["sampling_strategy.k_neighbours: no such setting", "did you mean 'k_neighbors'"],
        ),
        ("trainer.sampling_strategy={ratio: 0.5}", ["sampling_strategy.kind: is required"]),
        (
            "trainer.sampling_strategy=smoty",
            ["sampling_strategy: Input should be 'representative'", "Received: 'smoty'"],
        ),
        ("data.max_bad_fraction=2", ["data.max_bad_fraction", "2"]),
        ("sampler.splits.train.dogs=-1", ["train", "dogs", "-1"]),
        ("sampler.splits.val.dogs=0", ["val", "dogs"]),
        ("sampler.splits.val={cats: 10}", ["val", "dogs"]),
        ("evaluator.gates=['recal >= 0.9']", ["recal", "recall"]),
        (
            "evaluator.gates=['expected_cost <= 120 per 1000']",
            ["calibrator.costs is required for gate 'expected_cost <= 120 per 1000'"],
        ),
        (
            "evaluator.gates=['recall >= 0.9 in every breed']",
            ["must be of one of brightness, class_name,", "data.slices", "'breed'"],
        ),
        (
            "evaluator.gates=['recall better than champion in the newest span']",
            ["{SPAN} is required in data.source or data.manifest", "gate 'recall better"],
        ),
        ("evaluator.slices=[[breed]]", ["breed", "data.slices"]),
        (
            "evaluator.slices=[[class_name, brightness, sharpness]]",
            ["evaluator.slices: ", "two different columns", "'sharpness']"],
        ),
        ("evaluator.slices=[[sharpness, sharpness]]", ["two different columns"]),
        ("evaluator.slices=[[]]", ["one column or of two", "Received: []"]),
        ("evaluator.bands=[contrast]", ["evaluator.bands", "'image_size'", "'contrast'"]),
        ("evaluator.bands=[sharpness, sharpness]", ["each measure once"]),
        ("population.prevalence={Class 1: -1}", ["population.prevalence.Class 1: ", "-1"]),
        ("sampler.group_by=patient", ["data.slices. Received: 'patient'"]),
        ("population.prevalence={cats: 10, dogs: 0}", ["population.prevalence.dogs: ", ": 0"]),
        ("population.prevalence=1.5", ["population.prevalence: ", "Received: 1.5"]),
        ("population.prevalence={dogs: 1}", ["prevalence must have weights for 'dogs'"]),
        ("population.prevalence={cats: 10}", ["data.positive_class must be one of", "'dogs'"]),
        ("beam.options=['--runner=FlinkRunner']", ["beam.options", "beam.runner"]),
        ("calibrator.rule=youden", ["calibrator.rule", "'expected_cost'", "'youden'"]),
        ("calibrator.rule=expected_cost", ["costs is required for the rule expected_cost"]),
        ("calibrator.rule=best_fbeta", ["beta is required for the rule best_fbeta"]),
        ("calibrator.recall_floor=0.9", ["requires the rule precision_at_recall; remove it"]),
        (
            "calibrator.beta=2",
            ["beta requires the rule best_fbeta", "beta 2 with the rule best_f1"],
        ),
        ("calibrator.alerts=20", ["alerts requires the rule alerts_per_thousand"]),
        (
            "calibrator={rule: alerts_per_thousand, alerts: 0}",
            ["calibrator.alerts", "greater than 0"],
        ),
        ("calibrator={rule: alerts_per_thousand, alerts: true}", ["not true or false"]),
        ("calibrator.costs={missed: 50}", ["calibrator.costs.false_alarm: is required"]),
        ("calibrator.costs={missed: -1, false_alarm: 1}", ["calibrator.costs.missed", "-1"]),
        ("calibrator.costs={missed: .inf, false_alarm: 1}", ["calibrator.costs.missed", "inf"]),
        ("calibrator.costs={missed: 0, false_alarm: 0}", ["calibrator.costs: must not both be 0"]),
        ("calibrator.costs={missed: 1, false_alarm: 1, review: 1}", ["costs.review: no such"]),
        ("calibrator.review=1", ["calibrator.review", "less than 1"]),
        ("calibrator.review=-0.1", ["calibrator.review", "-0.1"]),
        ("name=Dogs!", ["name: must be 2 to 63 lower-case letters", ". Received: 'Dogs!'"]),
    ],
)
def test_an_invalid_value_is_refused_with_its_key_and_the_allowed_values(override, parts):
    tree = settings_module.apply_overrides(minimal(), [override])
    with pytest.raises(SettingsError) as caught:
        parse(tree, origin="mine.yaml")
    message = str(caught.value)
    assert message.startswith("mine.yaml: ")
    for part in parts:
        assert part in message
    assert all(line.count("Received: ") <= 1 for line in message.splitlines())


def test_bands_and_classes_can_be_crossed_with_columns():
    tree = minimal()
    tree["data"]["slices"] = ["breed"]
    crosses = [["breed", "sharpness"], ["class_name", "brightness"], ["breed"]]
    tree["evaluator"] = {"slices": crosses}
    assert parse(tree, origin="mine.yaml").evaluator.slices == crosses
    tree["evaluator"]["bands"] = ["brightness"]
    with pytest.raises(SettingsError, match=r"measures of evaluator.bands .*'sharpness'"):
        parse(tree, origin="mine.yaml")


def test_long_values_are_cut_in_messages():
    tree = minimal()
    tree["trainer"] = {"model": "x" * 10**6, "head": "y" * 10**6}
    with pytest.raises(SettingsError, match="characters left out") as caught:
        parse(tree, origin="test")
    assert "trainer.head" in str(caught.value)
    assert len(str(caught.value)) < 3000


def test_all_errors_are_reported_at_once():
    tree = settings_module.apply_overrides(minimal(), ["trainer.epochs=0", "data.max_side=-1"])
    with pytest.raises(SettingsError) as caught:
        parse(tree, origin="test")
    assert "trainer.epochs" in str(caught.value)
    assert "data.max_side" in str(caught.value)


def test_a_missing_split_is_named():
    tree = minimal()
    del tree["sampler"]["splits"]["test"]
    with pytest.raises(SettingsError, match=r"missing: test\. Received: "):
        parse(tree, origin="test")


@pytest.mark.parametrize("override", ["trainer.epochs", "=3", "a b=3"])
def test_an_override_without_a_key_or_value_is_refused(override):
    with pytest.raises(SettingsError, match="must be key=value"):
        settings_module.apply_overrides(minimal(), [override])


def test_an_override_below_a_value_without_keys_is_refused():
    with pytest.raises(SettingsError, match="must be a section with keys"):
        settings_module.apply_overrides(minimal(), ["name.first=x"])


@pytest.mark.parametrize("text", ["- a list", "just text", "a: [1", ""])
def test_a_file_without_a_mapping_is_refused(tmp_path, text):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=str(path)):
        load(path)


def test_a_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere\.yaml"):
        load(tmp_path / "nowhere.yaml")


def test_the_nearest_name_is_suggested_for_an_unknown_preset():
    with pytest.raises(SettingsError, match="did you mean 'cats_vs_dogs'"):
        preset_path("cat_vs_dog")


def test_settings_are_the_same_after_a_round_trip_through_yaml():
    settings = load(preset_path("cats_vs_dogs"))
    text = yaml.safe_dump(settings.model_dump(mode="json"))
    assert parse(yaml.safe_load(text), origin="test") == settings


TEXT = """
name: tiny
data: {{source: photos, positive_class: {positive}}}
sampler:
  splits:
    train: {{cats: 2, {positive}: 1}}
    val: {{cats: 2, {positive}: 1}}
    test: {{cats: 2, {positive}: 1}}
"""


@pytest.fixture
def load_text(tmp_path):
    """Returns a function that loads settings from YAML text."""

    def loaded(text: str, *overrides: str):
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return load(path, overrides)

    return loaded


WRITTEN = {
    "no": "the boolean false",
    "0": "the number 0",
    "010": "the number 8",
    "12:30": "the number 750",
    "2026-11-27": "the date 2026-11-27",
    "null": "null",
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_class_name_that_yaml_does_not_read_as_text_must_be_quoted(load_text, name):
    advice = f'YAML reads {name} as {WRITTEN[name]}; quote it: "{name}"'
    positive = TEXT.format(positive="dogs").replace(
        "positive_class: dogs", f"positive_class: {name}"
    )
    with pytest.raises(SettingsError) as caught:
        load_text(positive)
    assert f"data.positive_class: {advice}" in str(caught.value)
    with pytest.raises(SettingsError) as caught:
        load_text(TEXT.format(positive=name))
    assert f"line 6: a key of sampler.splits.train: {advice}" in str(caught.value)
    prevalence = f"population.prevalence={{cats: 10, {name}: 1}}"
    with pytest.raises(SettingsError) as caught:
        load_text(TEXT.format(positive="dogs"), prevalence)
    assert advice in str(caught.value)
    assert load_text(TEXT.format(positive=f'"{name}"')).data.positive_class == name


def test_the_advice_for_an_override_quotes_for_yaml_and_the_shell(load_text):
    with pytest.raises(SettingsError, match=r"--set 'data\.positive_class=\"no\"'"):
        load_text(TEXT.format(positive="dogs"), "data.positive_class=no")


def test_advice_refers_to_the_value_after_overrides(load_text):
    with pytest.raises(SettingsError) as caught:
        load_text(TEXT.format(positive="dogs"), "data.manifest=no", "data.manifest=[a]")
    assert "discard" in str(caught.value)
    wrong = TEXT.format(positive="dogs").replace("source: photos", "source: no")
    with pytest.raises(SettingsError) as caught:
        load_text(wrong, "data.source=[a]")
    assert "quote it" not in str(caught.value)


def test_a_duplicate_key_is_refused_with_its_lines(load_text):
    with pytest.raises(SettingsError, match=r"line 9: the key sampler is given twice.* line 4"):
        load_text(TEXT.format(positive="dogs") + "sampler: {random_state: 1}\n")
    with pytest.raises(SettingsError, match=r"--set trainer=.*the key epochs is given twice"):
        load_text(TEXT.format(positive="dogs"), "trainer={epochs: 1, epochs: 2}")


@pytest.mark.parametrize("later", ["trainer.epochs=4", "trainer={model: cnn}"])
def test_an_override_that_discards_another_is_refused(later):
    with pytest.raises(SettingsError, match=r"would discard the earlier --set trainer\.epochs=3"):
        settings_module.apply_overrides(minimal(), ["trainer.epochs=3", later])


def test_an_override_may_be_repeated_or_change_an_earlier_section():
    tree = settings_module.apply_overrides(
        minimal(), ["trainer={model: cnn}", "trainer.epochs=3", "trainer.epochs=3"]
    )
    assert tree["trainer"] == {"model": "cnn", "epochs": 3}


def test_class_names_in_nfc_and_nfd_are_the_same(load_text):
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    prevalence = f"population.prevalence={{cats: 10, {decomposed}: 1}}"
    settings = load_text(TEXT.format(positive=decomposed), prevalence)
    assert settings.data.positive_class == composed
    assert settings.population.prevalence == {"cats": 10, composed: 1}
    assert all(composed in sizes for sizes in settings.sampler.splits.values())
    ratio = f"sampler.splits.val={{total: 11, ratio: {{cats: 10, {decomposed}: 1}}}}"
    load_text(TEXT.format(positive=composed), ratio)
    both = TEXT.format(positive=composed).replace("train: {cats", f"train: {{{decomposed}: 1, cats")
    with pytest.raises(SettingsError, match="is given twice"):
        load_text(both)


def test_images_may_be_grouped_by_a_slice_column_or_a_built_in_feature():
    changes = {"data.slices": "[patient]", "sampler.group_by": "patient"}
    assert parse(minimal(**changes), origin="test").sampler.group_by == "patient"
    assert parse(minimal(**{"sampler.group_by": "uri"}), origin="test").sampler.group_by == "uri"
