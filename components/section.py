"""Base class and field types of all sections of the settings."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from components.spelling import composed


class Section(BaseModel):
    """A part of the settings: typed and frozen; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def matching(pattern: str, expected: str) -> AfterValidator:
    """Returns a validator that requires text to match a pattern fully.

    Args:
      pattern: a regular expression.
      expected: description of valid text, for the message.
    """

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {expected}")
        return text

    return AfterValidator(check)


def _whole_number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a whole number, not true or false")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


def _composed_keys(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {
        composed(key) if isinstance(key, str) else key: _composed_keys(inner)
        for key, inner in value.items()
    }


DataName = Annotated[str, AfterValidator(composed)]
"""A name that is compared with names in the data, such as that of a class or a column."""
ComposedKeys = BeforeValidator(_composed_keys)
"""Annotation for mappings whose keys, at any depth, are such names."""

WholeNumber = Annotated[int, BeforeValidator(_whole_number)]
Count = Annotated[WholeNumber, Field(ge=0)]
PositiveCount = Annotated[WholeNumber, Field(ge=1)]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
