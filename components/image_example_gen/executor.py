"""Reads a data source with Beam: every image once, in shards that no shuffle ever touches.

1. The sorted listing is cut into shards of consecutive images.
2. In Beam, one call a shard reads, proves and hashes its images and writes them to a staging
   folder; only digests and refusals come back, in a small file a shard.
3. Here, over the digests of all images: duplicates and label conflicts, the quarantine list,
   and whether too much is bad.
4. In Beam, one call a shard moves it to its final name; only a shard that loses an image is
   written again.

So the output is the same, byte for byte, whatever the number of workers.
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

from components import example_files, names
from components.image_example_gen import files, verdict
from components.image_example_gen.shards import (
    Outcome,
    Rules,
    Settlement,
    Staging,
    ingest,
    settle,
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
MAX_SIDE = "max_side"
MAX_BAD_FRACTION = "max_bad_fraction"
MAX_PIXELS = "max_pixels"
DATA_VERSION = "data_version"
CODE_VERSION = "code_version"
SPAN = "span"

_LOGGER = logging.getLogger("outnumbered.image_example_gen")

QUARANTINE_FILE = "quarantine.jsonl"
SUMMARY_FILE = "summary.json"

_SPAN_PLACE = "{SPAN}"
_SHARD_IMAGES = 128
_MAX_SHARDS = 1000


class Executor(base_beam_executor.BaseBeamExecutor):
    """Executes ImageExampleGen."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Reads the source, writes `examples` and `quarantine`.

        Args:
          input_dict: empty.
          output_dict: `examples` (Examples) and `quarantine` (Quarantine).
          exec_properties: see `component.ImageExampleGen`.

        Raises:
          SourceError: the source can't be listed as asked.
          BadImagesError: too many images were refused, or none of a class is left. The
            message says where their list lies: beside the quarantine artifact, since TFX
            deletes the outputs of an execution that fails.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict[names.EXAMPLES])
        quarantine = artifact_utils.get_single_instance(output_dict[names.QUARANTINE])
        passed_over: Counter[str] = Counter()
        records = _listing(exec_properties, passed_over)
        staging = Staging(os.path.join(examples.uri, ".staging"))
        # TensorFlow and TFX leave a million objects alive. The collector would go through
        # them again and again for the few that an image makes: a fifth of the whole time.
        gc.freeze()
        try:
            outcomes = self._ingest(records, staging, _rules(exec_properties))
            judged = verdict.judge(records, _decoded(outcomes), _refusals(outcomes))
            _account(quarantine.uri, records, judged, exec_properties, passed_over)
            self._settle(_settlements(examples.uri, outcomes, judged), staging, examples.uri)
        finally:
            gc.unfreeze()
            if fileio.isdir(staging.folder):
                fileio.rmtree(staging.folder)
        examples.split_names = artifact_utils.encode_split_names([names.ALL])
        if (span := exec_properties.get(SPAN) or "").isdecimal():
            examples.span = int(span)
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)

    def _ingest(
        self, records: Sequence[ImageRecord], staging: Staging, rules: Rules
    ) -> list[Outcome]:
        fileio.makedirs(staging.folder)
        size = max(_SHARD_IMAGES, math.ceil(len(records) / _MAX_SHARDS))
        firsts = range(0, len(records), size)
        for shard, first in enumerate(firsts):
            staging.write_listing(shard, first, records[first : first + size])
        shards = range(len(firsts))
        with watched(lambda: staging.finished() * size, total=len(records), logger=_LOGGER.name):
            self._for_each("Ingest", shards, beam.Map(ingest, staging, rules))
        return [staging.read_outcome(shard) for shard in shards]

    def _settle(self, settlements: Mapping[int, Settlement], staging: Staging, uri: str) -> None:
        for shard, settlement in settlements.items():
            staging.write_settlement(shard, settlement)
        fileio.makedirs(example_files.split_dir(uri, names.ALL))
        self._for_each("Settle", settlements, beam.Map(settle, staging))

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
        _at_span(exec_properties[SOURCE], span),
        manifest=_at_span(exec_properties[MANIFEST], span),
        slices=json.loads(exec_properties[SLICES]),
        positive_class=exec_properties[POSITIVE_CLASS],
        passed_over=passed_over,
    )


