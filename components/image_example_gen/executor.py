"""Reads a data source with Beam: every image once, in shards that are never shuffled.

1. The sorted listing is divided into shards of consecutive images.
2. In Beam, or in this process if that is its only worker, one call per shard reads, decodes and
   hashes its images and writes them to a staging folder; it returns only digests and refusals, in
   one small file per shard.
3. This process finds duplicates and label conflicts from the digests of all images, writes the
   quarantine list and checks whether too many images were refused.
4. Shards are moved to their final names. Those that lose an image are written anew, in Beam.

So the output is byte for byte the same for any number of workers.

A source may consist of spans. Then each span has shards of its own, which are kept after step 2
(`span_store`): a span that an earlier run has read is neither read nor decoded again, and takes
part in steps 3 and 4 as all others. Of equal images of several spans, that of the oldest is kept.
"""

import gc
import json
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import Artifact, artifact_utils

from components import artifact_files, example_files, names, slice_columns
from components.artifact_files import Described
from components.checked_artifacts import checked
from components.image_example_gen import files, parts, shard_children, spans_file, verdict
from components.image_example_gen.abandoned import remove_abandoned, staging_folder
from components.image_example_gen.image_table import ImageTable
from components.image_example_gen.parts import Part
from components.image_example_gen.shards import (
    Rules,
    ShardPlan,
    Staging,
    move,
    rewrite,
)
from components.image_example_gen.span_listing import Asked, SpanImages, list_spans, records_of
from components.image_example_gen.span_store import SpanStore, in_parallel
from components.image_example_gen.spans import parse_window
from components.image_example_gen.spans_file import KeptImages
from components.image_example_gen.worker_options import image_workers
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
VERIFY = "verify"
CLASSES = "classes"
SPAN = "span"
WINDOW = "window"
SPAN_COLUMN = "span_column"
ALLOW_GAPS = "allow_gaps"
SPAN_STORE = "span_store"
PIPELINE_ROOT = "pipeline_root"

IMAGES_READ = "images_read"
"""Custom property of the examples: number of images that the run has read and decoded."""

_LOGGER = logging.getLogger("outnumbered.image_example_gen")

