"""How the components hang together, and what makes each miss TFX's cache."""

from pathlib import Path
from typing import Any

import pytest

from components import names
from pipeline.dag import Places, build
from pipeline.settings import load, preset_path


def nodes(*overrides: str, kept_schema: str | None = None) -> dict[str, Any]:
    """The components of a pipeline by their ids."""
    places = Places(
        pipeline_root="root",
        registry="models",
        checkpoints="checkpoints",
        data_version="1",
        kept_schema=kept_schema,
    )
    dag = build(load(preset_path("notebook_cnn"), overrides), places)
    return {node.id: node for node in dag.components}


def test_an_edited_schema_misses_the_cache_and_an_unchanged_one_does_not():
    for component in ("SchemaGen", "Pusher"):
        first, again, edited = (
            nodes(kept_schema=digest)[component].exec_properties["kept_schema"]
            for digest in ("abc", "abc", "abd")
        )
        assert first == again == "abc"
        assert edited == "abd"


def test_while_no_schema_is_kept_every_push_is_made_and_no_schema_is_inferred_twice():
    first, again = nodes(kept_schema=""), nodes(kept_schema="")
    key = "kept_schema"
    assert first["SchemaGen"].exec_properties[key] == again["SchemaGen"].exec_properties[key] == ""
    assert first["Pusher"].exec_properties[key] != again["Pusher"].exec_properties[key]


@pytest.mark.parametrize("gate", ["f1 >= 0.5", "anomalies <= 0"])
def test_the_evaluator_waits_for_the_data_s_check_where_a_gate_is_on_it(gate: str):
    found = nodes(f"evaluator.gates=['{gate}']")
    assert (names.ANOMALIES in found["Evaluator"].inputs) == gate.startswith("anomalies")


def test_a_compiled_pipeline_s_schema_gen_reads_the_registry_that_models_are_pushed_to():
    found = nodes()
    registries = {found[name].exec_properties["registry"] for name in ("SchemaGen", "Pusher")}
    assert registries == {"models"}


def test_a_kept_schema_that_cannot_be_read_stops_a_run_before_its_first_step(tmp_path: Path):
    from pipeline import local

    folder = tmp_path / "registry" / "schema"
    folder.mkdir(parents=True)
    (folder / "schema.pbtxt").write_text("feature {")
    with pytest.raises(local.RunError, match=r"incomplete; restore statistics.pb, kept.json, or"):
        local.run(load(preset_path("notebook_cnn")), tmp_path, data_version="")
    assert not (tmp_path / "tfx" / "artifacts").exists()
