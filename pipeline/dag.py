"""The pipeline as a TFX DAG: which component reads what from which, and with what settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# TFX before TFDV: importing TFDV first fails in tfx_bsl.
import tfx.components  # noqa: F401 - see above  isort: skip
import tensorflow_data_validation as tfdv
from tfx.components.example_validator.component import ExampleValidator
from tfx.components.schema_gen.component import SchemaGen
from tfx.components.statistics_gen.component import StatisticsGen
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.placeholder.placeholder import Placeholder
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.types import BaseChannel

from components import names
from components.calibrator.component import Calibrator
from components.evaluator.component import Evaluator
from components.image_example_gen.component import ImageExampleGen
from components.imbalance_sampler.component import ImbalanceSampler
from components.pusher.component import Pusher
from components.reporter.component import Reporter
from components.trainer.component import trainer
from pipeline.features import feature_extractor, frozen_backbone
from pipeline.settings import IN_PROCESS_RUNNER, Beam, ImageSettings, Settings
from pipeline.study.settings import AnySettings


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a run keeps what it makes.

    Attributes:
      pipeline_root: folder of all artifacts.
      registry: folder of the pushed model's numbered versions.
      checkpoints: folder in which an interrupted training finds its last epoch.
      data_version: a digest of the data, so that changed data is read again.
      features: folder in which features are kept for later runs; empty: nowhere.
    """

    pipeline_root: str
    registry: str
    checkpoints: str
    data_version: str | RuntimeParameter
    features: str = ""


@dataclass(frozen=True, kw_only=True)
class RunParameters:
    """What is given anew with each run, where the orchestrator has parameters for it.

    Attributes:
      source: in place of `data.source`.
      span: what stands in for `{SPAN}` in the source and the manifest.
      pipeline_root: below which interrupted trainings are kept.
    """

    source: RuntimeParameter
    span: RuntimeParameter
    pipeline_root: RuntimeParameter


@dataclass(frozen=True, kw_only=True)
class TrainingParameters(RunParameters):
    """What a run of the main job may be given beside: how it trains.

    Attributes:
      epochs: in place of `trainer.epochs`.
      model: in place of `trainer.model`.
    """

    epochs: RuntimeParameter
    model: RuntimeParameter


def build(
    settings: Settings,
    places: Places,
    *,
    connection: Any = None,
    enable_cache: bool = True,
    parameters: TrainingParameters | None = None,
) -> Pipeline:
    """The main job: photographs in, a judged and pushed model and its report out.

    Args:
      settings: the pipeline's settings.
      places: where the run keeps what it makes.
      connection: ConnectionConfig of the MLMD store; None where the orchestrator has none to give.
      enable_cache: reuse the outputs of earlier runs whose inputs and settings are the same.
      parameters: what may be given with each run; None: all is as the settings say.

    Returns:
      A pipeline for any TFX runner.
    """
    nodes = _nodes(settings, places, parameters)
    return assemble(settings, places, nodes, connection=connection, enable_cache=enable_cache)


def assemble(
    settings: AnySettings,
    places: Places,
    nodes: Sequence[BaseNode],
    *,
    connection: Any,
    enable_cache: bool,
) -> Pipeline:
    """A pipeline of the components; the other arguments are as of `build`."""
    return Pipeline(
        pipeline_name=settings.name,
        pipeline_root=places.pipeline_root,
        components=nodes,
        enable_cache=enable_cache,
        metadata_connection_config=connection,
        beam_pipeline_args=_beam_args(settings.beam),
    )


def _beam_args(beam: Beam) -> list[str | Placeholder]:
    """The options of every Beam component."""
    args: list[str | Placeholder] = [f"--runner={beam.runner}"]
    if beam.runner == IN_PROCESS_RUNNER:
        # Unless an image is named TFX packs itself up for each component, for two seconds,
        # so that workers elsewhere have it. This runner has none, and ignores the image.
        args.append("--sdk_container_image=none")
    return [*args, *beam.options]


