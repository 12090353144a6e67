"""The study as a TFX DAG: one ingestion, one sampling, one Trainer per arm, one report."""

from dataclasses import replace
from typing import Any

from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration.pipeline import Pipeline
from tfx.types import BaseChannel

from components import names
from components.feature_extractor.backbone import Backbone
from components.feature_extractor.component import FeatureExtractor
from components.study_reporter.component import study_reporter
from components.trainer.arm import Arm, Point
from components.trainer.arm_component import arm_trainer
from pipeline.dag import Places, RunParameters, assemble, example_gen, sampler, unit_rule
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
    draws = study.repeats.splits
    used = sorted({split for arm in study.arms for split in _splits(arm)})
    source = images.outputs[names.EXAMPLES]
    drawn = sampler(study, source, places, parameters, draws=draws, written=used)
    examples = drawn.outputs[names.DRAWN_EXAMPLES]
    extractors = _extractors(study, places, examples)

    def trained(arm: study_settings.Arm, training: Arm) -> BaseNode:
        settings = study.trainer_of(arm)
        source = extractors.get(frozen_backbone(settings))
        return arm_trainer(
            source.outputs[names.FEATURED_EXAMPLES] if source else examples,
            settings=settings.model_dump(),
            arm=training,
            checkpoint_root=places.checkpoints,
            pipeline_root=parameters.pipeline_root if parameters else None,
            sampling=drawn.outputs[names.SAMPLING] if draws > 1 else None,
            units=unit_rule(study),
        )

    arms = {arm.name: trained(arm, _arm(arm, study.repeats)) for arm in study.arms}
    curves: dict[str, BaseNode] = {}
    details: dict[str, Any] = {}
    if study.curve is not None:
        arm = study.curve_arm
        training, series = _curve(study.curve, _arm(arm, study.repeats))
        curves = {study_settings.CURVE: trained(arm, training)}
        details = {"curve": {"arm": arm.name, "series": series}}
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
            **details,
        },
        curve=next((node.outputs[names.MODEL_RUN] for node in curves.values()), None),
    )
    return [images, drawn, *extractors.values(), *arms.values(), *curves.values(), reporter]


def _arm(arm: study_settings.Arm, repeats: study_settings.Replicates) -> Arm:
    return Arm(
        name=arm.name,
        train_split=arm.train,
        val_split=arm.val,
        test_splits=tuple(arm.test),
        replicates=repeats.seeds,
        draws=repeats.splits,
    )


def _splits(arm: study_settings.Arm) -> list[str]:
    return [arm.train, arm.val, *arm.test]


def _curve(curve: study_settings.Curve, arm: Arm) -> tuple[Arm, dict[str, list[int]]]:
    """Returns the training of a learning curve, and the indices of the points of each series."""
    numbers = curve.numbers()
    points = list(dict.fromkeys(pair for pairs in numbers.values() for pair in pairs))
    training = replace(
        arm, name=study_settings.CURVE, points=tuple(Point(*counts) for counts in points)
    )
    return training, {
        series: [points.index(pair) for pair in pairs] for series, pairs in numbers.items()
    }


def _extractors(
    study: StudySettings, places: Places, examples: BaseChannel
) -> dict[Backbone | None, FeatureExtractor]:
    """Returns the extractor of each backbone, for those splits that its arms use.

    Several draws of the splits have one split with all their images.
    """
    several = study.repeats.splits > 1
    used: dict[Backbone, set[str]] = {}
    in_views = set()
    for arm in study.arms:
        settings = study.trainer_of(arm)
        if backbone := frozen_backbone(settings):
            used.setdefault(backbone, set()).update(_splits(arm))
            if settings.row_views is not None:
                in_views.add(backbone)
    return {
        backbone: feature_extractor(
            backbone,
            examples,
            store=places.features,
            splits=[names.DRAWN] if several else sorted(splits),
            keeps_views=backbone in in_views,
        ).with_id(backbone.node_id)
        for backbone, splits in used.items()
    }
