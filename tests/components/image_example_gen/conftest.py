"""Fixtures: a source of pictures, and a run of the component on a source."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pictures_on_disk import read_lines, write_pictures


@pytest.fixture
def photos(tmp_path) -> Path:
    """A source with five cats and three dogs."""
    write_pictures(tmp_path / "photos" / "cats", 5, first_seed=0)
    write_pictures(tmp_path / "photos" / "dogs", 3, first_seed=100)
    return tmp_path / "photos"


@dataclass(frozen=True)
class Ingested:
    """The outputs of a run of the component."""

    examples_uri: Path
    split_names: str
    summary: dict[str, Any]
    quarantine: list[dict[str, str]]

    @property
    def shards(self) -> list[Path]:
        return sorted((self.examples_uri / "Split-all").iterdir())

    @property
    def contents(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.shards}

    @property
    def examples(self) -> list[dict[str, Any]]:
        import tensorflow as tf

        serialized = [record for path in self.shards for record in tf.data.TFRecordDataset(path)]
        return [_features(tf.train.Example.FromString(record.numpy())) for record in serialized]


def _features(example) -> dict[str, Any]:
    features = {}
    for name, feature in example.features.feature.items():
        (value,) = getattr(feature, feature.WhichOneof("kind")).value
        features[name] = value
    return features


@pytest.fixture
def ingest(tmp_path):
    """Runs the component's executor in its own folder; keywords are the component's."""

    def run(
        source: Path,
        *,
        workers: int = 1,
        name: str = "out",
        image_workers: int = 1,
        **settings: Any,
    ) -> Ingested:
        from tfx.types import standard_artifacts

        from components.artifacts import Quarantine
        from components.image_example_gen.component import ImageExampleGen
        from components.image_example_gen.executor import Executor

        examples, quarantine = standard_artifacts.Examples(), Quarantine()
        examples.uri = str(tmp_path / name / "examples" / "1")
        quarantine.uri = str(tmp_path / name / "quarantine" / "1")
        settings = {"positive_class": "dogs", "max_bad_fraction": 1.0, **settings}
        component = ImageExampleGen(source=str(source), **settings)
        options = [*_beam_options(workers), f"--image_workers={image_workers}"]
        executor = Executor(Executor.Context(beam_pipeline_args=options))
        outputs = {"examples": [examples], "quarantine": [quarantine]}
        executor.Do({}, outputs, dict(component.spec.exec_properties))
        return Ingested(
            examples_uri=Path(examples.uri),
            split_names=examples.split_names,
            summary=json.loads((Path(quarantine.uri) / "summary.json").read_text()),
            quarantine=read_lines(Path(quarantine.uri) / "quarantine.jsonl"),
        )

    return run


def _beam_options(workers: int) -> list[str]:
    # FnApiRunner ignores the container image, but with it TFX doesn't package itself.
    options = ["--runner=FnApiRunner", "--sdk_container_image=unused"]
    if workers > 1:
        options += [f"--direct_num_workers={workers}", "--direct_running_mode=multi_threading"]
    return options
