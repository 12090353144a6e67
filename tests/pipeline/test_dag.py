"""The connections of the components, and what is reused from TFX's cache."""

import json
from pathlib import Path
from typing import Any

import pytest

from components import names
from components.imbalance_sampler.request import DEFAULT_DISTANCE
from components.trainer.units import UnitRule
from pipeline.dag import Places, build
from pipeline.settings import load, preset_path


def nodes(*overrides: str, kept_schema: str | None = None) -> dict[str, Any]:
    """The components of a pipeline, by id."""
    places = Places(
        pipeline_root="root",
        registry="models",
        checkpoints="checkpoints",
        data_version="1",
        kept_schema=kept_schema,
        serving_version="7",
    )
    dag = build(load(preset_path("notebook_cnn"), overrides), places)
    return {node.id: node for node in dag.components}


def test_only_an_edited_schema_changes_the_cache_key():
    for component in ("SchemaGen", "Pusher"):
        first, again, edited = (
            nodes(kept_schema=digest)[component].exec_properties["kept_schema"]
            for digest in ("abc", "abc", "abd")
        )
        assert first == again == "abc"
        assert edited == "abd"


def test_without_a_kept_schema_the_pusher_always_runs_and_schema_gen_is_cached():
    first, again = nodes(kept_schema=""), nodes(kept_schema="")
    key = "kept_schema"
    assert first["SchemaGen"].exec_properties[key] == again["SchemaGen"].exec_properties[key] == ""
    assert first["Pusher"].exec_properties[key] != again["Pusher"].exec_properties[key]


@pytest.mark.parametrize("gate", ["f1 >= 0.5", "anomalies <= 0"])
def test_the_evaluator_reads_anomalies_only_if_a_gate_requires_them(gate: str):
    found = nodes(f"evaluator.gates=['{gate}']")
    assert (names.ANOMALIES in found["Evaluator"].inputs) == gate.startswith("anomalies")


def test_the_evaluator_slices_by_the_bands_of_the_settings():
    found = nodes("evaluator.bands=[sharpness]")["Evaluator"].exec_properties
    assert found["bands"] == '["sharpness"]'


def test_measures_of_the_images_are_not_in_the_statistics_so_kept_schemas_stay_valid():
    options = nodes()["StatisticsGen"].exec_properties["stats_options_json"]
    assert "class_name" in options
    assert not [band for band in names.BANDS if band in options]


def test_schema_gen_and_pusher_use_the_same_registry():
    found = nodes()
    registries = {found[name].exec_properties["registry"] for name in ("SchemaGen", "Pusher")}
    assert registries == {"models"}


def test_an_incomplete_kept_schema_stops_a_run_before_its_first_step(tmp_path: Path):
    from pipeline import local

    folder = tmp_path / "registry" / "schema"
    folder.mkdir(parents=True)
    (folder / "schema.pbtxt").write_text("feature {")
    with pytest.raises(local.RunError, match=r"incomplete; restore statistics.pb, kept.json, or"):
        local.run(load(preset_path("notebook_cnn")), tmp_path, data_version="")
    assert not (tmp_path / "tfx" / "artifacts").exists()


@pytest.mark.parametrize(
    ("gate", "required"), [("f1 >= 0.5", ""), ("f1 better than champion", "comparison")]
)
def test_every_run_looks_for_the_champion_first_and_a_gate_on_it_requires_it(gate, required):
    found = nodes(f"evaluator.gates=['{gate}']")
    assert next(iter(found)) == "ChampionFinder"
    assert found["ChampionFinder"].exec_properties == {
        "registry": "models",
        "serving_version": "7",
        "positive_class": "dogs",
        "required": required,
        "code_version": "",
    }
    assert names.CHAMPION in found["Evaluator"].inputs


def test_only_a_warm_start_makes_the_trainer_read_the_champion_which_must_then_be_intact():
    assert names.CHAMPION not in nodes()["Trainer"].inputs
    found = nodes("trainer.warm_start=champion")
    assert names.CHAMPION in found["Trainer"].inputs
    assert found["ChampionFinder"].exec_properties["required"] == "model"


def test_the_trainer_learns_which_images_the_sampler_never_parts():
    own = ["sampler.group_by=class_name", "sampler.near_duplicates.max_distance=2"]
    config = json.loads(nodes(*own)["Trainer"].exec_properties["custom_config"])
    assert config["units"] == {"group_by": "class_name", "max_distance": 2}
    assert UnitRule.of_config(config) == UnitRule("class_name", 2)
    config = json.loads(nodes()["Trainer"].exec_properties["custom_config"])
    assert config["units"] == {"group_by": "", "max_distance": DEFAULT_DISTANCE}
