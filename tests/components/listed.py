"""The list of an artifact's files, made from what is on disk."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfx.types import Artifact

    from components.artifact_files import Described


def described(uri: Path | str) -> "Iterable[Described]":
    """Describes the files beside the splits that Examples may have, and every shard."""
    import tensorflow as tf

    from components import artifact_files, feature_records, slice_columns
    from components.image_example_gen import spans_file

    for name in (slice_columns.FILE, spans_file.FILE, feature_records.KEY_FILE):
        if (Path(uri) / name).exists():
            yield artifact_files.describe(str(uri), name)
    for path in sorted(Path(uri).glob("Split-*/data_tfrecord-*")):
        records = sum(1 for _ in tf.data.TFRecordDataset([str(path)]))
        yield artifact_files.describe(str(uri), str(path.relative_to(uri)), records)


def list_files(uri: Path | str, *, check_digests: bool = False) -> None:
    """Completes Examples that a test wrote shard by shard, as the components do."""
    from components import artifact_files

    artifact_files.write_list(str(uri), described(uri), check_digests=check_digests)


def assert_listed(uri: Path | str, *, check_digests: bool) -> None:
    """Checks that the list that a component wrote is of the files that it wrote."""
    path = Path(uri) / "files.json"
    written = path.read_text()
    list_files(uri, check_digests=check_digests)
    assert written == path.read_text()


def listed(inputs: "dict[str, list[Artifact]]") -> "dict[str, list[Artifact]]":
    """Completes the inputs that a test wrote for an executor, except those with records."""
    from tfx.types import standard_artifacts

    from components import artifact_files
    from components.artifacts import Predictions

    for artifact in (each for found in inputs.values() for each in found):
        if not isinstance(artifact, (standard_artifacts.Examples, Predictions)):
            artifact_files.list_all(artifact.uri)
    return inputs
