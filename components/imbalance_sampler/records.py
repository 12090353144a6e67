"""Reads the metadata of a shard's images, and copies its records to the splits."""

import contextlib
import difflib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components import names, tfrecords
from components.bundle_file import bundle_file
from components.example_files import record_batches, shard_name
from components.imbalance_sampler.request import SamplingError, quoted
from components.imbalance_sampler.rows import SCANNED, UNPLACED, Rows, class_key
from components.imbalance_sampler.scores import fingerprints, scores

_BATCH = 512
"""Records read at a time: a few MB of photographs, and little overhead per record."""

_HASH = re.compile(rb"[0-9a-fA-F]{16}")

Counts = Counter[tuple[str, int]]


def check_features(shards: Sequence[str], group_by: str) -> None:
    """Checks that the first record has the features that the sampler needs.

    Raises:
      SamplingError: a feature is missing or is not text, or there is no record.
    """
    record = next((record for shard in shards for record in tfrecords.records(shard)), None)
    if record is None:
        raise SamplingError("the examples contain no image, so there is nothing to draw from")
    features = tf.train.Example.FromString(record).features.feature
    kinds = {name: feature.WhichOneof("kind") for name, feature in features.items()}
    for name in (names.IMAGE_ID, names.CLASS_NAME, names.LABEL):
        if name not in kinds:
            raise SamplingError(
                f"the examples must have a feature {name!r}. Received: {quoted(sorted(kinds))}"
            )
    if group_by and kinds.get(group_by) != "bytes_list":
        columns = sorted(name for name, kind in kinds.items() if kind == "bytes_list")
        near = difflib.get_close_matches(group_by, columns, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise SamplingError(
            f"group_by must be a text column of the examples: {quoted(columns)}. "
            f"Received: {group_by!r}{hint}"
        )


def scan(
    path: str, shard: int, *, random_states: Sequence[int], group_by: str
) -> tuple[list[Rows], Counts]:
    """Reads the metadata of a shard's images once, for all draws; their pixels are not parsed.

    Args:
      path: an uncompressed TFRecord file of tf.Examples.
      shard: the shard's index.
      random_states: the seed of each draw.
      group_by: column whose equal values stay together; '' for none.

    Returns:
      For each draw `SCANNED` rows in the shard's order; and their number by (class, label).
    """
    parts: list[list[Rows]] = [[np.empty(0, SCANNED)] for _ in random_states]
    counts: Counts = Counter()
    for batch in record_batches(path, _BATCH):
        parsed = tf.io.parse_example(batch, _spec(group_by))
        columns = {name: values.numpy() for name, values in parsed.items()}
        for found, random_state in zip(parts, random_states, strict=True):
            found.append(rows_of(columns, random_state, group_by))
        classes = [name.decode() for name in columns[names.CLASS_NAME]]
        counts.update(zip(classes, columns[names.LABEL].tolist(), strict=True))
    draws = [np.concatenate(found) for found in parts]
    for rows in draws:
        rows["shard"] = shard
        rows["position"] = np.arange(len(rows))
    return draws, counts


def rows_of(columns: Mapping[str, NDArray], random_state: int, group_by: str) -> Rows:
    """Returns the metadata of images.

    Args:
      columns: bytes (n,) by feature: `image_id`, `class_name`, `perceptual_hash`, and `group_by`;
        an image with an empty hash or group has none.
      random_state: the seed.
      group_by: column whose equal values stay together; '' for none.

    Returns:
      `SCANNED` (n,), with `shard`, `position`, `unit` and `excluded` not filled in.

    Raises:
      SamplingError: a hash is not 16 hexadecimal digits.
    """
    identities = columns[names.IMAGE_ID]
    rows = np.zeros(len(identities), SCANNED)
    rows["image"] = scores(random_state, identities)
    rows["id"] = fingerprints(identities)
    rows["hashed"] = columns[names.PERCEPTUAL_HASH] != b""
    rows["hash"][rows["hashed"]] = _parsed(columns[names.PERCEPTUAL_HASH][rows["hashed"]])
    rows["group"] = UNPLACED
    if group_by:
        grouped = columns[group_by] != b""
        rows["group"][grouped] = scores(random_state, columns[group_by][grouped])
    keys = {name: class_key(name.decode()) for name in set(columns[names.CLASS_NAME])}
    rows["class_key"] = [keys[name] for name in columns[names.CLASS_NAME]]
    return rows


def copy_records(
    path: str, outcomes: NDArray[np.uint8], targets: Mapping[int, str], scratch: str = ""
) -> dict[int, int]:
    """Copies each record of a shard to the file of its outcome, in the same order.

    A file gets its name when it is complete.

    Args:
      path: the shard.
      outcomes: uint8 (records,).
      targets: path of the file to write, by outcome; other records are skipped.
      scratch: see `bundle_file`.

    Returns:
      The number of records written, by outcome.
    """
    written: Counter[int] = Counter()
    with contextlib.ExitStack() as stack:
        writers = {}
        for outcome, target in targets.items():
            hidden = stack.enter_context(bundle_file(target, scratch))
            writers[outcome] = stack.enter_context(tf.io.TFRecordWriter(hidden))
        for record, outcome in zip(tfrecords.records(path), outcomes.tolist(), strict=True):
            if outcome in writers:
                writers[outcome].write(record)
                written[outcome] += 1
    return dict(written)


def write_empty_shard(folder: str) -> None:
    """Writes a split without records: a single empty shard."""
    tf.io.gfile.makedirs(folder)
    tf.io.TFRecordWriter(os.path.join(folder, shard_name(0, 1))).close()


def _spec(group_by: str) -> dict[str, tf.io.FixedLenFeature]:
    spec = {
        names.IMAGE_ID: tf.io.FixedLenFeature([], tf.string),
        names.CLASS_NAME: tf.io.FixedLenFeature([], tf.string),
        names.LABEL: tf.io.FixedLenFeature([], tf.int64),
        names.PERCEPTUAL_HASH: tf.io.FixedLenFeature([], tf.string, ""),
    }
    if group_by:
        spec[group_by] = tf.io.FixedLenFeature([], tf.string, "")
    return spec


def _parsed(hashes: Sequence[bytes]) -> NDArray[np.uint64]:
    for text in hashes:
        if not _HASH.fullmatch(text):
            raise SamplingError(
                f"feature {names.PERCEPTUAL_HASH!r} must be 16 hexadecimal digits, or empty. "
                f"Received: {text.decode(errors='replace')!r}"
            )
    return np.frombuffer(bytes.fromhex(b"".join(hashes).decode()), ">u8").astype(np.uint64)
