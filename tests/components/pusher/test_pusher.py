from pathlib import Path

import pytest
import tensorflow as tf
from tfx.types import Channel, standard_artifacts

from components import names
from components.evaluator import blessing, gates
from components.pusher import executor, pushed_model
from components.pusher.component import Pusher


class Doubler(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def __call__(self, x):
        return {"doubled": 2 * x}


def artifact(kind, uri: Path):
    made = kind()
    made.uri = str(uri)
    return made


def push(root: Path, recall: float | None):
    """Pushes a real SavedModel whose recall is asked to be 0.9; None leaves no verdict."""
    model = artifact(standard_artifacts.Model, root / "model")
    tf.saved_model.save(Doubler(), f"{model.uri}/Format-Serving")
    blessed = artifact(standard_artifacts.ModelBlessing, root / "blessing")
    if recall is not None:
        verdict = gates.verdict(gates.parse_all(["recall >= 0.9"]), {"recall": recall})
        blessing.write(verdict, blessed, model)
    # As a cluster hands it over: the URI alone.
    bare = artifact(standard_artifacts.ModelBlessing, root / "blessing")
    record = artifact(standard_artifacts.PushedModel, root / "pushed")
    executor.Executor().Do(
        {names.MODEL: [model], names.BLESSING: [bare]},
        {names.PUSHED_MODEL: [record]},
        {executor.REGISTRY: str(root / "models")},
    )
    return record


def test_a_blessed_model_is_pushed_and_answers_from_the_registry(tmp_path):
    record = push(tmp_path, recall=0.95)
    destination = pushed_model.read_destination(record.uri)
    assert destination == str(tmp_path / "models" / "1")
    served = tf.saved_model.load(destination)
    assert served(tf.constant([1.0, 3.0]))["doubled"].numpy().tolist() == [2.0, 6.0]
    assert record.get_int_custom_property("pushed") == 1
    assert record.get_string_custom_property("pushed_destination") == destination
    assert record.get_string_custom_property("pushed_version") == "1"


def test_a_model_that_is_not_blessed_stays_out_and_the_component_succeeds(tmp_path):
    record = push(tmp_path, recall=0.85)
    assert not (tmp_path / "models").exists()
    assert pushed_model.read_destination(record.uri) is None
    assert record.get_int_custom_property("pushed") == 0


def test_without_a_verdict_nothing_is_pushed(tmp_path):
    with pytest.raises(ValueError, match="is no blessing"):
        push(tmp_path, recall=None)
    assert not (tmp_path / "models").exists()


def test_the_components_parameter_is_the_registry():
    pusher = Pusher(
        Channel(type=standard_artifacts.Model),
        Channel(type=standard_artifacts.ModelBlessing),
        registry="models",
    )
    assert pusher.exec_properties == {"registry": "models"}