def _at_span(path: str, span: str) -> str:
    if _SPAN_PLACE in path and not span:
        raise SourceError(
            f"{path} has a place for a span, and none was given; give the run a value for the "
            f"parameter 'span', or leave {_SPAN_PLACE} out"
        )
    return path.replace(_SPAN_PLACE, span)


def _rules(exec_properties: Mapping[str, Any]) -> Rules:
    return Rules(
        positive_class=composed(exec_properties[POSITIVE_CLASS]),
        max_side=int(exec_properties[MAX_SIDE]),
        max_pixels=int(exec_properties[MAX_PIXELS]),
    )


def _decoded(outcomes: Iterable[Outcome]) -> verdict.Decoded:
    arrivals = [arrival for outcome in outcomes for arrival in outcome.arrivals]
    return verdict.Decoded(
        rows=np.array([arrival.row for arrival in arrivals], dtype=np.int64),
        digests=np.array([bytes.fromhex(arrival.image_id) for arrival in arrivals], dtype="S32"),
    )


def _refusals(outcomes: Iterable[Outcome]) -> list[verdict.Refusal]:
    return [refusal for outcome in outcomes for refusal in outcome.refusals]


def _settlements(
    uri: str, outcomes: Sequence[Outcome], judged: verdict.Verdict
) -> dict[int, Settlement]:
    """The settlement of each shard that keeps an image; the shards left are numbered anew."""
    kept = {shard: _kept(outcome, judged) for shard, outcome in enumerate(outcomes)}
    left = [shard for shard, stay in kept.items() if any(stay)]
    folder = example_files.split_dir(uri, names.ALL)
    return {
        shard: Settlement(
            destination=os.path.join(folder, example_files.shard_name(index, len(left))),
            kept=None if all(kept[shard]) else kept[shard],
        )
        for index, shard in enumerate(left)
    }


def _kept(outcome: Outcome, judged: verdict.Verdict) -> list[bool]:
    return [arrival.row in judged.kept for arrival in outcome.arrivals]


def _account(
    uri: str,
    records: Sequence[ImageRecord],
    judged: verdict.Verdict,
    exec_properties: Mapping[str, Any],
    passed_over: Mapping[str, int],
) -> None:
    """Writes the quarantine artifact; raises BadImagesError where the run must stop."""
    rows = verdict.quarantine_rows(records, judged)
    account = verdict.summary(
        records,
        judged,
        positive_class=composed(exec_properties[POSITIVE_CLASS]),
        max_bad_fraction=float(exec_properties[MAX_BAD_FRACTION]),
        passed_over=passed_over,
    )
    left_out = files.account(passed_over)
    _LOGGER.info(
        "%s images: %s accepted, %s duplicates, %s in quarantine%s",
        *(f"{account[key]:,}" for key in ("listed", "accepted", "duplicates", "quarantined")),
        f"; {left_out}" if left_out else "",
    )
    complaint = verdict.complaint(account, rows)
    # TFX deletes the outputs of an execution that fails: the list must outlive them.
    folder = _beside(uri) if complaint else uri
    _write_account(folder, account, rows)
    if complaint:
        raise verdict.BadImagesError(
            f"{complaint}. All of them, with reasons: {os.path.join(folder, QUARANTINE_FILE)}. "
            "Mend or remove them, or raise max_bad_fraction"
        )


def _beside(uri: str) -> str:
    parent, name = os.path.split(uri.rstrip("/"))
    return os.path.join(parent, f"refused-{name}")


def _write_account(
    folder: str, account: Mapping[str, Any], rows: Iterable[Mapping[str, str]]
) -> None:
    fileio.makedirs(folder)
    with fileio.open(os.path.join(folder, QUARANTINE_FILE), "w") as file:
        # One call, also of nothing: a file that is never written to is never made.
        file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    with fileio.open(os.path.join(folder, SUMMARY_FILE), "w") as file:
        file.write(json.dumps(account, indent=2, ensure_ascii=False) + "\n")
