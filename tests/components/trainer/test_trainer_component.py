import json

from tfx.dsl.components.common.importer import Importer
from tfx.orchestration import metadata, pipeline
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.types import artifact_utils, standard_artifacts

from components.images.rules import read_rules
from components.trainer.component import trainer


def test_tfx_runs_the_trainer_with_its_settings(examples_uri, tmp_path, make_settings):
    examples = Importer(
        source_uri=str(examples_uri),
        artifact_type=standard_artifacts.Examples,
        properties={"split_names": artifact_utils.encode_split_names(["train", "val"])},
    ).with_id("examples")
    component = trainer(
        examples.outputs["result"],
        settings=make_settings(epochs=1).model_dump(),
        max_side=40,
        max_pixels=10_000,
        checkpoint_root=str(tmp_path / "checkpoints"),
    )
    LocalDagRunner().run(
        pipeline.Pipeline(
            pipeline_name="trainer",
            pipeline_root=str(tmp_path / "root"),
            components=[examples, component],
            metadata_connection_config=metadata.sqlite_metadata_connection_config(
                str(tmp_path / "mlmd.sqlite")
            ),
        )
    )
    (serving,) = (tmp_path / "root/Trainer/model").glob("*/Format-Serving")
    assert (serving / "saved_model.pb").exists()
    rules = read_rules(serving)
    assert (rules.max_side, rules.max_pixels, rules.image_size) == (40, 10_000, 32)
    (history,) = (tmp_path / "root/Trainer/model_run").glob("*/history.json")
    assert json.loads(history.read_text())["splits"] == {
        "train": {"positives": 4, "negatives": 12},
        "val": {"positives": 3, "negatives": 6},
    }
