"""The units of a split's images, which a cross-validation must not part.

They are those of the ImbalanceSampler, formed anew from the records of one split: images of one
group, and near-duplicates that are linked directly or by a chain. A chain through an image that is
not in the split is not seen. With several draws of the splits, they are formed of the images of all
draws: an image without a group that resembles images of several groups is of the unit of one of
these, maybe of another one than in a draw.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components import names
from components.imbalance_sampler import records
from components.imbalance_sampler.units import form_units

Indices = NDArray[np.int64]

CONFIG = "units"
"""Key of `custom_config`, which `run_fn` reads."""

# Chooses the group of a near-duplicate of several groups, of which the sampler draws one.
_SEED = 0


@dataclass(frozen=True)
class UnitRule:
    """Which images are of one unit.

    Attributes:
      group_by: text column whose equal values stay together; empty: none.
      max_distance: maximum number of bits in which the perceptual hashes of near-duplicates differ;
        0: there are no near-duplicates.
    """

    group_by: str = ""
    max_distance: int = 0

    def as_config(self) -> dict[str, Any]:
        """Returns the part of `custom_config` that `of_config` reads."""
        return {CONFIG: asdict(self)}

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> "UnitRule":
        """Returns the rule in `custom_config`; each image is a unit if there is none."""
        return cls(**config.get(CONFIG, {}))


def units_of(columns: Mapping[str, np.ndarray], rule: UnitRule) -> Indices:
    """Returns the unit of each image: the smallest index of its images.

    Args:
      columns: bytes (n,) by feature: identities, class names, perceptual hashes, and the groups if
        the rule has a column of them; an image with an empty value is not bound by it.
      rule: which images are of one unit.

    Returns:
      int64 (n,).

    Raises:
      SamplingError: a perceptual hash is malformed.
    """
    ids = columns[names.IMAGE_ID]
    own = np.array([image_id or b"%d" % at for at, image_id in enumerate(ids)], object)
    rows = records.rows_of({**columns, names.IMAGE_ID: own}, _SEED, rule.group_by)
    unit = form_units(rows, random_state=_SEED, max_distance=rule.max_distance).unit
    _, first, inverse = np.unique(unit, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)


def binding(units: Indices | None) -> bool:
    """Returns whether a unit has several images; `units` is None if each has one."""
    return units is not None and len(np.unique(units)) < len(units)


def origin(units: Indices | None) -> list[str]:
    """Returns what a training depends on if its penalty is chosen: nothing if no unit binds."""
    if units is None or not binding(units):
        return []
    return [hashlib.sha256(units.astype("<i8").tobytes()).hexdigest()]
