"""Second pass: places every image by the plan and copies every record to its split.

Each bucket places its images independently. The outcomes, 5 bytes per image, are grouped by
shard, and each shard's records are then copied from file to file to the splits. So image bytes
are never shuffled, and a worker holds one bucket, or one shard's outcomes, at a time.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray

from components import artifact_files
from components.artifact_files import Described, Shard
from components.example_files import shard_name
from components.imbalance_sampler import records
from components.imbalance_sampler.plan import Plan
from components.imbalance_sampler.shuffle import (
    COUNTS,
    LOGGER,
    ROWS,
    Part,
    add_counters,
    gather,
    load_bucket,
    read_json,
    saved_buckets,
    spill,
    write_json,
)
from components.progress import Progress

_OUTCOMES_FILE = "outcomes.json"
_FILES_FILE = "files.json"
_PLACED = np.dtype([("position", "<u4"), ("outcome", "u1")])


def place(
    pipeline: beam.Pipeline,
    shards: Sequence[str],
    folder: str,
    *,
    plan: Plan,
    uri: str,
    outputs: Mapping[int, str],
) -> None:
    """Copies every record to its split, and counts the outcomes.

    Args:
      pipeline: the pipeline to add the pass to.
      shards: the TFRecord files.
      folder: the survey's folder.
      plan: the outcome of each image.
      uri: of the artifact to write.
      outputs: folder to write to, relative to `uri`, by outcome; it must exist.
    """
    placed = (
        pipeline
        | "Buckets" >> beam.Create(saved_buckets(folder))
        | "Spread" >> beam.Reshuffle()
        | "Place" >> beam.ParDo(_Place(folder, plan)).with_outputs()
    )
    counts = placed[COUNTS] | "CountOutcomes" >> beam.CombineGlobally(add_counters)
    numbers = counts | "NumberShards" >> beam.Map(_number_shards)
    _ = counts | "WriteOutcomes" >> beam.Map(_write_outcomes, os.path.join(folder, _OUTCOMES_FILE))
    _ = (
        placed[ROWS]
        | "ByShard" >> beam.GroupByKey()
        | "Copy"
        >> beam.ParDo(_CopyShard(folder, shards, uri, outputs), beam.pvalue.AsSingleton(numbers))
        | "ListFiles" >> beam.combiners.ToList()
        | "WriteFiles" >> beam.Map(write_json, os.path.join(folder, _FILES_FILE))
    )


def copy_used(
    pipeline: beam.Pipeline,
    shards: Sequence[Shard],
    folder: str,
    *,
    used: NDArray[np.bool_],
    uri: str,
    split: str,
) -> None:
    """Copies the images that any of several draws uses to one split, in their order.

    Args:
      pipeline: the pipeline to add the pass to.
      shards: the TFRecord files.
      folder: the sampler's work folder.
      used: bool, whether to copy each image, in the order of the shards.
      uri: of the artifact to write.
      split: folder of the split, relative to `uri`; it must exist.
    """
    ends = np.cumsum([shard.records for shard in shards])
    kept = [
        (shard.path, part)
        for shard, part in zip(shards, np.split(used, ends[:-1]), strict=True)
        if part.any()
    ]
    tasks = []
    for number, (path, part) in enumerate(kept):
        name = os.path.join(split, shard_name(number, len(kept)))
        tasks.append((path, np.packbits(part).tobytes(), len(part), name))
    _ = (
        pipeline
        | "Shards" >> beam.Create(tasks)
        | "Spread" >> beam.Reshuffle()
        | "Copy" >> beam.ParDo(_CopyUsed(uri, folder, len(tasks)))
        | "ListFiles" >> beam.combiners.ToList()
        | "WriteFiles" >> beam.Map(write_json, os.path.join(folder, _FILES_FILE))
    )


def read_outcomes(folder: str) -> dict[tuple[int, int], int]:
    """Reads the number of images by (outcome, class rank)."""
    found = read_json(os.path.join(folder, _OUTCOMES_FILE))
    return {(outcome, rank): count for outcome, rank, count in found}


def read_files(folder: str) -> list[Described]:
    """Reads the entries of all files that were written."""
    return [Described(*entry) for entry in read_json(os.path.join(folder, _FILES_FILE))]


class _Place(beam.DoFn):
    """Maps a bucket to (shard index, part of `_PLACED` rows) and to outcome counts."""

    def __init__(self, folder: str, plan: Plan):
        self._folder = folder
        self._plan = plan

    def process(self, bucket: int) -> Iterator[Any]:
        """Places one bucket's images."""
        rows = load_bucket(self._folder, bucket)
        placed = np.empty(len(rows), _PLACED)
        placed["position"] = rows["position"]
        placed["outcome"] = self._plan.outcomes(rows)
        for part in spill(placed, rows["shard"], self._folder):
            yield beam.pvalue.TaggedOutput(ROWS, part)
        triples = zip(
            rows["shard"].tolist(), placed["outcome"].tolist(), rows["class"].tolist(), strict=True
        )
        yield beam.pvalue.TaggedOutput(COUNTS, Counter(triples))


