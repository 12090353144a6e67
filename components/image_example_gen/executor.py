"""Reads a data source with Beam: every image once, in shards that are never shuffled.

1. The sorted listing is divided into shards of consecutive images.
2. In Beam, one call per shard reads, decodes and hashes its images and writes them to a staging
   folder; it returns only digests and refusals, in one small file per shard.
3. This process finds duplicates and label conflicts from the digests of all images, writes the
   quarantine list and checks whether too many images were refused.
4. In Beam, one call per shard moves it to its final name; only shards that lose an image are
   rewritten.

So the output is byte for byte the same for any number of workers.
"""

import gc
import json
import logging
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import Artifact, artifact_utils

from components import artifact_files, example_files, names
from components.checked_artifacts import checked
from components.image_example_gen import files, verdict
from components.image_example_gen.abandoned import remove_abandoned, staging_folder
from components.image_example_gen.shards import (
    Outcome,
    Rules,
    ShardPlan,
    Staging,
    finalize,
    ingest,
)
from components.image_example_gen.sources import (
    ImageRecord,
    SourceError,
    list_images,
)
from components.progress import watched
from components.spelling import composed

# Execution properties.
SOURCE = "source"
MANIFEST = "manifest"
POSITIVE_CLASS = "positive_class"
SLICES = "slices"
ROOTS = "roots"
MAX_SIDE = "max_side"
MAX_BAD_FRACTION = "max_bad_fraction"
MAX_PIXELS = "max_pixels"
CHECK_DIGESTS = "check_digests"
DATA_VERSION = "data_version"
CODE_VERSION = "code_version"
SPAN = "span"

_LOGGER = logging.getLogger("outnumbered.image_example_gen")

QUARANTINE_FILE = "quarantine.jsonl"
SUMMARY_FILE = "summary.json"

_SPAN_PLACEHOLDER = "{SPAN}"
_SHARD_IMAGES = 128
_MAX_SHARDS = 1000


class Executor(base_beam_executor.BaseBeamExecutor):
    """Executes ImageExampleGen."""

    @checked
    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Reads the source and writes `examples` and `quarantine`.

        Args:
          input_dict: empty.
          output_dict: `examples` (Examples) and `quarantine` (Quarantine).
          exec_properties: see `component.ImageExampleGen`.

        Raises:
          SourceError: the source can't be listed with these properties.
          BadImagesError: too many images were refused, or a class has no image left. The
            message names the file that lists them, which is outside of the quarantine artifact,
            since TFX deletes the outputs of an execution that fails.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict[names.EXAMPLES])
        quarantine = artifact_utils.get_single_instance(output_dict[names.QUARANTINE])
        remove_abandoned(os.path.dirname(examples.uri.rstrip("/")))
        passed_over: Counter[str] = Counter()
        records = _listing(exec_properties, passed_over)
        # TensorFlow and TFX keep a million objects alive. Garbage collection would scan them
        # repeatedly for the few objects per image, which takes a fifth of the total time.
        gc.freeze()
        try:
            with staging_folder(examples.uri) as folder:
                staging = Staging(folder)
                outcomes = self._ingest(records, staging, _rules(exec_properties))
                judged = verdict.judge(records, _decoded(outcomes), _refusals(outcomes))
                _write_quarantine(quarantine.uri, records, judged, exec_properties, passed_over)
                plans = _shard_plans(examples.uri, outcomes, judged)
                self._finalize(plans, staging, examples.uri)
                artifact_files.write_list(
                    examples.uri,
                    [staging.read_entry(shard) for shard in plans],
                    check_digests=bool(exec_properties[CHECK_DIGESTS]),
                )
        finally:
            gc.unfreeze()
        examples.split_names = artifact_utils.encode_split_names([names.ALL])
        if (span := exec_properties.get(SPAN) or "").isdecimal():
            examples.span = int(span)
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)

    def _ingest(
        self, records: Sequence[ImageRecord], staging: Staging, rules: Rules
    ) -> list[Outcome]:
        size = max(_SHARD_IMAGES, math.ceil(len(records) / _MAX_SHARDS))
        firsts = range(0, len(records), size)
        for shard, first in enumerate(firsts):
            staging.write_listing(shard, first, records[first : first + size])
        shards = range(len(firsts))
        with watched(lambda: staging.finished() * size, total=len(records), logger=_LOGGER.name):
            self._for_each("Ingest", shards, beam.Map(ingest, staging, rules))
        return [staging.read_outcome(shard) for shard in shards]

    def _finalize(self, plans: Mapping[int, ShardPlan], staging: Staging, uri: str) -> None:
        for shard, plan in plans.items():
            staging.write_plan(shard, plan)
        fileio.makedirs(example_files.split_dir(uri, names.ALL))
        self._for_each("Finalize", plans, beam.Map(finalize, staging))

    def _for_each(self, name: str, shards: Iterable[int], work: beam.PTransform) -> None:
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | f"{name}Shards" >> beam.Create(list(shards))
                | f"{name}Spread" >> beam.Reshuffle()
                | name >> work
            )


