"""Passes rows between the two passes over the shards, in files.

Beam's in-process runner would hold several copies of all shuffled data in memory. So the rows are
written to files, and Beam shuffles only their positions in these files. All workers must be able
to read them.
"""

import json
import os
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from components.bundle_file import bundle_file
from components.imbalance_sampler.rows import SCANNED, SORTED, Rows

LOGGER = "outnumbered.imbalance_sampler"

COUNTS = "counts"
"""Tag of a pass's counters."""
ROWS = "rows"
"""Tag of a pass's rows, as parts by key."""

Part = tuple[str, int, int]
"""Rows of one key: the file's name, the first row, and the last row plus one."""

_BUCKET = "bucket-"
_SCAN = "scan-"


def load_scan(folder: str, shard: int) -> Rows:
    """Reads the rows of a shard, `SCANNED`."""
    with tf.io.gfile.GFile(_scan_path(folder, shard), "rb") as file:
        return np.frombuffer(file.read(), SCANNED)


def save_scan(folder: str, shard: int, rows: Rows) -> None:
    """Writes the rows that `load_scan` reads; the file gets its name when it is complete."""
    with bundle_file(_scan_path(folder, shard)) as hidden, tf.io.gfile.GFile(hidden, "wb") as file:
        file.write(rows.tobytes())


def _scan_path(folder: str, shard: int) -> str:
    return os.path.join(folder, f"{_SCAN}{shard:05d}")


def load_bucket(folder: str, bucket: int) -> Rows:
    """Reads the rows of a bucket of a survey, `SORTED`."""
    with tf.io.gfile.GFile(_bucket_path(folder, bucket), "rb") as file:
        return np.frombuffer(file.read(), SORTED)


def save_bucket(folder: str, bucket: int, rows: Rows) -> None:
    """Writes the rows that `load_bucket` reads."""
    with tf.io.gfile.GFile(_bucket_path(folder, bucket), "wb") as file:
        file.write(rows.tobytes())


def saved_buckets(folder: str) -> list[int]:
    """Returns the numbers of the buckets saved in a folder, in order."""
    names = tf.io.gfile.listdir(folder)
    return sorted(int(name.removeprefix(_BUCKET)) for name in names if name.startswith(_BUCKET))


def _bucket_path(folder: str, bucket: int) -> str:
    return os.path.join(folder, f"{_BUCKET}{bucket:05d}")


def write_json(value: Any, path: str) -> None:
    """Writes a value that `read_json` reads."""
    with bundle_file(path) as hidden, tf.io.gfile.GFile(hidden, "w") as file:
        json.dump(value, file)


def read_json(path: str) -> Any:
    """Reads a value that `write_json` wrote."""
    with tf.io.gfile.GFile(path) as file:
        return json.load(file)


def spill(rows: Rows, keys: np.ndarray, folder: str) -> Iterator[tuple[int, Part]]:
    """Writes rows to a new file, and yields each key with its part of the file."""
    if not len(rows):
        return
    order = np.argsort(keys, kind="stable")
    found, starts = np.unique(keys[order], return_index=True)
    # A unique name, in case a worker dies while writing and the bundle is retried.
    name = f"spill-{uuid.uuid4().hex}"
    with tf.io.gfile.GFile(os.path.join(folder, name), "wb") as file:
        file.write(rows[order].tobytes())
    for key, start, end in zip(found, starts, [*starts[1:], len(rows)], strict=True):
        yield int(key), (name, int(start), int(end))


def gather(parts: Iterable[Part], dtype: np.dtype, folder: str) -> Rows:
    """Reads the rows of all parts, in no particular order."""
    arrays = [_read_part(part, dtype, folder) for part in parts]
    return np.concatenate(arrays)


def _read_part(part: Part, dtype: np.dtype, folder: str) -> Rows:
    name, start, end = part
    with tf.io.gfile.GFile(os.path.join(folder, name), "rb") as file:
        file.seek(start * dtype.itemsize)
        return np.frombuffer(file.read((end - start) * dtype.itemsize), dtype)


def add_counters(counters: Iterable[Counter]) -> Counter:
    """Returns the sum of the counters, for Beam's combiners."""
    total: Counter = Counter()
    for counter in counters:
        total.update(counter)
    return total
