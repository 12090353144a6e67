"""The settings of a pipeline: one typed YAML file; a wrong key or value is named by its path."""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from components import paths
from components.evaluator import gates as gate_rules
from components.image_example_gen.contents import Verify
from components.image_example_gen.sources import check_class
from components.imbalance_sampler.census import validate_prevalence
from components.imbalance_sampler.request import (
    DEFAULT_DISTANCE,
    NEGATIVE,
    POSITIVE,
    check_max_distance,
    parse_request,
    validate_splits,
)
from components.names import TEST, TEXT_FEATURES, TRAIN, VAL
from components.paths import LocalPath, SourcePath
from components.section import (
    ComposedKeys,
    Count,
    DataName,
    Fraction,
    PositiveCount,
    Section,
    WholeNumber,
    matching,
)
from components.spelling import composed
from components.trainer.settings import TrainerSettings
from pipeline import yaml_text
from pipeline.kubeflow.settings import Kubeflow

IN_PROCESS_RUNNER = "FnApiRunner"
PRESETS_DIR = Path(__file__).parent / "presets"
# A union reports a fault for each member, whose name then stands in the fault's path.
_UNION_MEMBER = re.compile(r"literal\[.*\]|ClassWeight|Mixture")

Name = Annotated[
    str,
    matching(
        r"[a-z][a-z0-9-]{0,61}[a-z0-9]",
        "2 to 63 lower case letters, digits and -, the first a letter and the last no -",
    ),
]


class SettingsError(ValueError):
    """Settings that can't be used; the message names the key, the value and what is allowed."""


class Tree(dict[str, Any]):
    """Settings as YAML, not yet checked.

    Attributes:
      advice: for each value that YAML doesn't read as text, by its path, what to do if text
        was meant.
    """

    def __init__(self, values: Mapping[str, Any], advice: Mapping[yaml_text.Path, str]):
        super().__init__(_copy(values))
        self.advice = dict(advice)

    def advise(self, path: yaml_text.Path, document: yaml_text.Document) -> None:
        """Takes on the advice of a document that has been put at `path`."""
        kept = {key: hint for key, hint in self.advice.items() if key[: len(path)] != path}
        given = {(*path, *below): hint for below, hint in document.advice.items()}
        self.advice = kept | given


class Data(Section):
    """Where the photographs are and what is refused on the way in."""

    source: SourcePath = Field(
        description="Folder with a folder a class, or the root of a manifest's paths."
    )
    manifest: SourcePath | None = Field(
        default=None, description="CSV or JSON lines with uri, label and any slice columns."
    )
    positive_class: DataName = Field(description="The class that is looked for.")
    slices: list[DataName] = Field(default=[], description="Manifest columns to slice metrics by.")
    max_side: Count = Field(
        default=0, description="Longest side in pixels of a stored image; 0 keeps the size."
    )
    max_bad_fraction: Fraction = Field(
        default=0.01, description="Share of refused images above which the run stops."
    )
    max_pixels: PositiveCount = Field(
        default=50_000_000, description="Pixels above which an image is refused undecoded."
    )
    verify: Verify = Field(
        default="heads",
        description=(
            "What a changed image is known by, beside its size and time: heads: the first 64 KiB "
            "of a local file; content: all of it, and in buckets the store's checksum."
        ),
    )


class Population(Section):
    """The balance of the real world, at which the model will work."""

    prevalence: Annotated[dict[str, Annotated[float, Field(gt=0)]] | None, ComposedKeys] = Field(
        default=None,
        description="Parts, such as {cats: 10, dogs: 1}; null: as in the data.",
    )


class NearDuplicates(Section):
    """Which images resemble one another so much that they stay in one split."""

    max_distance: WholeNumber = Field(
        default=DEFAULT_DISTANCE,
        description=(
            "Bits in which perceptual hashes differ at most, up to 8; 0, as for a fixed camera: "
            "only images of the same bytes are duplicates."
        ),
    )

    @field_validator("max_distance")
    @classmethod
    def _is_told_by_hashes(cls, max_distance: int) -> int:
        return check_max_distance(max_distance)


