"""Where the records of an Examples artifact lie: uncompressed TFRecord shards, a folder a split.

Shards are not compressed: their bulk is JPEG, on which gzip costs as much time as
decoding it and saves nothing.
"""

import fnmatch
import os
import re

from tfx.dsl.io import fileio

_SHARD = re.compile(r"^data_tfrecord-\d{5}-of-\d{5}$")


def split_dir(uri: str, split: str) -> str:
    """The folder of one split of an Examples artifact."""
    return os.path.join(uri, f"Split-{split}")


def shard_name(index: int, count: int) -> str:
    """The file name of shard `index` of `count`."""
    return f"data_tfrecord-{index:05d}-of-{count:05d}"


def matching_files(pattern: str) -> list[str]:
    """The files that a pattern of TFX, such as `FOLDER/*`, stands for, in order.

    Only the part after the last `/` is a pattern; the folder is taken literally, so that
    `exp[1]` is never read as `exp1`. Hidden files don't match.

    Args:
      pattern: a folder, local or remote, and a file name with `*`, `?` or `[...]` in it.
    """
    folder, name = os.path.split(pattern)
    found = [str(entry) for entry in fileio.listdir(folder)] if fileio.isdir(folder) else []
    visible = [entry for entry in found if not entry.startswith(".")]
    return [os.path.join(folder, entry) for entry in sorted(fnmatch.filter(visible, name))]


def split_files(uri: str, split: str) -> list[str]:
    """The shards of one split, in order.

    Raises:
      FileNotFoundError: the artifact has no shard of that split.
    """
    folder = split_dir(uri, split)
    names = [str(name) for name in fileio.listdir(folder)] if fileio.isdir(folder) else []
    shards = sorted(name for name in names if _SHARD.match(name))
    if not shards:
        raise FileNotFoundError(f"no shard of split {split!r} in {uri}; found {sorted(names)}")
    return [os.path.join(folder, name) for name in shards]
