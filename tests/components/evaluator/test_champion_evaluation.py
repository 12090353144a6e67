"""The Evaluator with a champion: real models, Beam and a registry."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from evaluation_on_disk import Evaluation, some_rows

from components import names
from components.evaluator import blessing, champion_record, predictions
from components.registry import open_registry
from components.registry.record import VersionRecord

GATES = ["pr_auc not worse than champion by 0.01", "recall better than champion"]


class OnlyProbability(tf.Module):
    """A champion with another signature, another scale, and its own threshold.

    It can't predict images above `highest`.
    """

    def __init__(self, asset: Path, highest: float):
        super().__init__()
        self._asset = tf.saved_model.Asset(str(asset))
        self._highest = highest

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def predict(self, photographs):
        values = tf.strings.to_number(photographs)[:, None]
        with tf.control_dependencies([tf.debugging.assert_less_equal(values, self._highest)]):
            return {names.PROBABILITY: values / 2}


def save_champion(folder: Path, highest: float = 1.0) -> Path:
    asset = folder.parent / "operating_point.json"
    asset.write_text(json.dumps({"threshold": 0.4}))
    champion = OnlyProbability(asset, highest)
    signatures = {names.PREDICT_IMAGES: champion.predict.get_concrete_function()}
    tf.saved_model.save(champion, str(folder), signatures=signatures)
    return folder


def registry_of(root: Path, model: Path) -> str:
    registry = open_registry(root / "registry")
    registry.push(model, lambda number: VersionRecord(version=number, blessed=True))
    return str(root / "registry")


def rows_in_spans():
    """Half of the images in each of two spans."""
    return [
        dataclasses.replace(row, columns={**row.columns, names.SPAN: "9" if index % 2 else "10"})
        for index, row in enumerate(some_rows())
    ]


def few_rows():
    return some_rows(positives=8, negatives=40)


def verdict_of(evaluation):
    return blessing.read_verdict(evaluation.blessing.uri)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    root = tmp_path_factory.mktemp("champion")
    return (
        Evaluation(
            root=root / "run",
            rows=rows_in_spans(),
            threshold=0.48,
            gates=[*GATES, "recall better than champion in the newest span, or too few images"],
            champion=registry_of(root, save_champion(root / "model")),
        )
        .prepare()
        .run()
    )


def test_a_champion_of_another_signature_is_run_once_per_image_with_its_own_threshold(evaluated):
    rows = predictions.read(evaluated.predictions.uri)
    assert len(rows) == 440
    np.testing.assert_allclose(rows[names.CHAMPION_PROBABILITY], rows[names.PROBABILITY] / 2)
    called = rows[names.CHAMPION_PROBABILITY] >= np.float32(0.4)
    assert rows[names.CHAMPION_IS_POSITIVE].to_numpy(bool).tolist() == called.tolist()


def test_both_models_are_compared_on_the_split_and_on_the_newest_span(evaluated):
    record = champion_record.read(evaluated.evaluation.uri)
    assert (record["state"], record["version"], record["threshold"]) == ("compared", 1, 0.4)
    assert record["test"]["images"] == 440
    assert record["newest_span"]["span"] == "10"
    assert record["newest_span"]["images"] == 220
    area = record["test"]["metrics"]["pr_auc"]  # half the score ranks the same
    assert area["challenger"] == area["champion"]
    assert record["test"]["metrics"]["recall"]["difference"] > 0


def test_the_gates_are_decided_by_the_comparison(evaluated):
    verdict = verdict_of(evaluated)
    recall, of_span = verdict["gates"][1:]
    assert recall["outcome"] == "passed"
    assert recall["champion"]["interval"][0] > 0
    assert of_span["slice"] == {"span": "10"}


def test_a_champion_that_fails_on_an_image_is_reported_and_does_not_fail_the_run(tmp_path, caplog):
    registry = registry_of(tmp_path, save_champion(tmp_path / "model", highest=0.5))
    evaluation = Evaluation(
        root=tmp_path / "run",
        rows=few_rows(),
        threshold=0.48,
        gates=["recall >= 0", "recall better than champion"],
        champion=registry,
    )
    verdict = verdict_of(evaluation.prepare().run())
    record = champion_record.read(evaluation.evaluation.uri)
    assert (record["state"], record["version"]) == ("refused", 1)
    assert "it must predict every image" in record["reason"]
    assert [gate["outcome"] for gate in verdict["gates"]] == ["passed", "failed"]
    assert record["reason"] in verdict["reason"]
    assert "the champion can't predict a batch" in caplog.text
