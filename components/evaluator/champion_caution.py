"""Whether the champion may have been trained on images that are test images by now.

It can't, if both models are of the same stable splits, or if the champion's split was drawn from
the same data by the same settings. Imports no TensorFlow.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfx.dsl.io import fileio

from components.registry.record import RECORD_FILE, VersionRecord

CAUTION = (
    "the champion may have been trained on some of these images, so it may look better than it is"
)
_STABLE = "stable"
# An image may change its stable split if one of these changes.
_STABLE_TERMS = ("assignment", "random_state", "group_by", "splits")


@dataclass(frozen=True)
class Drawn:
    """How the challenger's splits were drawn.

    Attributes:
      sampler: the settings of the sampler.
      data: digest of the data, see `components.image_example_gen.spans_file`.
    """

    sampler: Mapping[str, Any]
    data: str


def read_record(folder: str) -> VersionRecord | None:
    """Reads the record of a version in a folder or URI; None if an earlier release pushed it."""
    path = os.path.join(folder, RECORD_FILE)
    if not fileio.exists(path):
        return None
    with fileio.open(path, "r") as file:
        return VersionRecord.model_validate_json(file.read())


def caution(champion: VersionRecord | None, drawn: Drawn | None, span: str = "") -> str | None:
    """Returns `CAUTION` if the champion may have been trained on test images, else None.

    Args:
      champion: the champion's record; None if it has none.
      drawn: how the challenger's splits were drawn; None if it is unknown, which is no caution.
      span: the only span of the test images; empty for all.
    """
    if drawn is None or (champion and _is_apart(champion, drawn, span)):
        return None
    return CAUTION


def _is_apart(champion: VersionRecord, drawn: Drawn, span: str) -> bool:
    sampler = (champion.settings or {}).get("sampler")
    if not sampler or not champion.data:
        return False
    if drawn.sampler["assignment"] == _STABLE and all(
        sampler.get(term) == drawn.sampler.get(term) for term in _STABLE_TERMS
    ):
        return True
    if span and span not in {each.span for each in champion.data.spans}:
        return True
    # A key that the champion's release did not have yet has no effect by default.
    same = all(sampler.get(key, value) == value for key, value in drawn.sampler.items())
    return same and champion.data.digest == drawn.data
