"""The champion that a run names, as text: a parameter of ChampionFinder. Imports no TensorFlow."""

from typing import Literal

SERVING = ""
"""The version that serves once the step runs."""
NONE = "none"
"""No version, although one may serve by then."""

Requirement = Literal["", "model", "comparison"]
"""What a run can't do without: an intact champion, or one that can also be compared."""
MODEL: Requirement = "model"
COMPARISON: Requirement = "comparison"


def text(version: int | None) -> str:
    """Returns the text for a version, or for no version."""
    return NONE if version is None else str(version)


def number(wanted: str) -> int | None:
    """Returns the version of a text other than `SERVING`; None for no version."""
    return None if wanted == NONE else int(wanted)