def _listing(exec_properties: Mapping[str, Any], passed_over: Counter[str]) -> list[ImageRecord]:
    span = exec_properties.get(SPAN) or ""
    return list_images(
        _with_span(exec_properties[SOURCE], span),
        manifest=_with_span(exec_properties[MANIFEST], span),
        slices=json.loads(exec_properties[SLICES]),
        roots=[_with_span(root, span) for root in json.loads(exec_properties[ROOTS])],
        positive_class=exec_properties[POSITIVE_CLASS],
        passed_over=passed_over,
    )


def _with_span(path: str, span: str) -> str:
    if _SPAN_PLACEHOLDER in path and not span:
        raise SourceError(
            f"{path} requires a span; give the run a value of the parameter 'span', or remove "
            f"{_SPAN_PLACEHOLDER}. Received: {span!r}"
        )
    return path.replace(_SPAN_PLACEHOLDER, span)


def _rules(exec_properties: Mapping[str, Any]) -> Rules:
    return Rules(
        positive_class=composed(exec_properties[POSITIVE_CLASS]),
        max_side=int(exec_properties[MAX_SIDE]),
        max_pixels=int(exec_properties[MAX_PIXELS]),
    )


def _decoded(outcomes: Iterable[Outcome]) -> verdict.Decoded:
    images = [image for outcome in outcomes for image in outcome.ingested]
    return verdict.Decoded(
        rows=np.array([image.row for image in images], dtype=np.int64),
        digests=np.array([bytes.fromhex(image.image_id) for image in images], dtype="S32"),
    )


def _refusals(outcomes: Iterable[Outcome]) -> list[verdict.Refusal]:
    return [refusal for outcome in outcomes for refusal in outcome.refusals]


def _shard_plans(
    uri: str, outcomes: Sequence[Outcome], judged: verdict.Verdict
) -> dict[int, ShardPlan]:
    """Returns the plan of each shard that keeps an image; the remaining shards are renumbered."""
    kept = {shard: _kept(outcome, judged) for shard, outcome in enumerate(outcomes)}
    remaining = [shard for shard, is_kept in kept.items() if any(is_kept)]
    folder = os.path.basename(example_files.split_dir(uri, names.ALL))
    return {
        shard: ShardPlan(
            uri=uri,
            name=os.path.join(folder, example_files.shard_name(index, len(remaining))),
            records=sum(kept[shard]),
            kept=None if all(kept[shard]) else kept[shard],
        )
        for index, shard in enumerate(remaining)
    }


def _kept(outcome: Outcome, judged: verdict.Verdict) -> list[bool]:
    return [image.row in judged.kept for image in outcome.ingested]


def _write_quarantine(
    uri: str,
    records: Sequence[ImageRecord],
    judged: verdict.Verdict,
    exec_properties: Mapping[str, Any],
    passed_over: Mapping[str, int],
) -> None:
    """Writes the quarantine artifact; raises BadImagesError if the run must stop."""
    rows = verdict.quarantine_rows(records, judged)
    summary = verdict.summary(
        records,
        judged,
        positive_class=composed(exec_properties[POSITIVE_CLASS]),
        max_bad_fraction=float(exec_properties[MAX_BAD_FRACTION]),
        passed_over=passed_over,
    )
    left_out = files.passed_over_text(passed_over)
    _LOGGER.info(
        "%s images: %s accepted, %s duplicates, %s quarantined%s",
        *(f"{summary[key]:,}" for key in ("listed", "accepted", "duplicates", "quarantined")),
        f"; {left_out}" if left_out else "",
    )
    failure = verdict.failure(summary, rows)
    # TFX deletes the outputs of an execution that fails, but the list must be kept.
    folder = _kept_folder(uri) if failure else uri
    _write_files(folder, summary, rows)
    if failure:
        raise verdict.BadImagesError(
            f"{failure}. All of them, with reasons: {os.path.join(folder, QUARANTINE_FILE)}. "
            "Repair or remove them, or raise max_bad_fraction"
        )


def _kept_folder(uri: str) -> str:
    parent, name = os.path.split(uri.rstrip("/"))
    return os.path.join(parent, f"refused-{name}")


def _write_files(
    folder: str, summary: Mapping[str, Any], rows: Iterable[Mapping[str, str]]
) -> None:
    fileio.makedirs(folder)
    with fileio.open(os.path.join(folder, QUARANTINE_FILE), "w") as file:
        # One call, even of an empty text: a file that is never written to is not created.
        file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    with fileio.open(os.path.join(folder, SUMMARY_FILE), "w") as file:
        file.write(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
