"""StatisticsGen names the file that it can't read."""

from pathlib import Path

import pytest
import tensorflow as tf
import tfx.components  # noqa: F401 - TFX must be imported before TFDV
from damage import empty, flip_a_bit
from listed import list_files
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import standard_artifacts

from components import artifact_files
from components.artifact_files import DamagedArtifactError
from components.example_files import shard_name
from components.statistics_gen.executor import Executor


def image(width: int) -> bytes:
    feature = {"width": tf.train.Feature(int64_list=tf.train.Int64List(value=[width]))}
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


@pytest.fixture
def examples(tmp_path) -> Path:
    """Two shards of two images."""
    folder = tmp_path / "examples" / "Split-all"
    folder.mkdir(parents=True)
    for shard in range(2):
        with tf.io.TFRecordWriter(str(folder / shard_name(shard, 2))) as writer:
            for width in (300, 400):
                writer.write(image(width))
    list_files(tmp_path / "examples")
    return tmp_path / "examples"


def run(examples: Path) -> Path:
    source, target = standard_artifacts.Examples(), standard_artifacts.ExampleStatistics()
    source.uri, source.split_names = str(examples), '["all"]'
    target.uri = str(examples.parent / "statistics")
    context = BaseBeamExecutor.Context(
        beam_pipeline_args=["--runner=FnApiRunner", "--sdk_container_image=none"],
        tmp_dir=str(examples.parent / "tmp"),
    )
    Executor(context).Do({"examples": [source]}, {"statistics": [target]}, {})
    return Path(target.uri)


def test_the_statistics_are_written_and_listed(examples):
    folder = run(examples)
    assert (folder / "Split-all" / "FeatureStats.pb").stat().st_size
    assert artifact_files.is_intact(str(folder), digests=True)


@pytest.mark.parametrize("damage", [Path.unlink, empty, flip_a_bit])
def test_a_damaged_shard_is_named(examples, damage):
    damage(examples / "Split-all" / shard_name(1, 2))
    with pytest.raises(DamagedArtifactError, match=f"^{examples} is damaged: .*00001-of-00002"):
        run(examples)
    assert not (examples.parent / "statistics" / "files.json").exists()