QUARANTINE_FILE = "quarantine.jsonl"
SUMMARY_FILE = "summary.json"


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
        spans = list_spans(_asked(exec_properties), passed_over)
        records = records_of(spans)
        # TensorFlow and TFX keep a million objects alive. Garbage collection would scan them
        # repeatedly for the few objects per image, which takes a fifth of the total time.
        gc.freeze()
        try:
            with staging_folder(examples.uri) as folder:
                staging = Staging(folder)
                found = self._read(spans, staging, exec_properties)
                judged = verdict.judge(records, _decoded(found), _refusals(found))
                data = spans_file.summarize(
                    _kept_images(found, records, judged),
                    class_names=records.classes.values,
                    positive_class=composed(exec_properties[POSITIVE_CLASS]),
                )
                summary = _summary(records, judged, exec_properties, passed_over, data)
                _write_quarantine(quarantine.uri, summary, records, judged)
                plans = _shard_plans(examples.uri, found, judged)
                entries = self._finalize(plans, staging, examples.uri)
                columns = slice_columns.write(_slice_columns(records, found, judged), examples.uri)
                artifact_files.write_list(
                    examples.uri,
                    [
                        columns,
                        spans_file.write(data, examples.uri),
                        *entries,
                    ],
                    check_digests=bool(exec_properties[CHECK_DIGESTS]),
                )
        finally:
            gc.unfreeze()
        examples.split_names = artifact_utils.encode_split_names([names.ALL])
        if (newest := spans[-1].name).isdecimal():
            examples.span = int(newest)
        examples.set_int_custom_property(
            IMAGES_READ, sum(len(part.span.records) for part in found if not part.is_kept)
        )
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)

    def _read(
        self, spans: Sequence[SpanImages], staging: Staging, exec_properties: Mapping[str, Any]
    ) -> list[Part]:
        """Reads the spans that no earlier run has read, keeps them, and returns all."""
        rules, store = _rules(exec_properties), _span_store(exec_properties)
        verify = exec_properties[VERIFY]
        found = parts.of_spans(spans, staging, store, rules, verify)
        unread = [part for part in found if not part.is_kept]
        self._ingest(unread, staging, rules)
        if store is not None and spans[0].name and unread:
            again = parts.keys_now(unread, _asked(exec_properties), rules, verify)
            for part in unread:
                part.keep(staging, store, again.get(part.span.name))
        if found[0].span.name:
            _LOGGER.info(parts.summary(found))
        return found

    def _ingest(self, unread: Sequence[Part], staging: Staging, rules: Rules) -> None:
        if not unread:
            return
        total = sum(len(part.span.records) for part in unread)
        workers = image_workers(map(str, self._beam_pipeline_args), total)
        is_here = self._is_one_process()
        if is_here:
            shard_children.start(min(workers, sum(part.shards for part in unread)))
        try:
            shards = [shard for part in unread for shard in part.write_listings(staging)]
            with watched(
                lambda: staging.finished() * total // len(shards), total=total, logger=_LOGGER.name
            ):
                if is_here:
                    shard_children.ingest(shards, staging, rules, workers)
                else:
                    groups = [shards[at : at + workers] for at in range(0, len(shards), workers)]
                    self._for_each(
                        "Ingest", groups, beam.Map(shard_children.ingest, staging, rules, workers)
                    )
        finally:
            shard_children.end()
        for part in unread:
            part.read_outcomes(staging)

    def _finalize(
        self, plans: Mapping[int, ShardPlan], staging: Staging, uri: str
    ) -> list[Described]:
        """Moves all shards to their final names; returns their entries in the list of files."""
        fileio.makedirs(example_files.split_dir(uri, names.ALL))
        moved = [shard for shard, plan in plans.items() if plan.kept is None]
        in_parallel(lambda shard: move(staging.examples(shard), plans[shard]), moved)
        rewritten = [shard for shard, plan in plans.items() if plan.kept is not None]
        for shard in rewritten:
            staging.write_plan(shard, plans[shard])
        if rewritten:
            self._for_each("Finalize", rewritten, beam.Map(rewrite, staging))
        return [plan.entry or staging.read_entry(shard) for shard, plan in plans.items()]

    def _is_one_process(self) -> bool:
        """Returns whether one Beam worker does everything, in this process: without Beam, then."""
        given = [*map(str, self._beam_pipeline_args)]
        has_several = any(option.startswith("--direct_num_workers") for option in given)
        return "--runner=FnApiRunner" in given and not has_several

    def _for_each(self, name: str, shards: Iterable[Any], work: beam.PTransform) -> None:
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | f"{name}Shards" >> beam.Create(list(shards))
                | f"{name}Spread" >> beam.Reshuffle()
                | name >> work
            )


def _asked(exec_properties: Mapping[str, Any]) -> Asked:
    return Asked(
        source=exec_properties[SOURCE],
        manifest=exec_properties[MANIFEST],
        slices=json.loads(exec_properties[SLICES]),
        roots=json.loads(exec_properties[ROOTS]),
        positive_class=exec_properties[POSITIVE_CLASS],
        classes=json.loads(exec_properties[CLASSES]) or None,
        span=exec_properties.get(SPAN) or "",
        window=parse_window(json.loads(exec_properties[WINDOW])),
        span_column=exec_properties.get(SPAN_COLUMN) or "",
        allow_gaps=bool(int(exec_properties.get(ALLOW_GAPS) or 0)),
    )


def _span_store(exec_properties: Mapping[str, Any]) -> SpanStore | None:
    if not (folder := exec_properties.get(SPAN_STORE)):
        return None
    root = os.path.join(exec_properties.get(PIPELINE_ROOT) or "", folder)
    return SpanStore(root, check_digests=bool(exec_properties[CHECK_DIGESTS]))


def _rules(exec_properties: Mapping[str, Any]) -> Rules:
    return Rules(
        positive_class=composed(exec_properties[POSITIVE_CLASS]),
        max_side=int(exec_properties[MAX_SIDE]),
        max_pixels=int(exec_properties[MAX_PIXELS]),
    )


