"""First pass: every image's metadata, sorted into bucket files.

Each shard is read for metadata alone, 41 bytes an image, which go into buckets by the
leading bits of the unit's score, so that units come together. Each bucket is sorted and
written to a work file, with a tally of a few numbers. A worker holds the rows of one
shard or of one bucket at a time, never a class.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam

from components.imbalance_sampler import records
from components.imbalance_sampler.census import Census, ranked
from components.imbalance_sampler.rows import (
    SCANNED,
    bucket_of,
    mark_lookalikes,
    sort_bucket,
    tally,
)
from components.imbalance_sampler.shuffle import (
    COUNTS,
    LOGGER,
    ROWS,
    Part,
    added,
    gather,
    read_json,
    save_bucket,
    spill,
    write_json,
)
from components.progress import Progress

_SURVEY_FILE = "survey.json"


def bucket_bits(total_bytes: int) -> int:
    """How many leading bits of the score number the buckets.

    A bucket stands for 16 to 32 MiB of records: for some thousand photographs, and never
    more than some 130,000 images. Past 256 buckets they grow instead, since each is put
    together from every shard's file. The outcome is the same for any number.
    """
    return min(max(total_bytes >> 24, 1).bit_length() - 1, 8)


def survey(
    pipeline: beam.Pipeline,
    shards: Sequence[str],
    folder: str,
    *,
    random_state: int,
    group_by: str,
    bits: int,
) -> None:
    """Sorts all images into bucket files, and counts them in a summary.

    Args:
      pipeline: what to add the pass to.
      shards: the TFRecord files.
      folder: where to write; it exists.
      random_state: the seed.
      group_by: column whose equal values stay together; '' for none.
      bits: see `bucket_bits`.
    """
    scanned = (
        pipeline
        | "Shards" >> beam.Create(list(enumerate(shards)))
        | "Spread" >> beam.Reshuffle()
        | "Scan"
        >> beam.ParDo(_Scan(folder, random_state, group_by, bits, len(shards))).with_outputs()
    )
    rows = scanned[ROWS]
    if group_by:
        rows = (
            rows
            | "ByLook" >> beam.GroupByKey()
            | "MarkLookalikes" >> beam.ParDo(_MarkLookalikes(folder, bits))
        )
    counts = beam.pvalue.AsSingleton(
        scanned[COUNTS] | "CountClasses" >> beam.CombineGlobally(added)
    )
    _ = (
        rows
        | "ByUnit" >> beam.GroupByKey()
        | "Sort" >> beam.ParDo(_SortBucket(folder), counts)
        | "Tallies" >> beam.combiners.ToList()
        | "WriteSurvey" >> beam.Map(_write_survey, os.path.join(folder, _SURVEY_FILE), counts)
    )


def read_survey(folder: str) -> tuple[Census, list[tuple[int, int, int, int]]]:
    """The census, and the tallies by bucket that `index.Index` takes.

    Raises:
      SamplingError: the census is not one that splits can be drawn from.
    """
    found = read_json(os.path.join(folder, _SURVEY_FILE))
    census = Census.of({(name, label): count for name, label, count in found["classes"]})
    return census, [tuple(entry) for entry in found["tallies"]]


class _Scan(beam.DoFn):
    """(shard index, path) to (bucket, part of `SCANNED` rows), and class counts."""

    def __init__(self, folder: str, random_state: int, group_by: str, bits: int, shards: int):
        self._folder = folder
        self._random_state = random_state
        self._group_by = group_by
        self._bits = bits
        self._progress = Progress("shards read", total=shards, logger=LOGGER)

    def process(self, element: tuple[int, str]) -> Iterator[Any]:
        """Reads one shard."""
        shard, path = element
        rows, counts = records.scan(
            path, shard, random_state=self._random_state, group_by=self._group_by
        )
        keys = bucket_of(rows["look"] if self._group_by else rows["unit"], self._bits)
        for part in spill(rows, keys, self._folder):
            yield beam.pvalue.TaggedOutput(ROWS, part)
        yield beam.pvalue.TaggedOutput(COUNTS, counts)
        self._progress.advance(1)


class _MarkLookalikes(beam.DoFn):
    """(bucket by look, parts) to (bucket by unit, part)."""

    def __init__(self, folder: str, bits: int):
        self._folder = folder
        self._bits = bits

    def process(self, element: tuple[int, Iterable[Part]]) -> Iterator[tuple[int, Part]]:
        """Marks one bucket's lookalikes."""
        rows = mark_lookalikes(gather(element[1], SCANNED, self._folder))
        yield from spill(rows, bucket_of(rows["unit"], self._bits), self._folder)


class _SortBucket(beam.DoFn):
    """(bucket, parts of `SCANNED` rows) to a bucket file and its tally."""

    def __init__(self, folder: str):
        self._folder = folder

    def process(
        self, element: tuple[int, Iterable[Part]], counts: records.Counts
    ) -> Iterator[tuple[int, int, int, int]]:
        """Sorts one bucket."""
        bucket, parts = element
        scanned = gather(parts, SCANNED, self._folder)
        rows = sort_bucket(scanned, [name for name, _ in ranked(counts)])
        save_bucket(self._folder, bucket, rows)
        for owner, rank, images in tally(rows):
            yield bucket, owner, rank, images


def _write_survey(
    tallies: list[tuple[int, int, int, int]], path: str, counts: records.Counts
) -> None:
    classes = [(name, label, count) for (name, label), count in counts.items()]
    write_json({"classes": classes, "tallies": sorted(tallies)}, path)
