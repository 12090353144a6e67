"""What all sections of the settings have in common."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from components.spelling import composed


class Section(BaseModel):
    """A part of the settings: typed, frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def matching(pattern: str, wanted: str) -> AfterValidator:
    """Lets text pass that matches a pattern as a whole; else says in words what it must be."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {wanted}")
        return text

    return AfterValidator(check)


def _whole_number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a whole number, not true or false")
    return value


def _composed_keys(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {
        composed(key) if isinstance(key, str) else key: _composed_keys(inner)
        for key, inner in value.items()
    }


DataName = Annotated[str, AfterValidator(composed)]
"""A name that is compared with one in the data, such as of a class or a column."""
ComposedKeys = BeforeValidator(_composed_keys)
"""For a mapping whose keys, at any depth, are such names."""

WholeNumber = Annotated[int, BeforeValidator(_whole_number)]
Count = Annotated[WholeNumber, Field(ge=0)]
PositiveCount = Annotated[WholeNumber, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
