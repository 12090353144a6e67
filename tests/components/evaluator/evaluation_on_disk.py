"""Builds the artifacts of an evaluation on disk, with a real SavedModel, and runs it."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf
import tfx  # noqa: F401 - TFX must be imported before TFDV, which TFMA may bring
from listed import list_files, listed
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import artifact_utils, standard_artifacts

from components import artifacts, example_files, names
from components.champion_finder import found_champion
from components.evaluator import executor
from components.example_validator import findings_file
from components.example_validator.findings import Findings

PREVALENCE = 0.01


class TextModel(tf.Module):
    """A model whose input image is the text of the probability that it returns."""

    def __init__(self, threshold: float, operating_point: Path, band: dict | None = None):
        super().__init__()
        self._threshold = tf.constant(threshold, tf.float32)
        self._band = band
        self._asset = tf.saved_model.Asset(str(operating_point))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def predict_images(self, images):
        probability = tf.strings.to_number(images, tf.float32)[:, None]
        called = tf.cast(probability >= self._threshold, tf.int64)
        score = tf.sqrt(probability)
        outputs = {names.PROBABILITY: probability, names.SCORE: score, names.IS_POSITIVE: called}
        if self._band is None:  # as a model of an earlier version
            return outputs
        within = (probability >= self._band["lower"]) & (probability < self._band["upper"])
        return {**outputs, names.NEEDS_REVIEW: tf.cast(within, tf.int64)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def predict_examples(self, examples):
        feature = {names.IMAGE: tf.io.FixedLenFeature([], tf.string)}
        return self.predict_images(tf.io.parse_example(examples, feature)[names.IMAGE])


def save_model(
    folder: Path, threshold: float, recorded: float | None = None, **changes: dict | None
) -> None:
    """Saves a calibrated model in `folder`; its assets may record another threshold.

    Args:
      folder: where to save it.
      threshold: by which it decides.
      recorded: the threshold in its assets; None for the same.
      changes: further entries of the operating point; with `review`, it has a review band.
    """
    source = folder.parent / "operating_point.json"
    source.parent.mkdir(parents=True, exist_ok=True)
    point = {"threshold": threshold if recorded is None else recorded, "rule": "best_f1", **changes}
    source.write_text(json.dumps(point))
    model = TextModel(threshold, source, changes.get("review"))
    signatures = {
        names.SERVING_DEFAULT: model.predict_examples.get_concrete_function(),
        names.PREDICT_IMAGES: model.predict_images.get_concrete_function(),
    }
    tf.saved_model.save(model, str(folder), signatures=signatures)


@dataclass
class Row:
    """One image of a test split."""

    label: int
    probability: float
    columns: dict[str, str] = field(default_factory=dict)
    measures: dict[str, float] = field(default_factory=dict)


def example(row: Row, index: int) -> bytes:
    def text(value: str) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))

    features = {
        names.IMAGE: text(repr(row.probability)),
        names.LABEL: tf.train.Feature(int64_list=tf.train.Int64List(value=[row.label])),
        names.CLASS_NAME: text("dogs" if row.label else "cats"),
        names.URI: text(f"photos/bild ü {index}.jpg"),
        # In neither the order of the files nor of the labels.
        names.IMAGE_ID: text(f"{index * 7919 % 100003:064d}"),
        **{name: text(value) for name, value in row.columns.items()},
        **{name: _number(value) for name, value in row.measures.items()},
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _number(value: float) -> tf.train.Feature:
    if isinstance(value, int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))


def write_examples(uri: Path, rows: list[Row], shards: int = 3, split: str = names.TEST) -> None:
    folder = Path(example_files.split_dir(str(uri), split))
    folder.mkdir(parents=True)
    for shard in range(shards):
        path = folder / example_files.shard_name(shard, shards)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for index in range(shard, len(rows), shards):
                writer.write(example(rows[index], index))
    list_files(uri)


def some_rows(seed: int = 0, positives: int = 40, negatives: int = 400) -> list[Row]:
    """Makes overlapping classes with ties, two slice columns, one with gaps, and a measure."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [positives, negatives])
    scores = np.round(rng.beta(1 + 3 * labels, 4 - 2 * labels), 2).astype(np.float32)
    breeds = {1: ["beagle", "pug"], 0: ["manx", "größe 1", ""]}
    brightness = np.random.default_rng(seed).uniform(0, 255, labels.size).tolist()
    rows = []
    for label, score, luma in zip(labels.tolist(), scores.tolist(), brightness, strict=True):
        breed = breeds[label][rng.integers(len(breeds[label]))]
        light = ["day", "dim"][rng.integers(2)]
        columns = {"breed": breed, "light": light}
        rows.append(Row(label, score, columns, {names.BRIGHTNESS: luma}))
    return [rows[index] for index in rng.permutation(len(rows))]


