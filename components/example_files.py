"""The files of an Examples artifact: uncompressed TFRecord shards, one folder per split.

Shards are not compressed: they consist mostly of JPEG, for which gzip takes as much time as
decoding and saves no space.

Each artifact has a list of its files, see `components.artifact_files`, without which the remaining
shards of a damaged one would look like a smaller data set.
"""

import fnmatch
import itertools
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tfx.dsl.io import fileio

from components import artifact_files, tfrecords
from components.artifact_files import Shard

if TYPE_CHECKING:
    import tensorflow as tf

_SHARD = re.compile(r"^data_tfrecord-\d{5}-of-\d{5}$")


def split_dir(uri: str, split: str) -> str:
    """Returns the folder of one split of an Examples artifact."""
    return os.path.join(uri, _folder(split))


def _folder(split: str) -> str:
    return f"Split-{split}"


def shard_name(index: int, count: int) -> str:
    """Returns the file name of shard `index` of `count`."""
    return f"data_tfrecord-{index:05d}-of-{count:05d}"


def split_shards(uri: str, split: str) -> list[Shard]:
    """Returns the shards of one split, in order, after checking that they are complete.

    Raises:
      FileNotFoundError: the artifact has no such split.
      DamagedArtifactError: a shard, or the list, is missing or has changed.
    """
    shards = artifact_files.listed_files(uri, _folder(split))
    if not shards:
        listed = artifact_files.folders(uri)
        raise FileNotFoundError(f"no shard of split {split!r} exists in {uri}. Received: {listed}")
    folder = split_dir(uri, split)
    found = sorted(name for name in map(str, fileio.listdir(folder)) if _SHARD.match(name))
    expected = [shard_name(index, len(shards)) for index in range(len(shards))]
    if found != expected:
        raise artifact_files.damaged(
            folder, f"it must have the shards {expected}. Received: {found}"
        )
    return shards


def pattern_shards(pattern: str) -> list[Shard]:
    """Returns the shards that match a pattern of TFX, `URI/Split-NAME/*`, in order.

    Only the part after the last `/` is a pattern; the folder is literal, so that `exp[1]` is
    never read as `exp1`.

    Raises:
      FileNotFoundError: the artifact has no such split.
      DamagedArtifactError: see `split_shards`.
    """
    folder, name = os.path.split(pattern)
    uri, split = os.path.split(folder)
    shards = split_shards(uri, split.removeprefix(_folder("")))
    return [shard for shard in shards if fnmatch.fnmatch(os.path.basename(shard.path), name)]


def record_batches(path: str, size: int) -> "Iterator[tf.Tensor]":
    """Yields the records of a shard, string (b,), in order.

    Args:
      path: of an uncompressed TFRecord file.
      size: of all batches except the last.

    Raises:
      DamagedArtifactError: a record does not match its checksum, or is incomplete.
    """
    import tensorflow as tf

    remaining = tfrecords.records(path)
    while batch := list(itertools.islice(remaining, size)):
        yield tf.constant(batch)
