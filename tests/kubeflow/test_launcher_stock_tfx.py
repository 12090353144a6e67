"""The example of docs/tfx-on-kubeflow.md: a stock TFX pipeline on a simulated cluster."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from launcher import PROJECT, Cluster
from store_on_localhost import ARTIFACTS

MODEL = """
import tensorflow as tf
import tensorflow_model_analysis as tfma
from google.protobuf import text_format

EVAL_CONFIG = text_format.Parse('''
    model_specs { label_key: "y" signature_name: "serving_default" prediction_key: "p" }
    slicing_specs {}
    metrics_specs {
      metrics {
        class_name: "BinaryAccuracy"
        threshold { value_threshold { lower_bound { value: 0.9 } } }
      }
    }''', tfma.proto.config_pb2.EvalConfig())
FEATURES = {"x": tf.io.FixedLenFeature([], tf.float32), "y": tf.io.FixedLenFeature([], tf.float32)}


class Model(tf.Module):
    def __init__(self):
        self.weight = tf.Variable(0.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(self, examples):
        x = tf.io.parse_example(examples, {"x": FEATURES["x"]})["x"]
        return {"p": tf.sigmoid(self.weight * x)}


def run_fn(fn_args):
    model = Model()
    files = tf.io.gfile.glob(fn_args.train_files)
    records = list(tf.data.TFRecordDataset(files, compression_type="GZIP"))
    read = tf.io.parse_example(tf.stack(records), FEATURES)
    for _ in range(fn_args.train_steps):
        error = tf.sigmoid(model.weight * read["x"]) - read["y"]
        model.weight.assign_sub(tf.reduce_mean(error * read["x"]))
    tf.saved_model.save(model, fn_args.serving_model_dir, signatures=model.serve)
"""


def example_of_the_docs() -> str:
    text = (PROJECT / "docs" / "tfx-on-kubeflow.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return code


def record(x: float, *, labelled: bool = True) -> bytes:
    features = {"x": x, "y": float(x > 0)} if labelled else {"x": x}
    return tf.train.Example(
        features=tf.train.Features(
            feature={
                name: tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
                for name, value in features.items()
            }
        )
    ).SerializeToString()


def write_records(folder: Path) -> None:
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "points.tfrecord")) as writer:
        for x in np.random.default_rng(1).normal(size=60):
            writer.write(record(x))


def test_a_stock_pipeline_trains_evaluates_and_pushes(cluster: Cluster, tmp_path: Path):
    write_records(tmp_path / "data")
    (tmp_path / "my_model.py").write_text(MODEL)
    root = f"s3://{ARTIFACTS}/stock"
    code = example_of_the_docs().replace("gs://bucket/root", root)
    (tmp_path / "example.py").write_text(code.replace("gs://bucket", str(tmp_path)))
    environment = {**cluster.environment, "PYTHONPATH": f"{PROJECT}:{tmp_path}"}
    subprocess.run([sys.executable, "example.py"], cwd=tmp_path, env=environment, check=True)

    cluster.environment = environment
    steps = cluster.run(tmp_path / "pipeline.yaml", pipeline_root=root)

    assert set(steps) == {"ExampleGen", "Trainer", "Evaluator", "Pusher"}
    assert steps["ExampleGen"].outputs["examples"]["metadata"]["split_names"] == '["train", "eval"]'
    assert steps["Evaluator"].outputs["blessing"]["metadata"]["blessed"] == 1
    (pushed,) = (tmp_path / "serving").iterdir()
    serve = tf.saved_model.load(str(pushed)).signatures["serving_default"]
    points = tf.constant([record(-1.0, labelled=False), record(2.0, labelled=False)])
    below, above = serve(points)["p"].numpy()
    assert below < 0.5 < above
