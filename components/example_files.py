"""The files of an Examples artifact: uncompressed TFRecord shards, one folder per split.

Shards are not compressed: they consist mostly of JPEG, for which gzip takes as much time as
decoding and saves no space.
"""

import fnmatch
import os
import re

from tfx.dsl.io import fileio

_SHARD = re.compile(r"^data_tfrecord-\d{5}-of-\d{5}$")


def split_dir(uri: str, split: str) -> str:
    """Returns the folder of one split of an Examples artifact."""
    return os.path.join(uri, f"Split-{split}")


def shard_name(index: int, count: int) -> str:
    """Returns the file name of shard `index` of `count`."""
    return f"data_tfrecord-{index:05d}-of-{count:05d}"


def matching_files(pattern: str) -> list[str]:
    """Returns the files that match a pattern of TFX, such as `FOLDER/*`, sorted.

    Only the part after the last `/` is a pattern; the folder is literal, so that `exp[1]` is
    never read as `exp1`. Hidden files don't match.

    Args:
      pattern: a folder, local or remote, and a file name that may contain `*`, `?` or `[...]`.
    """
    folder, name = os.path.split(pattern)
    found = [str(entry) for entry in fileio.listdir(folder)] if fileio.isdir(folder) else []
    visible = [entry for entry in found if not entry.startswith(".")]
    return [os.path.join(folder, entry) for entry in sorted(fnmatch.filter(visible, name))]


def split_files(uri: str, split: str) -> list[str]:
    """Returns the shards of one split, in order.

    Raises:
      FileNotFoundError: the artifact has no shard of the split.
    """
    folder = split_dir(uri, split)
    names = [str(name) for name in fileio.listdir(folder)] if fileio.isdir(folder) else []
    shards = sorted(name for name in names if _SHARD.match(name))
    if not shards:
        raise FileNotFoundError(
            f"no shard of split {split!r} exists in {uri}. Received: {sorted(names)}"
        )
    return [os.path.join(folder, name) for name in shards]