def _nodes(
    settings: Settings, places: Places, parameters: TrainingParameters | None
) -> list[BaseNode]:
    ingest = example_gen(settings, places, parameters)
    images = ingest.outputs[names.EXAMPLES]
    drawn = sampler(settings, images)
    examples = drawn.outputs[names.DRAWN_EXAMPLES]
    sampling = drawn.outputs[names.SAMPLING]
    # A run with parameters may be given another model, so nothing is computed for this one.
    backbone = None if parameters else frozen_backbone(settings.trainer)
    extractor = backbone and feature_extractor(
        backbone, examples, store=places.features, splits=[names.TRAIN, names.VAL]
    )
    train = trainer(
        extractor.outputs[names.FEATURED_EXAMPLES] if extractor else examples,
        settings=settings.trainer.model_dump(),
        max_side=settings.data.max_side,
        max_pixels=settings.data.max_pixels,
        checkpoint_root=places.checkpoints,
        epochs=parameters.epochs if parameters else None,
        model=parameters.model if parameters else None,
        pipeline_root=parameters.pipeline_root if parameters else None,
    )
    calibrator = Calibrator(
        model=train.outputs[names.MODEL], examples=examples, **settings.calibrator.model_dump()
    )
    model = calibrator.outputs[names.CALIBRATED_MODEL]
    evaluator = Evaluator(
        examples=examples,
        model=model,
        sampling=sampling,
        slices=_slices(settings),
        gates=settings.evaluator.gates,
    )
    blessing = evaluator.outputs[names.BLESSING]
    pusher = Pusher(model=model, blessing=blessing, registry=places.registry)
    reporter = Reporter(
        evaluation=evaluator.outputs[names.EVALUATION],
        predictions=evaluator.outputs[names.PREDICTIONS],
        blessing=blessing,
        model=model,
        model_run=train.outputs[names.MODEL_RUN],
        examples=examples,
        sampling=sampling,
        quarantine=ingest.outputs[names.QUARANTINE],
        pushed_model=pusher.outputs[names.PUSHED_MODEL],
        title=settings.name,
        settings=settings.model_dump(mode="json"),
    )
    return [
        ingest,
        *_validation(settings, images),
        drawn,
        *([extractor] if extractor else []),
        train,
        calibrator,
        evaluator,
        pusher,
        reporter,
    ]


def example_gen(
    settings: ImageSettings, places: Places, parameters: RunParameters | None
) -> ImageExampleGen:
    """The component that reads the images."""
    data = settings.data
    return ImageExampleGen(
        source=parameters.source if parameters else data.source,
        manifest=data.manifest,
        positive_class=data.positive_class,
        slices=data.slices,
        max_side=data.max_side,
        max_bad_fraction=data.max_bad_fraction,
        max_pixels=data.max_pixels,
        data_version=places.data_version,
        span=parameters.span if parameters else "",
    )


def _validation(settings: Settings, images: BaseChannel) -> list[BaseNode]:
    # Image bytes and identities say nothing in a histogram, and cost the most to count.
    columns = [names.LABEL, names.CLASS_NAME, names.WIDTH, names.HEIGHT, *settings.data.slices]
    statistics_gen = StatisticsGen(
        examples=images, stats_options=tfdv.StatsOptions(feature_allowlist=columns)
    )
    statistics = statistics_gen.outputs["statistics"]
    schema_gen = SchemaGen(statistics=statistics, infer_feature_shape=True)
    validator = ExampleValidator(statistics=statistics, schema=schema_gen.outputs["schema"])
    return [statistics_gen, schema_gen, validator]


def sampler(settings: ImageSettings, images: BaseChannel) -> ImbalanceSampler:
    """The component that draws the splits."""
    asked = settings.sampler
    return ImbalanceSampler(
        examples=images,
        splits=asked.splits,
        random_state=asked.random_state,
        assignment=asked.assignment,
        group_by=asked.group_by,
        keep_rest=asked.keep_rest,
        prevalence=settings.population.prevalence,
    )


def _slices(settings: Settings) -> list[list[str]]:
    singles = [[column] for column in settings.data.slices]
    crosses = [cross for cross in settings.evaluator.slices if cross not in singles]
    return singles + crosses