class Sampler(Section):
    """Which images go to which split, and how many."""

    random_state: int = Field(default=42, description="The seed of the assignment.")
    assignment: Literal["exact", "stable"] = Field(
        default="exact",
        description="stable: an image once in train is never in test, however the data grows.",
    )
    group_by: DataName | None = Field(
        default=None, description="Column whose images must stay together in one split."
    )
    near_duplicates: NearDuplicates = NearDuplicates()
    keep_rest: bool = Field(
        default=False, description="Write the images left over as split 'rest'."
    )
    ledger: SourcePath | None = Field(
        default=None,
        description=(
            "For stable: the file that carries a draw on to the next; null: "
            "OUTPUT/ledgers/NAME.ledger, on a cluster below the pipeline root."
        ),
    )
    splits: Annotated[dict[str, dict[str, Any]], ComposedKeys] = Field(
        description="Counts or fractions a class for each split, or {total, ratio}."
    )


class Calibrator(Section):
    """How the operating point is chosen on val, which is weighed to the population's balance."""

    rule: Literal["best_f1", "recall_at_precision", "fixed"] = Field(
        default="best_f1", description="What the threshold is chosen for."
    )
    precision_floor: Fraction = Field(
        default=0.9, description="Least precision on val so weighed, for recall_at_precision."
    )
    threshold: Fraction = Field(default=0.5, description="The threshold, for fixed.")


class Evaluator(Section):
    """What is measured on test, and the bounds that bless a model."""

    slices: list[list[DataName]] = Field(default=[], description="Crosses of slice columns.")
    gates: list[str] = Field(
        default=[], description='Bounds such as "recall >= 0.90" or "anomalies <= 0".'
    )

    @field_validator("gates")
    @classmethod
    def _gates_parse(cls, gates: list[str]) -> list[str]:
        gate_rules.parse_all(gates)
        return gates


class Pusher(Section):
    """Where a blessed model goes."""

    registry: LocalPath | None = Field(
        default=None, description="Folder of numbered versions; null: OUTPUT/registry."
    )


class Beam(Section):
    """The runner of the Beam components."""

    runner: str = Field(
        default=IN_PROCESS_RUNNER,
        description="In process; or any of Beam's, such as FlinkRunner.",
    )
    options: list[str] = Field(default=[], description='Such as ["--direct_num_workers=2"].')

    @field_validator("options")
    @classmethod
    def _runner_is_not_among_them(cls, options: list[str]) -> list[str]:
        if any(option.partition("=")[0] == "--runner" for option in options):
            raise ValueError("--runner would take the place of beam.runner; set that")
        return options


class ImageSettings(Section):
    """What a pipeline and a study have in common: images, splits of them, and a trainer."""

    name: Name = Field(description="Lower case letters, digits and -, as Kubernetes wants it.")
    data: Data
    population: Population = Population()
    sampler: Sampler
    trainer: TrainerSettings = TrainerSettings()

    @model_validator(mode="after")
    def _prevalence_weighs_both_sides(self) -> Self:
        positive_class = self.data.positive_class
        if (known := self.class_names()) is not None:
            check_class(positive_class, known, asked="data.positive_class")
        if self.population.prevalence is not None:
            validate_prevalence(self.population.prevalence, positive_class=positive_class)
        return self

    @model_validator(mode="after")
    def _splits_are_sound(self) -> Self:
        splits = self.sampler.splits
        request = parse_request(splits, assignment=self.sampler.assignment)
        requested = {size.key for split in request.splits for size in split.sizes}
        if POSITIVE not in requested:
            check_class(self.data.positive_class, requested, asked="data.positive_class")
        validate_splits(
            splits,
            positive_class=self.data.positive_class,
            assignment=self.sampler.assignment,
            classes=self.class_names(),
        )
        return self

    @model_validator(mode="after")
    def _group_is_a_column(self) -> Self:
        column = self.sampler.group_by
        if column is not None and column not in (*self.data.slices, *TEXT_FEATURES):
            raise ValueError(
                f"sampler.group_by names {column!r}, which data.slices does not: "
                f"{self.data.slices}; add it there"
            )
        return self

    def class_names(self) -> frozenset[str] | None:
        """Every class there may be; None where the settings name no more than the two sides."""
        weighed = frozenset(self.population.prevalence or {POSITIVE})
        return None if weighed & {POSITIVE, NEGATIVE} else weighed


