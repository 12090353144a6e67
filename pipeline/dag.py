"""The pipeline as a TFX DAG: its components, their inputs and their settings."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# TFX before TFDV: importing TFDV first fails in tfx_bsl.
import tfx.components  # noqa: F401 - see above  isort: skip
import tensorflow_data_validation as tfdv
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.types import BaseChannel

from components import names
from components.calibrator.component import Calibrator
from components.champion_finder import wanted
from components.champion_finder.component import ChampionFinder
from components.champion_finder.found_champion import Request
from components.evaluator import gates
from components.evaluator.component import Evaluator
from components.example_validator.component import ExampleValidator
from components.feature_extractor.backbone import Backbone
from components.image_example_gen.component import ImageExampleGen
from components.imbalance_sampler.component import ImbalanceSampler
from components.imbalance_sampler.request import STABLE
from components.pusher.component import Pusher
from components.reporter.component import Reporter
from components.schema_gen.component import SchemaGen
from components.statistics_gen.component import StatisticsGen
from components.trainer import executor as trainer_executor
from components.trainer.component import trainer
from components.trainer.units import UnitRule
from pipeline.beam_options import beam_args, image_workers
from pipeline.features import feature_extractor, frozen_backbone
from pipeline.settings import Beam, ImageSettings, Settings
from pipeline.study.settings import AnySettings

# A column with more distinct values is not compared with the kept schema's.
_MAX_VALUES = 10_000


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a run stores its outputs, and the versions that decide what is reused.

    Attributes:
      pipeline_root: folder of all artifacts.
      registry: folder or URI of the pushed model's numbered versions.
      checkpoints: folder of the checkpoints of interrupted trainings.
      data_version: a digest of the data; changed data is read again.
      features: folder in which features are kept for later runs; empty: they are not kept.
      span_store: folder in which the images of spans are kept for later runs; relative to the
        pipeline root if that is a run parameter.
      kept_schema: digest of the schema in the registry; empty if there is none; None if it is
        unknown before the run, and then SchemaGen must not be cached.
      code_version: a digest of the project's code; outputs of other code are not reused. Empty
        if the image of the steps identifies the code.
      serving_version: the champion, see `wanted`; empty if it is unknown before the run, and then
        ChampionFinder must not be cached.
      ledger: file that records a stable draw for later runs.
      ledger_version: identifies the content of that file; after a change the draw is repeated.
    """

    pipeline_root: str
    registry: str
    checkpoints: str
    data_version: str | RuntimeParameter
    features: str = ""
    span_store: str = ""
    kept_schema: str | None = None
    serving_version: str = wanted.SERVING
    code_version: str = ""
    ledger: str = ""
    ledger_version: str = ""


@dataclass(frozen=True, kw_only=True)
class RunParameters:
    """Runtime parameters of a run, for orchestrators that have them.

    Attributes:
      source: replaces `data.source`.
      span: replaces `data.span`.
      pipeline_root: folder that contains the checkpoints and ledgers.
    """

    source: RuntimeParameter
    span: RuntimeParameter
    pipeline_root: RuntimeParameter


@dataclass(frozen=True, kw_only=True)
class TrainingParameters(RunParameters):
    """Runtime parameters of the main pipeline, including those of the training.

    Attributes:
      epochs: replaces `trainer.epochs`.
      model: replaces `trainer.model`.
    """

    epochs: RuntimeParameter
    model: RuntimeParameter

    def of_trainer(self) -> dict[str, RuntimeParameter | None]:
        """Returns those of the Trainer, by its keys."""
        return {
            trainer_executor.EPOCHS: self.epochs,
            trainer_executor.MODEL_NAME: self.model,
            trainer_executor.PIPELINE_ROOT: self.pipeline_root,
        }