def _decoded(found: Sequence[Part]) -> verdict.Decoded:
    return verdict.Decoded(
        rows=np.concatenate([part.read.images["row"] for part in found]),
        digests=np.concatenate([part.read.images["digest"] for part in found]),
    )


def _refusals(found: Sequence[Part]) -> list[verdict.Refusal]:
    return [refusal for part in found for refusal in part.read.refusals]


def _shard_plans(uri: str, found: Sequence[Part], judged: verdict.Verdict) -> dict[int, ShardPlan]:
    """Returns the plan of each shard that keeps an image; the remaining shards are renumbered."""
    shards = [each for part in found for each in part.numbered()]
    kept = {shard: judged.kept[images["row"]] for shard, images, _ in shards}
    entries = {shard: entry for shard, _, entry in shards}
    remaining = [shard for shard, is_kept in kept.items() if is_kept.any()]
    folder = os.path.basename(example_files.split_dir(uri, names.ALL))
    return {
        shard: ShardPlan(
            uri=uri,
            name=os.path.join(folder, example_files.shard_name(index, len(remaining))),
            records=int(kept[shard].sum()),
            kept=None if kept[shard].all() else kept[shard].tolist(),
            size=entries[shard].size,
            sha256=entries[shard].sha256,
        )
        for index, shard in enumerate(remaining)
    }


def _kept_images(
    found: Sequence[Part], records: ImageTable, judged: verdict.Verdict
) -> dict[str, KeptImages]:
    """Returns the images of each span that are in the examples."""
    classes = np.asarray(records.classes.numbers)
    return {
        part.span.name: KeptImages(
            _of_kept(part, "digest", judged), classes[_of_kept(part, "row", judged)]
        )
        for part in found
    }


def _of_kept(part: Part, column: str, judged: verdict.Verdict) -> np.ndarray:
    """Returns a column of the images of a part that are kept."""
    images = part.read.images
    return images[column][judged.kept[images["row"]]]


def _slice_columns(
    records: ImageTable, found: Sequence[Part], judged: verdict.Verdict
) -> dict[str, Any]:
    """Returns what is known of the slice columns of the kept images."""
    kept = {
        column: np.concatenate([_of_kept(part, column, judged) for part in found])
        for column in ("row", *names.BANDS)
    }
    values: defaultdict[str, set[str]] = defaultdict(set)
    for number in np.unique(np.asarray(records.slices.numbers)[kept["row"]]):
        for column, value in records.slices.values[number]:
            values[column].add(value)
    return slice_columns.summarize(
        {measure: kept[measure] for measure in names.BANDS},
        {column: len(found) for column, found in values.items()},
    )


def _summary(
    records: ImageTable,
    judged: verdict.Verdict,
    exec_properties: Mapping[str, Any],
    passed_over: Mapping[str, int],
    data: spans_file.DataRecord,
) -> dict[str, Any]:
    """Returns the content of the quarantine's `summary.json`."""
    summary = verdict.summary(
        records,
        judged,
        positive_class=composed(exec_properties[POSITIVE_CLASS]),
        max_bad_fraction=float(exec_properties[MAX_BAD_FRACTION]),
        passed_over=passed_over,
    )
    return {**summary, "data": data.model_dump(mode="json")}


def _write_quarantine(
    uri: str,
    summary: Mapping[str, Any],
    records: ImageTable,
    judged: verdict.Verdict,
) -> None:
    """Writes the quarantine artifact; raises BadImagesError if the run must stop."""
    rows = verdict.quarantine_rows(records, judged)
    left_out = files.passed_over_text(summary["passed_over"])
    _LOGGER.info(
        "%s images: %s accepted, %s duplicates, %s quarantined%s",
        *(f"{summary[key]:,}" for key in ("listed", "accepted", "duplicates", "quarantined")),
        f"; {left_out}" if left_out else "",
    )
    failure = verdict.failure(summary, rows, verdict.refused_of_spans(records, judged))
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
