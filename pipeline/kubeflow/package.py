"""A compiled pipeline: its name, its parameters and a digest of its content."""

import difflib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from components import paths
from pipeline import yaml_text
from pipeline.kubeflow.errors import UsageError
from pipeline.kubeflow.settings import checked_root

DATA_VERSION = "data_version"
_SUFFIXES = (".yaml", ".yml")
_DIGITS = 12
# Parameters that are paths, and what checks them.
_PATHS: Mapping[str, Callable[[str], str]] = {
    "source": paths.source,
    "pipeline_root": checked_root,
}
_TYPES: Mapping[str, tuple[type, ...]] = {
    "STRING": (str,),
    "NUMBER_INTEGER": (int,),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
}


@dataclass(frozen=True)
class Package:
    """A compiled pipeline in a file.

    Attributes:
      path: the YAML file.
      name: the pipeline's name.
      parameters: the type of each runtime parameter, such as NUMBER_INTEGER, by name.
      digest: 12 hex digits of its content, which don't depend on the file's formatting.
    """

    path: Path
    name: str
    parameters: Mapping[str, str]
    digest: str

    @property
    def version_name(self) -> str:
        """The name of this version of the pipeline in Kubeflow Pipelines."""
        return f"{self.name}-{self.digest}"

    def arguments(self, texts: Sequence[str]) -> dict[str, Any]:
        """Runtime parameters from `name=value` texts, each of the type that the pipeline declares.

        Raises:
          UsageError: not of that form, no such parameter, two values of one, or a value of
            another type.
        """
        given: dict[str, Any] = {}
        for text in texts:
            name, value = self._argument(text)
            if given.setdefault(name, value) != value:
                raise UsageError(
                    f"--param {name} must be given once. Received: {given[name]!r} and {value!r}"
                )
        return given

    def _argument(self, text: str) -> tuple[str, Any]:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise UsageError(f"--param must be name=value, such as epochs=5. Received: {text!r}")
        if name not in self.parameters:
            near = difflib.get_close_matches(name, self.parameters, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            known = ", ".join(sorted(self.parameters)) or "none"
            raise UsageError(
                f"--param must name a parameter of the pipeline: {known}. Received: {text!r}{hint}"
            )
        if name in _PATHS:
            return name, _path(name, value)
        return name, _typed(value, self.parameters[name], origin=f"--param {text}")


def _path(name: str, value: str) -> str:
    try:
        return _PATHS[name](value)
    except ValueError as error:
        raise UsageError(f"--param {name}: {error}. Received: {value!r}") from error


def read(path: Path) -> Package:
    """Reads a compiled pipeline.

    Raises:
      UsageError: the file does not exist or is not a compiled pipeline.
    """
    if path.suffix not in _SUFFIXES:
        raise UsageError(
            "a compiled pipeline must end in .yaml; make one with `outnumbered kubeflow compile`. "
            f"Received: {path}"
        )
    try:
        text = path.read_text(encoding="utf-8")
        documents = [document.value for document in yaml_text.load_all(text)]
    except (OSError, UnicodeDecodeError, yaml_text.YamlError) as error:
        raise UsageError(f"the compiled pipeline {path} can't be read: {error}") from error
    try:
        spec = _Spec.model_validate(documents[0] if documents else None)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the first document"
        raise UsageError(
            f"{path} is not a compiled pipeline; make one with `outnumbered kubeflow compile`. "
            f"Received: {place}: {first['msg']}"
        ) from error
    declared = spec.root.input_definitions.parameters
    return Package(
        path=path,
        name=spec.pipeline_info.name,
        parameters={name: of.parameter_type for name, of in declared.items()},
        digest=_digest(documents),
    )


def write_uncached(path: Path, target: Path) -> None:
    """Writes a copy of a compiled pipeline, in which no step of a DAG within it is cached.

    kfp's client disables the caching of the root DAG's own tasks only, and with an exit handler the
    steps are in a DAG within it.

    Args:
      path: the YAML file.
      target: the copy.
    """
    spec, *others = yaml_text.load_all(path.read_text(encoding="utf-8"))
    for component in spec.value.get("components", {}).values():
        for task in component.get("dag", {}).get("tasks", {}).values():
            task.pop("cachingOptions", None)
    documents = [document.value for document in (spec, *others)]
    text = yaml.safe_dump_all(documents, sort_keys=True, allow_unicode=True)
    target.write_text(text, encoding="utf-8")


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class _About(_Part):
    name: str


class _Parameter(_Part):
    parameter_type: str = ""


class _Inputs(_Part):
    parameters: dict[str, _Parameter] = {}


class _Root(_Part):
    input_definitions: _Inputs = _Inputs()


class _Spec(_Part):
    """The parts of a PipelineSpec that describe a package."""

    pipeline_info: _About
    root: _Root


def _digest(documents: Sequence[Any]) -> str:
    canonical = json.dumps(documents, sort_keys=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:_DIGITS]


def _typed(text: str, kind: str, *, origin: str) -> Any:
    if kind == "STRING":
        return text
    try:
        value = yaml_text.load(text).value
    except yaml_text.YamlError as error:
        raise UsageError(f"{origin}: {error}") from error
    allowed = _TYPES.get(kind)
    # Python's True is an int.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if allowed and (not isinstance(value, allowed) or (int in allowed and not is_number)):
        raise UsageError(f"{origin}: the value must be of type {kind}. Received: {value!r}")
    return value
