"""Writes docs/settings.md from the settings' own types: `python -m pipeline.settings_reference`."""

import builtins
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.settings import Settings, section_of
from pipeline.study.settings import Arm, StudySettings

PATH = Path(__file__).parents[1] / "docs" / "settings.md"

_HEAD = """# Settings

One YAML file a pipeline. `outnumbered settings --preset NAME` prints a whole one to begin with;
`--set section.key=value` overrides one value on the command line. Relative paths are taken from
the folder in which the command runs, and `~` is your home folder. This page is written by
`python -m pipeline.settings_reference`.
"""


_STUDY_HEAD = """
# Settings of a study

`outnumbered study` reads a file of its own: `name` and the sections `data`, `population`,
`sampler`, `trainer`, `beam` and `kubeflow` as above, with splits of any names, and these keys.
`--scale` multiplies every number of images in `sampler.splits`.
"""
_TABLE_HEAD = "| key | values | default | |\n|---|---|---|---|\n"


def reference() -> str:
    """The reference as Markdown: a table a section."""
    name = Settings.model_fields["name"]
    return (
        f"{_HEAD}\n`name` (needed): {name.description}\n{''.join(_all_sections(Settings))}"
        f"{_STUDY_HEAD}{_study_rows()}{_section('arms[]', Arm)}"
    )


def _all_sections(settings: type[BaseModel]) -> Iterator[str]:
    for name, field in settings.model_fields.items():
        if (model := section_of(field.annotation)) is not None:
            yield from _sections(name, model)


def _study_rows() -> str:
    rows = _field_rows(
        {
            name: field
            for name, field in StudySettings.model_fields.items()
            if name not in Settings.model_fields
        }
    )
    return f"\n{_TABLE_HEAD}{''.join(rows)}"


def _sections(name: str, model: type[BaseModel]) -> Iterator[str]:
    """A section's table, then those of the sections in it that say more than their keys."""
    yield _section(name, model)
    for key, field in model.model_fields.items():
        inner = section_of(field.annotation)
        if inner is not None and any(part.description for part in inner.model_fields.values()):
            yield from _sections(f"{name}.{key}", inner)


def _section(name: str, model: type[BaseModel]) -> str:
    rows = "".join(_field_rows(model.model_fields, f"{name}."))
    return f"\n## {name}\n\n{model.__doc__}\n\n{_TABLE_HEAD}{rows}"


def _field_rows(fields: Mapping[str, FieldInfo], prefix: str = "") -> Iterator[str]:
    for key, field in fields.items():
        cells = (f"`{prefix}{key}`", _values(field), _default(field), field.description or "")
        yield f"| {' | '.join(cells)} |\n"


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "needed"
    if isinstance(field.default, BaseModel) or (section_of(field.annotation) and field.default):
        return "see below"
    return "none" if field.default is None else f"`{field.default}`"


def _values(field: FieldInfo) -> str:
    bounds = [str(bound) for meta in field.metadata for bound in _bounds(meta)]
    return " ".join([_type_name(field.annotation), *bounds])


def _bounds(meta: Any) -> Iterator[str]:
    for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        if getattr(meta, name, None) is not None:
            yield f"{sign} {getattr(meta, name)}"


_PLAIN_NAMES = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "true, false",
    "dict": "mapping",
}


def _type_name(kind: Any) -> str:
    arguments = [part for part in typing.get_args(kind) if part is not types.NoneType]
    match typing.get_origin(kind):
        case typing.Literal:
            return ", ".join(f"`{value}`" for value in arguments)
        case types.UnionType | typing.Union:
            return ", ".join(_type_name(part) for part in arguments)
        case typing.Annotated:
            return _type_name(arguments[0])
        case builtins.list:
            return f"list of {_type_name(arguments[0])}"
    if hasattr(kind, "model_fields"):
        return f"{{{', '.join(kind.model_fields)}}}"
    return _PLAIN_NAMES[kind.__name__]


def main() -> None:
    """Writes the page."""
    PATH.write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