def build(
    settings: Settings,
    places: Places,
    *,
    connection: Any = None,
    enable_cache: bool = True,
    parameters: TrainingParameters | None = None,
) -> Pipeline:
    """The main pipeline: from images to an evaluated and pushed model and its report.

    Args:
      settings: the pipeline's settings.
      places: where the run stores its outputs.
      connection: ConnectionConfig of the MLMD store; None if the orchestrator provides it.
      enable_cache: reuse the outputs of earlier runs with the same inputs and settings.
      parameters: runtime parameters; None takes all values from the settings.

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
    """A pipeline of the given components; the other arguments are those of `build`."""
    return Pipeline(
        pipeline_name=settings.name,
        pipeline_root=places.pipeline_root,
        components=nodes,
        enable_cache=enable_cache,
        metadata_connection_config=connection,
        beam_pipeline_args=[*beam_args(settings.beam.runner, settings.beam.options)],
    )


def _nodes(
    settings: Settings, places: Places, parameters: TrainingParameters | None
) -> list[BaseNode]:
    finder = _champion_finder(settings, places)
    ingest = example_gen(settings, settings.beam, places, parameters)
    images = ingest.outputs[names.EXAMPLES]
    statistics_gen, schema_gen, validator = _validation(settings, places, images)
    anomalies = validator.outputs[names.ANOMALIES]
    drawn = sampler(settings, images, places, parameters)
    examples = drawn.outputs[names.DRAWN_EXAMPLES]
    sampling = drawn.outputs[names.SAMPLING]
    # With runtime parameters the model may be another one, which can't use this one's features.
    backbone = None if parameters else frozen_backbone(settings.trainer)
    extractor = backbone and feature_extractor(
        backbone,
        examples,
        store=places.features,
        splits=_splits_to_extract(backbone),
        keeps_views=settings.trainer.row_views is not None,
    )
    featured = extractor.outputs[names.FEATURED_EXAMPLES] if extractor else None
    train = trainer(
        featured or examples,
        settings=settings.trainer.model_dump(),
        max_side=settings.data.max_side,
        max_pixels=settings.data.max_pixels,
        checkpoint_root=places.checkpoints,
        parameters=parameters.of_trainer() if parameters else None,
        champion=finder.outputs[names.CHAMPION] if settings.trainer.warm_start else None,
        units=unit_rule(settings),
    )
    calibrator = Calibrator(
        model=train.outputs[names.MODEL],
        examples=examples,
        sampling=sampling,
        settings=settings.calibrator.model_dump(),
        featured_examples=featured,
    )
    model = calibrator.outputs[names.CALIBRATED_MODEL]
    evaluator = Evaluator(
        examples=examples,
        model=model,
        sampling=sampling,
        slices=_slices(settings),
        bands=settings.evaluator.bands,
        gates=settings.evaluator.gates,
        anomalies=anomalies if _has_anomaly_gate(settings) else None,
        champion=finder.outputs[names.CHAMPION],
        sampler=settings.sampler.model_dump(mode="json"),
        featured_examples=featured if backbone and backbone.is_exact else None,
    )
    blessing = evaluator.outputs[names.BLESSING]
    pusher = Pusher(
        model=model,
        blessing=blessing,
        schema=schema_gen.outputs[names.SCHEMA],
        statistics=statistics_gen.outputs[names.STATISTICS],
        registry=places.registry,
        kept_schema=_pusher_schema_version(places),
        evaluation=evaluator.outputs[names.EVALUATION],
        sampling=sampling,
        settings=settings.parameters(),
    )
    reporter = Reporter(
        evaluation=evaluator.outputs[names.EVALUATION],
        predictions=evaluator.outputs[names.PREDICTIONS],
        val_predictions=calibrator.outputs[names.VAL_PREDICTIONS],
        blessing=blessing,
        model=model,
        model_run=train.outputs[names.MODEL_RUN],
        examples=examples,
        sampling=sampling,
        quarantine=ingest.outputs[names.QUARANTINE],
        anomalies=anomalies,
        pushed_model=pusher.outputs[names.PUSHED_MODEL],
        featured_examples=featured,
        title=settings.name,
        settings=settings.parameters(),
    )
    return [
        finder,
        ingest,
        statistics_gen,
        schema_gen,
        validator,
        drawn,
        *([extractor] if extractor else []),
        train,
        calibrator,
        evaluator,
        pusher,
        reporter,
    ]


def example_gen(
    settings: ImageSettings, beam: Beam, places: Places, parameters: RunParameters | None
) -> ImageExampleGen:
    """The component that reads the images."""
    data = settings.data
    component = ImageExampleGen(
        source=parameters.source if parameters else data.source,
        manifest=data.manifest,
        positive_class=data.positive_class,
        slices=data.slices,
        roots=data.roots,
        max_side=data.max_side,
        max_bad_fraction=data.max_bad_fraction,
        max_pixels=data.max_pixels,
        check_digests=data.check_digests,
        data_version=places.data_version,
        code_version=places.code_version,
        verify=data.verify,
        classes=sorted(settings.class_names() or ()),
        span=parameters.span if parameters else data.span or "",
        window=data.plain_window(),
        span_column=data.span_column or "",
        allow_gaps=data.allow_gaps,
        span_store=places.span_store if data.has_spans else "",
        pipeline_root=parameters.pipeline_root if parameters and data.has_spans else None,
    )
    component.with_beam_pipeline_args([image_workers(beam.runner, beam.options, beam.workers)])
    return component


def _splits_to_extract(backbone: Backbone) -> list[str]:
    """Returns the splits whose features are used; test only if they are as good as the images."""
    return [names.TRAIN, names.VAL, *([names.TEST] if backbone.is_exact else [])]


def _validation(
    settings: Settings, places: Places, images: BaseChannel
) -> tuple[StatisticsGen, SchemaGen, ExampleValidator]:
    # Histograms of image bytes and ids would be useless, and the most expensive to compute.
    columns = [names.LABEL, names.CLASS_NAME, names.WIDTH, names.HEIGHT, *settings.data.slices]
    statistics_gen = StatisticsGen(
        examples=images,
        stats_options=tfdv.StatsOptions(
            feature_allowlist=columns, num_rank_histogram_buckets=_MAX_VALUES
        ),
    )
    statistics = statistics_gen.outputs[names.STATISTICS]
    schema_gen = SchemaGen(
        statistics, registry=places.registry, kept_schema=places.kept_schema or ""
    )
    validator = ExampleValidator(statistics, schema_gen.outputs[names.SCHEMA])
    return statistics_gen, schema_gen, validator


def champion_request(settings: Settings, registry: str, version: str) -> Request:
    """Returns what a run asks of the registry about the champion.

    Args:
      settings: the pipeline's settings.
      registry: folder or URI of the registry.
      version: see `wanted`.
    """
    required: wanted.Requirement = wanted.MODEL if settings.trainer.warm_start else ""
    if any(gate.champion for gate in gates.parse_all(settings.evaluator.gates)):
        required = wanted.COMPARISON
    return Request(
        registry=registry,
        version=version,
        positive_class=settings.data.positive_class,
        required=required,
    )


def _champion_finder(settings: Settings, places: Places) -> ChampionFinder:
    """The component that finds the champion; the first, as the run may have to be refused."""
    request = champion_request(settings, places.registry, places.serving_version)
    return ChampionFinder(
        registry=request.registry,
        serving_version=request.version,
        positive_class=request.positive_class,
        required=request.required,
        code_version=places.code_version,
    )


def _has_anomaly_gate(settings: Settings) -> bool:
    parsed = gates.parse_all(settings.evaluator.gates)
    return any(gate.metric == gates.ANOMALIES for gate in parsed)


def _pusher_schema_version(places: Places) -> str:
    """The digest of the kept schema; a unique value if there is none.

    A unique value prevents a cached push, which would not save the first schema.
    """
    return uuid.uuid4().hex if places.kept_schema == "" else places.kept_schema or ""


def sampler(
    settings: ImageSettings,
    images: BaseChannel,
    places: Places,
    parameters: RunParameters | None,
    *,
    draws: int = 1,
    written: Sequence[str] = (),
) -> ImbalanceSampler:
    """The component that draws the splits, several times if `draws` is above 1.

    With several draws only the splits in `written` are written; empty: all.
    """
    section = settings.sampler
    stable = section.assignment == STABLE
    below_root = stable and parameters is not None and section.ledger is None
    return ImbalanceSampler(
        examples=images,
        splits=section.splits,
        random_state=section.random_state,
        assignment=section.assignment,
        group_by=section.group_by,
        max_distance=section.near_duplicates.max_distance,
        keep_rest=section.keep_rest,
        prevalence=settings.population.prevalence,
        ledger=places.ledger if stable else "",
        ledger_version=places.ledger_version if stable else "",
        pipeline_root=parameters.pipeline_root if parameters and below_root else None,
        draws=draws,
        written=written,
    )


def unit_rule(settings: ImageSettings) -> UnitRule:
    """Which images the sampler never parts."""
    section = settings.sampler
    return UnitRule(section.group_by or "", section.near_duplicates.max_distance)


def _slices(settings: Settings) -> list[list[str]]:
    singles = [[column] for column in settings.data.slices]
    crosses = [cross for cross in settings.evaluator.slices if cross not in singles]
    return singles + crosses