class Settings(ImageSettings):
    """One pipeline, from the photographs to the pushed model."""

    calibrator: Calibrator = Calibrator()
    evaluator: Evaluator = Evaluator()
    pusher: Pusher = Pusher()
    beam: Beam = Beam()
    kubeflow: Kubeflow | None = None

    @model_validator(mode="after")
    def _every_component_has_its_split(self) -> Self:
        splits = self.sampler.splits
        missing = [name for name in (TRAIN, VAL, TEST) if name not in splits]
        if missing:
            raise ValueError(f"sampler.splits lacks {', '.join(missing)}; found {sorted(splits)}")
        return self

    @model_validator(mode="after")
    def _slices_are_columns(self) -> "Settings":
        for column in (column for cross in self.evaluator.slices for column in cross):
            if column not in self.data.slices:
                raise ValueError(
                    f"evaluator.slices names {column!r}, which data.slices does not: "
                    f"{self.data.slices}; add it there"
                )
        return self


def preset_names(folder: Path = PRESETS_DIR) -> list[str]:
    """The presets that come with the project, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


Kind = TypeVar("Kind", bound=Section)


def load(path: Path, overrides: Sequence[str] = ()) -> Settings:
    """Reads a pipeline's settings file and applies `key=value` overrides.

    Args:
      path: a YAML file.
      overrides: such as `trainer.model=xception`; the value is read as YAML.

    Raises:
      SettingsError: the file can't be read or a value is not allowed.
    """
    return parse(read(path, overrides), origin=str(path))


def load_settings(
    preset: str | None, path: str | Path | None, overrides: Sequence[str] | None
) -> Settings:
    """The settings that the options ask for.

    Raises:
      SettingsError: not exactly one of preset and path is given, or a value is not allowed.
    """
    return load(settings_file(preset, path), overrides or ())


def settings_file(preset: str | None, path: str | Path | None, presets: Path = PRESETS_DIR) -> Path:
    """The settings file that the options `--preset` and `--settings` ask for.

    Args:
      preset: name of one that comes with the project.
      path: of a YAML file of the user's own.
      presets: the folder of the presets.

    Raises:
      SettingsError: not exactly one of preset and path is given, or it can't be used.
    """
    if preset is not None and path is None:
        return preset_path(preset, presets)
    if path is None or preset is not None:
        raise SettingsError("give one of --preset and --settings")
    try:
        return paths.given("--settings", path)
    except paths.PathError as error:
        raise SettingsError(str(error)) from error


def read(path: Path, overrides: Sequence[str] = ()) -> Tree:
    """The tree of a settings file with its overrides, not yet checked.

    Raises:
      SettingsError: the file can't be read, or an override has no place in it.
    """
    return apply_overrides(_read_yaml(path), overrides)


def preset_path(name: str, folder: Path = PRESETS_DIR) -> Path:
    """The settings file of a preset.

    Raises:
      SettingsError: there is no such preset; the nearest name is suggested.
    """
    known = preset_names(folder)
    if name not in known:
        raise SettingsError(
            f"no preset {name!r}{_nearest(name, known)}; there are: {', '.join(known)}"
        )
    return folder / f"{name}.yaml"


def apply_overrides(tree: Mapping[str, Any], overrides: Sequence[str]) -> Tree:
    """A copy of `tree` in which each `a.b=value` is set.

    Raises:
      SettingsError: an override is not of that form, its path runs through a plain value, or
        a later one discards it.
    """
    result = Tree(tree, getattr(tree, "advice", {}))
    given: dict[yaml_text.Path, str] = {}
    for override in overrides:
        path, text = _split_override(override)
        _check_not_discarded(given, path, text)
        given[path] = text
        document = _parse_yaml(text, origin=f"--set {override}")
        _set(result, path, document.value)
        result.advise(path, document)
        if () in document.advice:  # the shell would take away a pair of quotes
            result.advice[path] += f": --set '{'.'.join(path)}=\"{text.strip()}\"'"
    return result


def _split_override(override: str) -> tuple[yaml_text.Path, str]:
    key, separator, text = override.partition("=")
    key = composed(key)
    if not separator or not re.fullmatch(r"[\w-]+(\.[\w-]+)*", key.strip()):
        raise SettingsError(
            f"--set must be key=value, such as trainer.epochs=5. Received: {override!r}"
        )
    return tuple(key.strip().split(".")), text


def _check_not_discarded(
    given: Mapping[yaml_text.Path, str], path: yaml_text.Path, text: str
) -> None:
    for earlier, value in given.items():
        if earlier[: len(path)] == path and (earlier, value) != (path, text):
            raise SettingsError(
                f"--set {'.'.join(path)}={text} would discard --set {'.'.join(earlier)}={value}, "
                "which is given before it; leave one of them out"
            )


def parse(tree: Mapping[str, Any], *, origin: str) -> Settings:
    """A pipeline's settings from a parsed YAML tree.

    Raises: as `parse_as`.
    """
    return parse_as(Settings, tree, origin=origin)


def parse_as(kind: type[Kind], tree: Mapping[str, Any], *, origin: str) -> Kind:
    """Settings of any kind from a parsed YAML tree.

    Raises:
      SettingsError: a key or value is not allowed; every fault is named, a line each.
    """
    advice = getattr(tree, "advice", {})
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        faults = "\n".join(f"  {_fault(kind, details, advice)}" for details in error.errors())
        raise SettingsError(f"{origin}: settings that can't be used\n{faults}") from error


def _fault(
    kind: type[BaseModel], details: ErrorDetails, advice: Mapping[yaml_text.Path, str]
) -> str:
    path = [str(part) for part in details["loc"] if not _UNION_MEMBER.fullmatch(str(part))]
    key = ".".join(path)
    if details["type"] == "extra_forbidden":
        known = _known_keys(kind, path[:-1])
        return f"{key}: no such setting{_nearest(path[-1], known)}; there are: {', '.join(known)}"
    if details["type"] == "missing":
        return f"{key}: is required"
    if details["type"] == "string_type" and (hint := advice.get(tuple(path))):
        return f"{key}: {hint}"
    message = details["msg"].removeprefix("Value error, ")
    if not key:
        return message
    return f"{key}: {message}; found {details['input']!r}"


def _known_keys(kind: type[BaseModel], path: Sequence[str]) -> list[str]:
    for part in path:
        if part.isdigit():  # a place in a list, of whose kind the field told already
            continue
        field = kind.model_fields.get(part)
        inner = section_of(field.annotation) if field else None
        if inner is None:
            return []
        kind = inner
    return sorted(kind.model_fields)


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, be it optional or in a list; None for a plain value."""
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _read_yaml(path: Path) -> Tree:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # a name with a null character; not UTF-8
        raise SettingsError(f"the settings file {path} can't be read: {error}") from error
    document = _parse_yaml(text, origin=str(path))
    if not isinstance(document.value, dict):
        raise SettingsError(f"{path} must hold a mapping of settings. Received: {text!r:.60}")
    return Tree(document.value, document.advice)


def _parse_yaml(text: str, *, origin: str) -> yaml_text.Document:
    try:
        return yaml_text.load(text)
    except yaml_text.YamlError as error:
        raise SettingsError(f"{origin}: {error}") from error


def _set(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        child = tree.setdefault(part, {})
        if not isinstance(child, dict):
            raise SettingsError(
                f"--set {'.'.join(path)}: {part} holds {child!r}, which has no keys"
            )
        tree = child
    tree[path[-1]] = value


def _copy(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _copy(v) if isinstance(v, Mapping) else v for k, v in tree.items()}
