"""ImageExampleGen's specification: its inputs, outputs and execution properties."""

import json
from collections.abc import Sequence
from typing import Any

from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import Channel, component_spec, standard_artifacts

from components import artifacts, names
from components.image_example_gen import executor
from components.image_example_gen.contents import Verify
from components.image_example_gen.spans import NEWEST
from components.images.rules import DEFAULT_MAX_PIXELS

Text = str | RuntimeParameter


class ImageExampleGenSpec(component_spec.ComponentSpec):
    """Channels and execution properties of ImageExampleGen."""

    PARAMETERS = {
        executor.SOURCE: component_spec.ExecutionParameter(type=str),
        executor.MANIFEST: component_spec.ExecutionParameter(type=str),
        executor.POSITIVE_CLASS: component_spec.ExecutionParameter(type=str),
        executor.SLICES: component_spec.ExecutionParameter(type=str),
        executor.ROOTS: component_spec.ExecutionParameter(type=str),
        executor.MAX_SIDE: component_spec.ExecutionParameter(type=int),
        executor.MAX_BAD_FRACTION: component_spec.ExecutionParameter(type=float),
        executor.MAX_PIXELS: component_spec.ExecutionParameter(type=int),
        executor.CHECK_DIGESTS: component_spec.ExecutionParameter(type=int),
        executor.DATA_VERSION: component_spec.ExecutionParameter(type=str),
        executor.CODE_VERSION: component_spec.ExecutionParameter(type=str),
        executor.VERIFY: component_spec.ExecutionParameter(type=str),
        executor.CLASSES: component_spec.ExecutionParameter(type=str),
        executor.SPAN: component_spec.ExecutionParameter(type=str),
        executor.WINDOW: component_spec.ExecutionParameter(type=str),
        executor.SPAN_COLUMN: component_spec.ExecutionParameter(type=str),
        executor.ALLOW_GAPS: component_spec.ExecutionParameter(type=int),
        executor.SPAN_STORE: component_spec.ExecutionParameter(type=str),
        executor.PIPELINE_ROOT: component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {}
    OUTPUTS = {
        names.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
        names.QUARANTINE: component_spec.ChannelParameter(type=artifacts.Quarantine),
    }


class ImageExampleGen(base_beam_component.BaseBeamComponent):
    """Turns a folder of images into tf.Examples.

    Every image is decoded once to prove that it decodes. Images that don't decode, are too large
    or are listed under two classes are quarantined with a reason; of images with the same bytes
    one is kept. The sampler finds near-duplicates by their `perceptual_hash`.

    The source may consist of spans, of which a window is read. Each span is kept as it was read, in
    an artifact of its own that is keyed by what the span holds (names, classes, sizes, modification
    times and checksums), not by its path: see `span_store`. So a later run reads new and changed
    spans only, on this machine as on a cluster.

    Outputs:
      examples: split `all`, uncompressed TFRecords sorted by span and uri; features in `names`;
        and `spans.json`, a fingerprint of the data (see `spans_file`).
      quarantine: `quarantine.jsonl`, one row per image (`uri`, `class_name`, `reason`, `detail`),
        and `summary.json` (see `verdict.summary`), with `spans.json` as `data`. The reasons are
        `empty`, `not_an_image`, `undecodable`, `too_large`, `too_slow`, `unknown_range`, `missing`,
        `unreadable` and `label_conflict`.
    """

    SPEC_CLASS = ImageExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(  # noqa: PLR0913 - one argument per setting
        self,
        *,
        source: Text,
        positive_class: Text,
        manifest: Text | None = None,
        slices: Sequence[str] = (),
        roots: Sequence[str] = (),
        max_side: int = 0,
        max_bad_fraction: float = 0.01,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        check_digests: bool = True,
        data_version: Text = "",
        code_version: str = "",
        verify: Verify = "heads",
        classes: Sequence[str] = (),
        span: Text = "",
        window: Any = NEWEST,
        span_column: str = "",
        allow_gaps: bool = False,
        span_store: str = "",
        pipeline_root: RuntimeParameter | None = None,
    ):
        """Specifies the component.

        Args:
          source: folder with one folder per class, or the folder that the manifest's uris are
            relative to; local, or a URL such as `gs://bucket/photos` or `s3://bucket/photos`.
          positive_class: the class whose images get the label 1; all others get 0.
          manifest: CSV or JSON lines file with `uri`, `label` and any slice columns; None:
            the source has one folder per class.
          slices: columns of the manifest that become features of the examples.
          roots: folders and URLs besides the source that the manifest and symbolic links may lead
            to.
          max_side: longest side in pixels of a stored image; 0 keeps the size.
          max_bad_fraction: share in [0, 1] of refused images above which the run stops.
            Duplicates don't count.
          max_pixels: pixels (width times height) above which an image is refused, without being
            decoded.
          check_digests: whether every step that reads images, or what is made from them, checks
            the digests of the files, in addition to their names, sizes and counts.
          data_version: `sources.data_version` of the listing. The component doesn't read it:
            it invalidates TFX's cache when the input changes.
          code_version: a digest of the project's code. The component doesn't read it: it
            invalidates TFX's cache of all components, whose inputs come from this one.
          verify: see `contents.Verify`; decides whether a kept span has changed.
          classes: the only classes that are allowed; empty allows any.
          span: the newest span to take, such as `7` or `2026-11-24`; empty: the newest there is.
            A number becomes the span of the examples. The names of spans replace `{SPAN}` in
            source, manifest and roots.
          window: which spans up to this one, see `spans.parse_window`.
          span_column: column of the manifest with the span of each row, instead of `{SPAN}`.
          allow_gaps: whether a number may be missing among the spans.
          span_store: folder in which spans are kept; empty: they are not kept.
          pipeline_root: run parameter; `span_store` is relative to it.
        """
        super().__init__(
            spec=ImageExampleGenSpec(
                source=source,
                manifest=manifest or "",
                positive_class=positive_class,
                slices=json.dumps(list(slices)),
                roots=json.dumps(list(roots)),
                max_side=max_side,
                max_bad_fraction=max_bad_fraction,
                max_pixels=max_pixels,
                check_digests=int(check_digests),
                data_version=data_version,
                code_version=code_version,
                verify=verify,
                classes=json.dumps(sorted(classes)),
                span=span,
                window=json.dumps(window),
                span_column=span_column,
                allow_gaps=int(allow_gaps),
                span_store=span_store,
                **({"pipeline_root": pipeline_root} if pipeline_root else {}),
                examples=Channel(type=standard_artifacts.Examples),
                quarantine=Channel(type=artifacts.Quarantine),
            )
        )
