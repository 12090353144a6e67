"""The study as a TFX DAG: one ingestion, one sampling, one Trainer per arm, one report."""

from typing import Any

from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration.pipeline import Pipeline
from tfx.types import BaseChannel

from components import names
from components.feature_extractor.backbone import Backbone
from components.feature_extractor.component import FeatureExtractor
from components.study_reporter.component import study_reporter
from components.trainer.arm import Arm
from components.trainer.arm_component import arm_trainer
from pipeline.dag import Places, RunParameters, assemble, example_gen, sampler
from pipeline.features import feature_extractor, frozen_backbone
from pipeline.study import settings as study_settings
from pipeline.study.settings import StudySettings


def build(
    study: StudySettings,
    places: Places,
    *,
    connection: Any = None,
    enable_cache: bool = True,
    parameters: RunParameters | None = None,
) -> Pipeline:
    """Builds the study: all arms, trained on the same images, and the report that compares them.

    Args:
      study: the study's settings.
      places: where the run stores its outputs.
      connection: ConnectionConfig of the MLMD store; None if the orchestrator provides it.
      enable_cache: reuse the outputs of earlier runs with the same inputs and settings.
      parameters: runtime parameters; None takes all values from the settings.

    Returns:
      A pipeline for any TFX runner.
    """
    nodes = _nodes(study, places, parameters)
    return assemble(study, places, nodes, connection=connection, enable_cache=enable_cache)


def _nodes(
    study: StudySettings, places: Places, parameters: RunParameters | None
) -> list[BaseNode]:
    images = example_gen(study, study.beam, places, parameters)
    drawn = sampler(study, images.outputs[names.EXAMPLES], places, parameters)
    examples = drawn.outputs[names.DRAWN_EXAMPLES]
    extractors = _extractors(study, places, examples)
    arms: dict[str, BaseNode] = {}
    for arm in study.arms:
        settings = study.trainer_of(arm)
        source = extractors.get(frozen_backbone(settings))
        arms[arm.name] = arm_trainer(
            source.outputs[names.FEATURED_EXAMPLES] if source else examples,
            settings=settings.model_dump(),
            arm=_arm(arm, study.replicates),
            checkpoint_root=places.checkpoints,
            pipeline_root=parameters.pipeline_root if parameters else None,
        )
    reporter = study_reporter(
        {name: node.outputs[names.MODEL_RUN] for name, node in arms.items()},
        title=study.name,
        study={
            "name": study.name,
            "baseline": study.baseline_name,
            "comparisons": study.compared,
            "costs": study.costs.model_dump() if study.costs else None,
            "prevalence": study.population.prevalence,
            "settings": study.parameters(),
        },
    )
    return [images, drawn, *extractors.values(), *arms.values(), reporter]


def _arm(arm: study_settings.Arm, replicates: int) -> Arm:
    return Arm(
        name=arm.name,
        train_split=arm.train,
        val_split=arm.val,
        test_splits=tuple(arm.test),
        replicates=replicates,
    )


def _extractors(
    study: StudySettings, places: Places, examples: BaseChannel
) -> dict[Backbone | None, FeatureExtractor]:
    """Returns the extractor of each backbone, for those splits that its arms use."""
    used: dict[Backbone, set[str]] = {}
    for arm in study.arms:
        if backbone := frozen_backbone(study.trainer_of(arm)):
            used.setdefault(backbone, set()).update([arm.train, arm.val, *arm.test])
    return {
        backbone: feature_extractor(
            backbone, examples, store=places.features, splits=sorted(splits)
        ).with_id(backbone.node_id)
        for backbone, splits in used.items()
    }
