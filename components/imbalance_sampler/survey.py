"""First pass: sorts every image's metadata into bucket files of complete units.

Beam's workers read only metadata from the shards, 66 bytes per image. The executor then forms the
units of all images at once, which takes about 200 bytes of memory per image, and writes the rows
into buckets by the leading bits of the unit's score. Each bucket is sorted and has a tally of a few
numbers, so the later steps need only one bucket in memory at a time.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np

from components.artifact_files import Shard
from components.imbalance_sampler import records
from components.imbalance_sampler.rows import SCANNED, Rows, bucket_of, sort_bucket, tally
from components.imbalance_sampler.shuffle import (
    LOGGER,
    add_counters,
    load_scan,
    read_json,
    save_bucket,
    save_scan,
    write_json,
)
from components.progress import Progress

_COUNTS_FILE = "counts.json"


def bucket_bits(total_bytes: int) -> int:
    """Returns how many leading bits of the score are used as the bucket number.

    A bucket represents 16 to 32 MiB of records: about a thousand photographs, and never more than
    about 130,000 images. With more data there are 256 larger buckets. The draw is the same for any
    number of buckets.
    """
    return min(max(total_bytes >> 24, 1).bit_length() - 1, 8)


def survey(
    pipeline: beam.Pipeline,
    shards: Sequence[Shard],
    folders: Mapping[str, int],
    *,
    group_by: str,
) -> None:
    """Writes the metadata of all images, one file per shard, and counts the images by class.

    Args:
      pipeline: the pipeline to add the pass to.
      shards: the TFRecord files.
      folders: of each draw, where to write, and its seed; the folders must exist.
      group_by: column whose equal values stay together; '' for none.
    """
    _ = (
        pipeline
        | "Shards" >> beam.Create(list(enumerate(shards)))
        | "Spread" >> beam.Reshuffle()
        | "Scan" >> beam.ParDo(_Scan(folders, group_by, len(shards)))
        | "CountClasses" >> beam.CombineGlobally(add_counters)
        | "WriteCounts"
        >> beam.Map(_write_counts, [os.path.join(folder, _COUNTS_FILE) for folder in folders])
    )


def read_survey(folder: str, shards: int) -> tuple[Rows, records.Counts]:
    """Reads the files of `survey`: `SCANNED` rows in shard order, images by (class, label)."""
    counts = {
        (name, label): count for name, label, count in read_json(os.path.join(folder, _COUNTS_FILE))
    }
    rows = np.empty(sum(counts.values()), SCANNED)
    start = 0
    for shard in range(shards):
        scanned = load_scan(folder, shard)
        rows[start : start + len(scanned)] = scanned
        start += len(scanned)
    return rows, records.Counts(counts)


def write_buckets(
    rows: Rows, classes: Sequence[str], folder: str, bits: int
) -> list[tuple[int, int, int, int]]:
    """Sorts the rows into bucket files.

    Args:
      rows: `SCANNED`, with their units.
      classes: all class names, by rank.
      folder: where to write.
      bits: see `bucket_bits`.

    Returns:
      The tallies by bucket that `index.Index` takes.
    """
    buckets = bucket_of(rows["unit"], bits).astype(np.uint8)
    order = np.argsort(buckets, kind="stable")
    found, starts = np.unique(buckets[order], return_index=True)
    tallies = []
    for bucket, members in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
        bucket_rows = sort_bucket(rows[members], classes)
        save_bucket(folder, bucket, bucket_rows)
        tallies += [(bucket, *entry) for entry in tally(bucket_rows)]
    return tallies


class _Scan(beam.DoFn):
    """Maps (shard index, shard) to class counts; writes the rows to a file per draw."""

    def __init__(self, folders: Mapping[str, int], group_by: str, shards: int):
        self._folders = dict(folders)
        self._group_by = group_by
        self._progress = Progress("shards read", total=shards, logger=LOGGER)

    def process(self, element: tuple[int, Shard]) -> Iterator[records.Counts]:
        """Reads one shard."""
        index, shard = element
        shard.check_digest()
        draws, counts = records.scan(
            shard.path,
            index,
            random_states=list(self._folders.values()),
            group_by=self._group_by,
        )
        for folder, rows in zip(self._folders, draws, strict=True):
            shard.check_count(len(rows))
            save_scan(folder, index, rows)
        yield counts
        self._progress.advance(1)


def _write_counts(counts: Any, paths: Sequence[str]) -> None:
    for path in paths:
        write_json([(name, label, count) for (name, label), count in counts.items()], path)