@dataclass
class Evaluation:
    """The artifacts of one evaluation on disk."""

    root: Path
    rows: list[Row]
    threshold: float
    split: str = names.TEST
    slices: list[list[str]] = field(default_factory=list)
    bands: list[str] = field(default_factory=list)
    slice_columns: dict | None = None
    gates: list[str] = field(default_factory=lambda: ["recall >= 0.5"])
    data_check: Findings | None = None
    point: dict = field(default_factory=dict)
    champion: str | None = None
    featured: Path | None = None

    def __post_init__(self):
        self.examples = self._artifact(standard_artifacts.Examples, "examples")
        self.examples.split_names = artifact_utils.encode_split_names([names.TEST])
        self.model = self._artifact(standard_artifacts.Model, "model")
        self.sampling = self._artifact(artifacts.Sampling, "sampling")
        self.anomalies = self._artifact(standard_artifacts.ExampleAnomalies, "anomalies")
        self.evaluation = self._artifact(standard_artifacts.ModelEvaluation, "evaluation")
        self.predictions = self._artifact(artifacts.Predictions, "predictions")
        self.blessing = self._artifact(standard_artifacts.ModelBlessing, "blessing")

    def _artifact(self, kind, name):
        artifact = kind()
        artifact.uri = str(self.root / name)
        return artifact

    @property
    def serving_dir(self) -> Path:
        return Path(self.model.uri) / "Format-Serving"

    def prepare(self) -> "Evaluation":
        write_examples(Path(self.examples.uri), self.rows)
        if not self.serving_dir.exists():
            save_model(self.serving_dir, self.threshold, **self.point)
        used = {"all of them": {"asked": 1, "available": 1, "used": len(self.rows)}}
        report = {
            "population": {"prevalence": PREVALENCE},
            "splits": {names.TEST: used},
            "slice_columns": self.slice_columns,
        }
        Path(self.sampling.uri).mkdir()
        (Path(self.sampling.uri) / "sampling.json").write_text(json.dumps(report))
        if self.champion is not None:
            self.found = self._artifact(artifacts.Champion, "champion")
            asked = found_champion.Request(self.champion, "", positive_class="dogs")
            found_champion.find(asked, self.found.uri)
        if self.data_check is not None:
            findings_file.write(self.data_check, self.anomalies.uri)
        return self

    def _featured_examples(self) -> dict:
        if self.featured is None:
            return {}
        artifact = self._artifact(standard_artifacts.Examples, "featured")
        artifact.uri = str(self.featured)
        return {names.FEATURED_EXAMPLES: [artifact]}

    def run(self) -> "Evaluation":
        context = BaseBeamExecutor.Context(beam_pipeline_args=["--runner=FnApiRunner"])
        executor.Executor(context).Do(
            listed(
                {
                    names.EXAMPLES: [self.examples],
                    names.MODEL: [self.model],
                    names.SAMPLING: [self.sampling],
                    **({names.CHAMPION: [self.found]} if self.champion is not None else {}),
                    **self._featured_examples(),
                    **({names.ANOMALIES: [self.anomalies]} if self.data_check is not None else {}),
                }
            ),
            {
                names.EVALUATION: [self.evaluation],
                names.PREDICTIONS: [self.predictions],
                names.BLESSING: [self.blessing],
            },
            {
                executor.SPLIT: self.split,
                executor.SLICES: json.dumps(self.slices),
                executor.BANDS: json.dumps(self.bands),
                executor.GATES: json.dumps(self.gates),
            },
        )
        return self
