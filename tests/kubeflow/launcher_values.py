"""Parameters and placeholders, as the driver and the launcher of Kubeflow Pipelines write them."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

EXECUTOR_INPUT = "{{$}}"
_KINDS: dict[str, tuple[type, ...]] = {
    "STRING": (str,),
    "NUMBER_INTEGER": (int, float),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
    "TASK_FINAL_STATUS": (dict,),
}


def text_of(value: Any) -> str:
    """`PbValueToText` in backend/src/v2/metadata/converter.go; null is empty."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return number_text(value)
    return json.dumps(value, separators=(",", ":"))


def number_text(value: float) -> str:
    """A number by Go's `strconv.FormatFloat(value, 'f', -1, 64)`."""
    digits = format(Decimal(repr(float(value))), "f")
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def has_kind(value: Any, declared: str) -> bool:
    """Whether a value is of a parameter's type. JSON has one kind of number."""
    is_bool = isinstance(value, bool)
    return isinstance(value, _KINDS[declared]) and (declared == "BOOLEAN" or not is_bool)


def converted(name: str, value: Any, declared: str) -> Any:
    """A component's parameter, by `resolveInputs` in backend/src/v2/driver.

    Raises:
      TypeError: of another type; only for STRING are other values converted.
    """
    if declared == "STRING":
        return text_of(value)
    if not has_kind(value, declared):
        raise TypeError(f"{name} must be {declared}. Received: {value!r}")
    return value


def compiled(
    words: Sequence[str], executor_input: str, placeholders: Mapping[str, str]
) -> list[str]:
    """`compileCmdAndArgs` in backend/src/v2/component/launcher_v2.go.

    The launcher's `cmd` is the first word of `command`; all others are its `args`. In args
    placeholders are replaced anywhere, also in the JSON that has replaced another one.
    """
    program, *arguments = (word.replace(EXECUTOR_INPUT, executor_input) for word in words)
    for placeholder, replacement in placeholders.items():
        arguments = [argument.replace(placeholder, replacement) for argument in arguments]
    return [program, *arguments]


def parameter_placeholders(values: Mapping[str, Any]) -> dict[str, str]:
    """Those of input parameters, by `getPlaceholders` in launcher_v2.go."""
    return {f"{{{{$.inputs.parameters['{name}']}}}}": text_of(of) for name, of in values.items()}


def artifact_placeholders(side: str, uris: Mapping[str, str], paths: Mapping[str, str]) -> Any:
    """Those of the artifacts of a side, `inputs` or `outputs`, by `getPlaceholders`."""
    found = {}
    for key, uri in uris.items():
        found[f"{{{{$.{side}.artifacts['{key}'].uri}}}}"] = uri
        found[f"{{{{$.{side}.artifacts['{key}'].path}}}}"] = paths[key]
    return found