class _CopyShard(beam.DoFn):
    """Maps (shard index, parts of `_PLACED` rows) to the entries of the files it writes."""

    def __init__(self, folder: str, shards: Sequence[str], uri: str, outputs: Mapping[int, str]):
        self._folder = folder
        self._shards = list(shards)
        self._uri = uri
        self._outputs = dict(outputs)
        self._progress = Progress("shards copied", total=len(shards), logger=LOGGER)

    def process(
        self, element: tuple[int, Iterable[Part]], numbers: Mapping[tuple[int, int], str]
    ) -> Iterator[Described]:
        """Copies one shard."""
        shard, parts = element
        placed = gather(parts, _PLACED, self._folder)
        outcomes = np.empty(len(placed), np.uint8)
        outcomes[placed["position"]] = placed["outcome"]
        files = {
            outcome: os.path.join(target, numbers[shard, outcome])
            for outcome, target in self._outputs.items()
            if (shard, outcome) in numbers
        }
        targets = {outcome: os.path.join(self._uri, name) for outcome, name in files.items()}
        counts = records.copy_records(self._shards[shard], outcomes, targets, scratch=self._folder)
        for outcome, name in files.items():
            yield artifact_files.describe(self._uri, name, counts[outcome])
        self._progress.advance(1)


class _CopyUsed(beam.DoFn):
    """Maps (shard, packed bits of the images to copy, images, file name) to the file's entry."""

    def __init__(self, uri: str, folder: str, shards: int):
        self._uri = uri
        self._folder = folder
        self._progress = Progress("shards copied", total=shards, logger=LOGGER)

    def process(self, element: tuple[str, bytes, int, str]) -> Iterator[Described]:
        """Copies one shard."""
        path, packed, images, name = element
        used = np.unpackbits(np.frombuffer(packed, np.uint8), count=images)
        target = os.path.join(self._uri, name)
        counts = records.copy_records(path, used, {1: target}, scratch=self._folder)
        yield artifact_files.describe(self._uri, name, counts[1])
        self._progress.advance(1)


def _number_shards(counts: Counter) -> dict[tuple[int, int], str]:
    """Returns file names by (shard, outcome) for those with records, numbered without gaps."""
    by_outcome: dict[int, list[int]] = defaultdict(list)
    for shard, outcome in sorted({(shard, outcome) for shard, outcome, _ in counts}):
        by_outcome[outcome].append(shard)
    return {
        (shard, outcome): shard_name(number, len(shards))
        for outcome, shards in by_outcome.items()
        for number, shard in enumerate(shards)
    }


def _write_outcomes(counts: Counter, path: str) -> None:
    by_class: Counter = Counter()
    for (_, outcome, rank), count in counts.items():
        by_class[outcome, rank] += count
    write_json([(*key, count) for key, count in sorted(by_class.items())], path)
