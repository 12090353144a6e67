"""Finds out how the champion can be compared, and compares it by the predictions."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from tfx.dsl.io import fileio

from components import names
from components.champion_finder import comparability, found_champion
from components.champion_finder.found_champion import FoundChampion
from components.evaluator import (
    champion,
    champion_caution,
    champion_model,
    champion_record,
    predictions,
)
from components.evaluator.champion import Pair
from components.evaluator.champion_caution import Drawn
from components.evaluator.champion_record import State
from components.evaluator.metrics import Costs
from components.registry.record import VersionRecord


@dataclass(frozen=True)
class Plan:
    """What is done about the champion.

    Attributes:
      folder: of the champion's SavedModel, to predict each image with; None if it isn't compared.
      threshold: the champion's own.
      record: the record if it isn't compared; None if it is.
      version: the champion's version.
      name: the champion in words.
      pushed: the champion's record in the registry; None if it has none.
      drawn: how the challenger's splits were drawn; None if it is unknown.
    """

    folder: str | None = None
    threshold: float | None = None
    record: dict[str, Any] | None = None
    version: int | None = None
    name: str = ""
    pushed: VersionRecord | None = None
    drawn: Drawn | None = None


def plan(champion_uri: str, challenger: str, drawn: Drawn | None = None) -> Plan:
    """Finds out whether the champion is to predict the images.

    Args:
      champion_uri: URI of the Champion artifact.
      challenger: folder of the challenger's SavedModel.
      drawn: how the challenger's splits were drawn; None if it is unknown.
    """
    found = found_champion.read(champion_uri)
    if found.version is None:
        return _without(State.FIRST_MODEL, found.reason, found)
    folder = found_champion.model_folder(champion_uri)
    if fileio.exists(folder) and champion_model.is_same_model(challenger, folder):
        return _without(State.SAME_MODEL, f"this model is the champion itself, {found.name}", found)
    if found.reason:
        return _without(State.REFUSED, found.reason, found)
    threshold = comparability.threshold(folder)
    return Plan(
        folder=folder,
        threshold=threshold,
        version=found.version,
        name=found.name,
        pushed=champion_caution.read_record(folder),
        drawn=drawn,
    )


def _without(state: State, reason: str, found: FoundChampion) -> Plan:
    record = champion_record.without_comparison(state, reason, found.version)
    return Plan(record=record, version=found.version)


def compare(
    planned: Plan, predictions_uri: str, *, prevalence: float, costs: Costs | None
) -> dict[str, Any]:
    """Returns the record of the comparison, see `components.evaluator.champion_record`.

    Args:
      planned: as returned by `plan`.
      predictions_uri: URI of the Predictions artifact, with the champion's columns if it was to
        predict.
      prevalence: share of positives in the real world.
      costs: costs of wrong decisions; None if they are not known.
    """
    if planned.record is not None:
        return planned.record
    called = (names.IS_POSITIVE, names.CHAMPION_IS_POSITIVE)
    probabilities = (names.PROBABILITY, names.CHAMPION_PROBABILITY)
    columns = [names.LABEL, names.SPAN, *called, *probabilities]
    rows = predictions.read(predictions_uri, columns)
    unknown = ~np.isfinite(rows[names.CHAMPION_PROBABILITY])
    if unknown.any():
        reason = (
            f"the champion, {planned.name}, can't be compared: it must predict every image, which "
            f"it doesn't for {unknown.sum():,} of {len(rows):,}; the log has the error"
        )
        return champion_record.without_comparison(State.REFUSED, reason, planned.version)
    pair = Pair(
        labels=rows[names.LABEL].to_numpy(bool),
        probabilities=np.stack([rows[name].to_numpy(np.float32) for name in probabilities]),
        called=np.stack([rows[name].to_numpy(bool) for name in called]),
    )
    newest = champion_record.newest(list(rows[names.SPAN].unique()))
    of_newest = None
    if newest is not None:
        chosen = pair.of(rows[names.SPAN] == newest)
        of_newest = {
            "span": newest,
            **champion.compare(chosen, prevalence, costs),
            "caution": champion_caution.caution(planned.pushed, planned.drawn, newest),
        }
    return {
        "state": State.COMPARED.value,
        "reason": None,
        "version": planned.version,
        "threshold": planned.threshold,
        champion_record.TEST: {
            **champion.compare(pair, prevalence, costs),
            "caution": champion_caution.caution(planned.pushed, planned.drawn),
        },
        champion_record.NEWEST_SPAN: of_newest,
    }
