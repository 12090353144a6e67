"""The Evaluator's executor: predicts, counts by slice and applies the gates."""

import json
import logging
from collections.abc import Mapping
from typing import Any

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils
from tfx.utils import path_utils

from components import example_files, feature_records, names
from components.artifact_files import Shard
from components.calibrator import operating_point
from components.checked_artifacts import checked
from components.evaluator import (
    blessing,
    champion_comparison,
    champion_record,
    eval_config,
    gates,
    judgement,
    metrics,
    predict,
    predictions,
    slice_choice,
    slice_wording,
    sliced_counts,
    summary,
)
from components.evaluator.champion_caution import Drawn
from components.evaluator.metrics import Costs
from components.example_validator import findings_file
from components.example_validator.findings import Findings
from components.imbalance_sampler import report as sampling_report
from components.imbalance_sampler.report import DATA, SLICE_COLUMNS

SPLIT = "split"
SLICES = "slices"
BANDS = "bands"
GATES = "gates"
SAMPLER = "sampler"

_logger = logging.getLogger("outnumbered.evaluator")


class Executor(BaseBeamExecutor):
    """Evaluates a calibrated model on a split of the examples."""

    @checked
    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes predictions, TFMA's evaluation with its summary, and the blessing.

        Args:
          input_dict: `examples`, `model`, `sampling`, `anomalies` if a gate is on them,
            `champion` to compare the model with it, and `featured_examples` to predict from
            features if the model can, one artifact each.
          output_dict: `evaluation`, `predictions`, `blessing`, one artifact each.
          exec_properties: `split`, the JSON lists `slices`, `bands` and `gates`, and `sampler`,
            the settings of the sampler as JSON, or empty.

        Raises:
          ValueError: the split, a slice column, the model or a gate does not fit the data.
          UnequalScoresError: the model gives an image another score than its features.
        """
        source, target = _single(input_dict), _single(output_dict)
        split = exec_properties[SPLIT]
        parsed_gates = gates.parse_all(json.loads(exec_properties[GATES]))
        sampling = sampling_report.read(source[names.SAMPLING].uri)
        prevalence = sampling["population"]["prevalence"]
        metrics.check_prevalence(prevalence)
        point = operating_point.read(_serving_dir(source))
        choice = _slice_choice(exec_properties, sampling)
        champion = _champion_plan(source, _drawn(exec_properties, sampling))
        costs = Costs(**costs) if (costs := point.get("costs")) else None

        self._predict_and_count(
            source,
            target,
            split=split,
            config=eval_config.make(point["threshold"], choice.groups),
            prevalence=prevalence,
            bounds=choice.bounds,
            total=_images(sampling, split),
            champion=champion.folder if champion else None,
        )
        figures = summary.summarize(
            predictions.read_figures(target[names.PREDICTIONS].uri),
            sliced_counts.read(target[names.EVALUATION].uri),
            split=split,
            threshold=point["threshold"],
            prevalence=prevalence,
            costs=costs,
            band=point.get("review"),
            choice=choice,
        )
        _logger.info("worst slice: %s", slice_wording.sentence(figures))
        summary.write(figures, target[names.EVALUATION].uri)
        compared = None
        if champion is not None:
            compared = champion_comparison.compare(
                champion, target[names.PREDICTIONS].uri, prevalence=prevalence, costs=costs
            )
            champion_record.write(compared, target[names.EVALUATION].uri)
            _logger.info("champion: %s", champion_record.sentence(compared))
        verdict = judgement.verdict(parsed_gates, figures, _read_findings(source), compared)
        blessing.write(verdict, target[names.BLESSING], source[names.MODEL])
        for result in verdict.results:
            _logger.info("gate %s: %s", result.found.outcome, result.describe())
        _logger.info("%s: %s", "blessed" if verdict.blessed else "NOT blessed", verdict.reason)

    def _predict_and_count(
        self,
        source: dict[str, Artifact],
        target: dict[str, Artifact],
        *,
        split: str,
        config: config_pb2.EvalConfig,
        bounds: Mapping[names.Band, tuple[float, float]],
        prevalence: float,
        total: int,
        champion: str | None,
    ) -> None:
        examples = source[names.EXAMPLES]
        available = artifact_utils.decode_split_names(examples.split_names)
        shards = predict.split_shards(examples.uri, split, available)
        features_key = _features_key(source)
        featured: list[Shard] = []
        if features_key:
            featured = example_files.split_shards(source[names.FEATURED_EXAMPLES].uri, split)
        columns = {key for spec in config.slicing_specs for key in spec.feature_keys}
        each = predict.PredictShard(
            model=_serving_dir(source),
            output=target[names.PREDICTIONS].uri,
            slice_columns=sorted(columns),
            bounds=bounds,
            total=total,
            champion=champion,
            features_key=features_key,
        )
        fileio.makedirs(target[names.PREDICTIONS].uri)
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "PredictSplit" >> predict.PredictSplit(shards, each, featured)
                | "ForTfma" >> predict.ForTfma(prevalence)
                | "Evaluate"
                >> tfma.ExtractEvaluateAndWriteResults(
                    eval_config=config, output_path=target[names.EVALUATION].uri
                )
            )
        predictions.write_list(target[names.PREDICTIONS].uri)


def _single(artifacts: dict[str, list[Artifact]]) -> dict[str, Artifact]:
    return {key: artifact_utils.get_single_instance(found) for key, found in artifacts.items()}


def _serving_dir(source: dict[str, Artifact]) -> str:
    return path_utils.serving_model_dir(source[names.MODEL].uri)


def _features_key(source: dict[str, Artifact]) -> str:
    """Returns the key of the features that the model can be given; empty: it needs images."""
    if (featured := source.get(names.FEATURED_EXAMPLES)) is None:
        return ""
    key = feature_records.key_of_examples(featured.uri)
    return key if key == feature_records.key_of_model(_serving_dir(source)) else ""


def _slice_choice(exec_properties: dict[str, Any], sampling: dict[str, Any]) -> slice_choice.Choice:
    choice = slice_choice.choose(
        json.loads(exec_properties[SLICES]),
        json.loads(exec_properties[BANDS]),
        sampling.get(SLICE_COLUMNS),
    )
    for columns, reason in choice.left_out.items():
        _logger.warning("metrics are not sliced by %s: %s", columns, reason)
    return choice


def _drawn(exec_properties: dict[str, Any], sampling: dict[str, Any]) -> Drawn | None:
    sampler = json.loads(exec_properties.get(SAMPLER) or "null")
    data = sampling.get(DATA)
    return Drawn(sampler, data["digest"]) if sampler and data else None


def _champion_plan(
    source: dict[str, Artifact], drawn: Drawn | None
) -> champion_comparison.Plan | None:
    if (champion := source.get(names.CHAMPION)) is None:
        return None
    return champion_comparison.plan(champion.uri, _serving_dir(source), drawn)


def _read_findings(source: dict[str, Artifact]) -> Findings | None:
    anomalies = source.get(names.ANOMALIES)
    return findings_file.read(anomalies.uri) if anomalies else None


def _images(sampling: dict[str, Any], split: str) -> int:
    """Returns how many images the sampler put into `split`."""
    return sum(used["used"] for used in sampling["splits"].get(split, {}).values())
