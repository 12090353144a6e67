"""ImageExampleGen's specification: its inputs, outputs and execution properties."""

import json
from collections.abc import Sequence

from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import Channel, component_spec, standard_artifacts

from components import artifacts, names
from components.image_example_gen import executor
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
        executor.SPAN: component_spec.ExecutionParameter(type=str),
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

    Outputs:
      examples: split `all`, uncompressed TFRecords sorted by uri; features in `names`.
      quarantine: `quarantine.jsonl`, one row per image (`uri`, `class_name`, `reason`, `detail`),
        and `summary.json` (see `verdict.summary`). The reasons are `empty`, `not_an_image`,
        `undecodable`, `too_large`, `too_slow`, `unknown_range`, `missing`, `unreadable` and
        `label_conflict`.
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
        span: Text = "",
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
          span: replaces `{SPAN}` in source, manifest and roots, such as `7` or
            `2026-11-24`; a number becomes the span of the examples.
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
                span=span,
                examples=Channel(type=standard_artifacts.Examples),
                quarantine=Channel(type=artifacts.Quarantine),
            )
        )
