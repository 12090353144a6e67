"""The Beam components one after the other, each on the outputs of those before it."""

import contextlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
import tfx  # noqa: F401 - TFX must be imported before TFDV, which TFMA may bring
from brightness_model import save_brightness_model
from pictures_on_disk import write_pictures

SPLITS = {
    "train": {"cats": 8, "dogs": 4},
    "val": {"cats": 4, "dogs": 3},
    "test": {"cats": 8, "dogs": 5},
}
SIZE = 71


def write_photos(folder: Path) -> Path:
    """Writes 34 images of two classes, of which one can't be read and one is there twice."""
    write_pictures(folder / "cats", 20, first_seed=0)
    write_pictures(folder / "dogs", 12, first_seed=100)
    (folder / "cats" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (folder / "dogs" / "again.jpg").write_bytes((folder / "dogs" / "0000.jpg").read_bytes())
    return folder


def write_model(folder: Path) -> Path:
    """Saves a calibrated model, whose probability is the brightness of the first pixel."""
    from components import artifact_files

    serving = save_brightness_model(folder / "Format-Serving")
    point = {"threshold": 0.5, "rule": "best_f1", "review": {"lower": 0.4, "upper": 0.6}}
    (serving / "assets" / "operating_point.json").write_text(json.dumps(point))
    artifact_files.list_all(str(folder))
    return folder


@dataclass(frozen=True)
class Chain:
    """Runs the components below a folder, with the same options of Beam.

    Attributes:
      root: of the pipeline; the only folder that all workers see.
      options: of Beam.
    """

    root: Path
    options: Sequence[str]

    def run(self, photos: Path, model: Path) -> dict[str, Any]:
        """Runs all, and returns what they gave; files that must be equal, by their digests."""
        self.root.mkdir()
        self.ingest(photos)
        self.describe()
        self.sample()
        self.sample("examples_of_draws", "draws", draws=2)
        self.extract()
        self.evaluate(model)
        rows = self.predict(photos, model)
        return {
            "files": self.files(
                *("examples", "quarantine", "drawn_examples", "sampling", "predictions"),
                *("examples_of_draws", "draws"),
            ),
            "names": self.names(),
            "statistics": self.statistics(),
            "features": self.features(),
            "stored": self.stored(),
            "metrics": self.metrics(),
            "rows": rows,
        }

    def files(self, *artifacts: str) -> dict[str, str]:
        """Returns the digests of the artifacts' files, by their paths."""
        from components import artifact_files

        return {
            f"{name}/{entry.name}": entry.sha256
            for name in artifacts
            for entry in artifact_files.described(self.uri(name))
        }

    def names(self) -> list[str]:
        """Returns the paths of all files, including hidden ones, except for the store's.

        Without the numbers of shards: TFMA's writers make one of each bundle.
        """
        files = (path.relative_to(self.root) for path in self.root.rglob("*") if path.is_file())
        found = (str(path) for path in files if path.parts[0] != "features")
        return sorted({re.sub(r"-\d+-of-\d+", "", name) for name in found})

    def stored(self) -> list[str]:
        """Returns the images in the store of features, one as often as it is there."""
        listings = Path(self.uri("features")).glob("*/[!.]*.ids")
        return sorted(line for listing in listings for line in listing.read_text().splitlines())

    def uri(self, name: str) -> str:
        return str(self.root / name)

    def _do(self, executor: Any, inputs: dict, outputs: dict, properties: dict[str, Any]) -> None:
        context = executor.Context(
            beam_pipeline_args=list(self.options), tmp_dir=self.uri("tmp"), unique_id="1"
        )
        executor(context).Do(
            {name: [found] for name, found in inputs.items()},
            {name: [found] for name, found in outputs.items()},
            properties,
        )

    def _artifact(self, kind: Any, name: str, splits: Sequence[str] = ()) -> Any:
        from tfx.types import artifact_utils

        artifact = kind()
        artifact.uri = self.uri(name)
        if splits:
            artifact.split_names = artifact_utils.encode_split_names(list(splits))
        return artifact

    def ingest(self, photos: Path) -> None:
        from tfx.types import standard_artifacts

        from components.artifacts import Quarantine
        from components.image_example_gen.component import ImageExampleGen
        from components.image_example_gen.executor import Executor

        asked = ImageExampleGen(source=str(photos), positive_class="dogs", max_bad_fraction=1.0)
        outputs = {
            "examples": self._artifact(standard_artifacts.Examples, "examples"),
            "quarantine": self._artifact(Quarantine, "quarantine"),
        }
        self._do(Executor, {}, outputs, dict(asked.spec.exec_properties))

    def describe(self) -> None:
        from tfx.types import standard_artifacts

        from components.statistics_gen.executor import Executor

        examples = self._artifact(standard_artifacts.Examples, "examples", ["all"])
        statistics = self._artifact(standard_artifacts.ExampleStatistics, "statistics")
        properties = {"exclude_splits": "[]", "stats_options_json": None}
        self._do(Executor, {"examples": examples}, {"statistics": statistics}, properties)

    def statistics(self) -> dict[str, Any]:
        """Returns the statistics of each feature; their order is any."""
        import tensorflow_data_validation as tfdv

        found = tfdv.load_stats_binary(self.uri("statistics/Split-all/FeatureStats.pb"))
        return {feature.path.step[0]: feature for feature in found.datasets[0].features}

    def sample(
        self, examples_name: str = "drawn_examples", sampling_name: str = "sampling", **changes: int
    ) -> None:
        from tfx.types import standard_artifacts

        from components.artifacts import Sampling
        from components.imbalance_sampler.executor import Executor

        properties = {
            "splits": json.dumps(SPLITS),
            "random_state": 42,
            "assignment": "exact",
            "max_distance": 0,
            "prevalence": json.dumps({"cats": 10, "dogs": 1}),
            **changes,
        }
        outputs = {
            "drawn_examples": self._artifact(standard_artifacts.Examples, examples_name),
            "sampling": self._artifact(Sampling, sampling_name),
        }
        examples = self._artifact(standard_artifacts.Examples, "examples", ["all"])
        self._do(Executor, {"examples": examples}, outputs, properties)

    def extract(self) -> None:
        import keras
        from tfx.types import standard_artifacts

        from components.feature_extractor.executor import Executor

        keras.utils.set_random_seed(0)  # the random weights
        properties = {
            "weights": "none",
            "weights_version": "",
            "splits": json.dumps(["train", "val"]),
            "pooled": 1,
            "image_size": SIZE,
            "model_name": "xception",
            "views": '["original"]',
            "input_scale": "-1..1",
            "store": self.uri("features"),
            "keeps_views": 0,
        }
        examples = self._artifact(standard_artifacts.Examples, "drawn_examples", list(SPLITS))
        featured = self._artifact(standard_artifacts.Examples, "featured_examples")
        self._do(Executor, {"examples": examples}, {"featured_examples": featured}, properties)

    def features(self) -> dict[str, list[tf.train.Example]]:
        """Returns the featured examples by split, in the order of the records."""
        from components.example_files import split_shards

        return {
            split: [
                tf.train.Example.FromString(record)
                for shard in split_shards(self.uri("featured_examples"), split)
                for record in tf.data.TFRecordDataset(shard.path).as_numpy_iterator()
            ]
            for split in ("train", "val")
        }

    def evaluate(self, model: Path) -> None:
        from tfx.types import standard_artifacts

        from components import artifacts
        from components.evaluator.executor import Executor

        served = standard_artifacts.Model()
        served.uri = str(model)
        inputs = {
            "examples": self._artifact(standard_artifacts.Examples, "drawn_examples", list(SPLITS)),
            "model": served,
            "sampling": self._artifact(artifacts.Sampling, "sampling"),
        }
        outputs = {
            "evaluation": self._artifact(standard_artifacts.ModelEvaluation, "evaluation"),
            "predictions": self._artifact(artifacts.Predictions, "predictions"),
            "blessing": self._artifact(standard_artifacts.ModelBlessing, "blessing"),
        }
        properties = {
            "split": "test",
            "slices": json.dumps([["class_name"]]),
            "bands": json.dumps(["brightness"]),
            "gates": json.dumps(["recall >= 0.1"]),
        }
        self._do(Executor, inputs, outputs, properties)

    def metrics(self) -> dict[str, Any]:
        """Returns the Evaluator's figures, by slice too."""
        from components.evaluator import summary

        return summary.read(self.uri("evaluation"))

    def predict(self, photos: Path, model: Path) -> list[dict[str, Any]]:
        from pipeline.batch import job
        from pipeline.batch.listing import Request

        # Relative to this process's folder, in which no worker is.
        with contextlib.chdir(photos.parent):
            output, serving = f"{self.root.name}/rows.jsonl", f"{model.name}/Format-Serving"
            job.run(job.Job(Request((photos.name,)), serving, output, tuple(self.options)), print)
            return [json.loads(line) for line in Path(output).read_text().splitlines()]
