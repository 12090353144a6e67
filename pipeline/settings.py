"""Settings of a pipeline: a typed YAML file, whose errors name the key by its path."""

import datetime
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from components import paths
from components.calibrator import rules
from components.evaluator import gates as gate_rules
from components.image_example_gen import spans
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
from components.messages import InputError, cut
from components.names import (
    BANDS,
    CLASS_NAME,
    TEST,
    TEXT_FEATURES,
    TRAIN,
    VAL,
    Band,
)
from components.notifications.settings import Notifications
from components.paths import SourcePath
from components.section import (
    ComposedKeys,
    Count,
    DataName,
    Fraction,
    Number,
    PositiveCount,
    Section,
    WholeNumber,
    matching,
)
from components.spelling import composed
from components.tracking.settings import Tracking
from components.trainer import methods
from components.trainer.settings import TrainerSettings
from pipeline import beam_options, yaml_text
from pipeline.beam_options import IN_PROCESS_RUNNER
from pipeline.kubeflow.settings import Kubeflow

PRESETS_DIR = Path(__file__).parent / "presets"
# A union reports an error per member, with the member's name in the error's path.
_UNION_MEMBER = re.compile(r"literal\[.*\]|ClassWeight|Ldam|Mixture|Named|Smote|Count|Replicates")
# Settings of one rule of the Calibrator. The others have a default, or are used by all rules.
_ONLY_WITH_THEIR_RULE = (rules.BETA, rules.RECALL_FLOOR, rules.ALERTS)
# Of a message, in characters.
_LONGEST_LINE = 1000
# Columns in a cross.
_MOST_CROSSED = 2

Name = Annotated[
    str,
    matching(
        r"[a-z][a-z0-9-]{0,61}[a-z0-9]",
        "2 to 63 lower-case letters, digits and -, starting with a letter and not ending in -",
    ),
]


def _as_text(value: Any) -> Any:
    """Returns a number or a date, as YAML reads them, as text."""
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value.isoformat()
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _checked_span(name: str) -> str:
    return spans.parse(name, what="it").name


def _checked_window(value: Any) -> Any:
    """Refuses what is no window in one message, and not in one per kind of window."""
    if isinstance(value, Mapping):
        value = {key: _as_text(each) for key, each in value.items()}
    if not isinstance(value, SpanRange):
        try:
            spans.parse_window(value)
        except spans.SourceError as error:
            raise ValueError(str(error).removeprefix("data.window ")) from error
    return value


class SettingsError(InputError):
    """Invalid settings; the message names the key, the value and what is allowed."""


class Tree(dict[str, Any]):
    """Settings parsed from YAML, not yet validated.

    Attributes:
      advice: what to do if text was meant, by the path of each value that YAML doesn't read as
        text.
    """

    def __init__(self, values: Mapping[str, Any], advice: Mapping[yaml_text.Path, str]):
        super().__init__(_copy(values))
        self.advice = dict(advice)

    def advise(self, path: yaml_text.Path, document: yaml_text.Document) -> None:
        """Replaces the advice at `path` with that of the document that was set there."""
        kept = {key: hint for key, hint in self.advice.items() if key[: len(path)] != path}
        added = {(*path, *below): hint for below, hint in document.advice.items()}
        self.advice = kept | added


Span = Annotated[str, BeforeValidator(_as_text), AfterValidator(_checked_span)]


class SpanRange(Section):
    """The first and the last span to take."""

    first: Span | None = Field(default=None, description="The oldest span to take.")
    last: Span | None = Field(default=None, description="The newest span to take.")


class Data(Section):
    """Where the images are, and which of them are refused."""

    source: SourcePath = Field(
        description=(
            "Folder with one folder per class, or the root of the manifest's paths; {SPAN} stands "
            "for the name of a span of data that grows: a number or a date."
        )
    )
    manifest: SourcePath | None = Field(
        default=None,
        description=(
            "CSV or JSON lines with uri, label and any slice columns; may have {SPAN}, as "
            "the source."
        ),
    )
    span: Span | None = Field(
        default=None,
        description="Newest span to take, such as 7 or 2026-11-27; null: the newest there is.",
    )
    window: Annotated[
        Literal["newest", "all"] | PositiveCount | SpanRange, BeforeValidator(_checked_window)
    ] = Field(
        default="newest",
        description=(
            "Spans to take: newest, all, the newest N, or a range such as {first: 3, last: 7}. "
            "A span that an earlier run has read is not read again."
        ),
    )
    span_column: DataName | None = Field(
        default=None,
        description="Column of the manifest with the span of each image, instead of {SPAN}.",
    )
    allow_gaps: bool = Field(
        default=False,
        description="Allow that a number is missing among the spans. Dates may have gaps.",
    )
    positive_class: DataName = Field(description="The rare class to find.")
    slices: list[DataName] = Field(default=[], description="Manifest columns to slice metrics by.")
    roots: list[SourcePath] = Field(
        default=[],
        description=(
            "More folders and buckets that the manifest and symbolic links may lead to; all others "
            "outside of the source are refused."
        ),
    )
    max_side: Count = Field(
        default=0, description="Longest side in pixels of a stored image; 0 keeps the size."
    )
    max_bad_fraction: Fraction = Field(
        default=0.01, description="Share of refused images above which the run stops."
    )
    max_pixels: PositiveCount = Field(
        default=50_000_000,
        description="Number of pixels above which an image is refused without decoding it.",
    )
    check_digests: bool = Field(
        default=True,
        description=(
            "Check the digest of each file of images and features when a step reads "
            "it, which reads it twice; false: only names, sizes and counts."
        ),
    )
    verify: Verify = Field(
        default="heads",
        description=(
            "How changed local images are detected, in addition to size and time: heads: the "
            "first 64 KiB of a file; content: the whole file. In buckets, the store's checksum is "
            "compared."
        ),
    )

    @property
    def has_spans(self) -> bool:
        """Whether the data consists of spans."""
        return spans.has_spans(self.source, self.manifest) or self.span_column is not None

    def plain_window(self) -> Any:
        """Returns the window as JSON has it."""
        window = self.window
        return window.model_dump(exclude_none=True) if isinstance(window, SpanRange) else window

    def parsed_window(self) -> spans.Window:
        """Returns the window."""
        return spans.parse_window(self.plain_window())

    @model_validator(mode="after")
    def _spans_are_possible(self) -> Self:
        for key, is_set in (("span", self.span), ("window", self.window != spans.NEWEST)):
            if is_set and not self.has_spans:
                raise ValueError(
                    f"{key} requires {spans.PLACEHOLDER} in source or manifest, or span_column. "
                    f"Received: {key} {getattr(self, key)!r} for {self.source}"
                )
        return self


class Population(Section):
    """The class proportions of the real world, in which the model will be used."""

    prevalence: Annotated[dict[str, Annotated[float, Field(gt=0)]] | None, ComposedKeys] = Field(
        default=None,
        description="Class proportions, such as {cats: 10, dogs: 1}; null: as in the data.",
    )


class NearDuplicates(Section):
    """Which images are so similar that they must stay in one split."""

    max_distance: WholeNumber = Field(
        default=DEFAULT_DISTANCE,
        description=(
            "Maximum number of differing bits of the perceptual hashes, up to 8; 0, for example "
            "for a fixed camera: only images with the same bytes are duplicates."
        ),
    )

    @field_validator("max_distance")
    @classmethod
    def _max_distance_is_supported(cls, max_distance: int) -> int:
        return check_max_distance(max_distance)


class Sampler(Section):
    """Which images go to which split, and how many."""

    random_state: int = Field(default=42, description="Seed of the assignment.")
    assignment: Literal["exact", "stable"] = Field(
        default="exact",
        description="stable: an image once in train is never in test, however the data grows.",
    )
    group_by: DataName | None = Field(
        default=None, description="Column whose images must stay together in one split."
    )
    near_duplicates: NearDuplicates = NearDuplicates()
    keep_rest: bool = Field(
        default=False, description="Write the remaining images as split 'rest'."
    )
    ledger: SourcePath | None = Field(
        default=None,
        description=(
            "For stable: the file that records the splits for later runs; null: "
            "OUTPUT/ledgers/NAME.ledger, on a cluster below the pipeline root."
        ),
    )
    splits: Annotated[dict[str, dict[str, Any]], ComposedKeys] = Field(
        description="Counts or fractions per class, for each split; or {total, ratio}."
    )


class Costs(Section):
    """Costs of wrong decisions, in any unit; only their ratio matters for the threshold."""

    missed: Annotated[Number, Field(ge=0)] = Field(
        description="Cost of a positive image that is called negative."
    )
    false_alarm: Annotated[Number, Field(ge=0)] = Field(
        description="Cost of a negative image that is called positive."
    )

    @model_validator(mode="after")
    def _some_decision_costs(self) -> Self:
        if not self.missed and not self.false_alarm:
            raise ValueError("must not both be 0. Received: {missed: 0, false_alarm: 0}")
        return self


class Calibrator(Section):
    """Calibration and operating point, both on val, weighted to the population's prevalence."""

    calibration: Literal["auto", "none", "temperature", "platt", "beta", "isotonic"] = Field(
        default="auto",
        description=(
            "Map from scores to probabilities; auto: chosen by cross-validation; isotonic: with "
            "at least 1,000 positives."
        ),
    )
    rule: Literal[
        "best_f1",
        "best_fbeta",
        "recall_at_precision",
        "precision_at_recall",
        "alerts_per_thousand",
        "expected_cost",
        "fixed",
    ] = Field(default="best_f1", description="Rule by which the threshold is chosen.")
    beta: Annotated[Number, Field(gt=0)] | None = Field(
        default=None,
        description="For best_fbeta: how many times as much recall counts as precision; above 0.",
    )
    precision_floor: Fraction = Field(
        default=0.9, description="Minimum precision on the weighted val, for recall_at_precision."
    )
    recall_floor: Fraction | None = Field(
        default=None, description="Minimum recall on val, 0 to 1, for precision_at_recall."
    )
    alerts: Annotated[Number, Field(gt=0, le=1000)] | None = Field(
        default=None,
        description="For alerts_per_thousand: the most images called positive, per 1,000 images.",
    )
    costs: Costs | None = Field(
        default=None,
        description="For expected_cost; with any other rule, the expected cost is reported.",
    )
    threshold: Fraction = Field(default=0.5, description="Threshold, for fixed.")
    review: Annotated[Number, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description=(
            "Largest share of the population's images that a person reviews: those next to the "
            "threshold."
        ),
    )

    @model_validator(mode="after")
    def _rule_has_its_settings(self) -> Self:
        for rule, key in rules.KEYS.items():
            value = getattr(self, key)
            if self.rule == rule and value is None:
                raise ValueError(f"{key} is required for the rule {rule}. Received: no {key}")
            if self.rule != rule and value is not None and key in _ONLY_WITH_THEIR_RULE:
                raise ValueError(
                    f"{key} requires the rule {rule}; remove it, or change the rule. "
                    f"Received: {key} {value:g} with the rule {self.rule}"
                )
        return self


class Evaluator(Section):
    """What is measured on test, and the gates that a model must pass to be blessed."""

    slices: list[list[DataName]] = Field(
        default=[],
        description="Crosses of two columns: of data.slices, evaluator.bands or class_name.",
    )
    bands: list[Band] = Field(
        default=list(BANDS),
        description=(
            "Measures of the images to slice metrics by, each in three bands that divide all "
            "images in thirds; sharpness is the variance of the Laplacian."
        ),
    )
    gates: list[str] = Field(
        default=[],
        description=(
            'Bounds such as "recall >= 0.90", "precision >= 0.80 at prevalence, lower bound", '
            '"recall >= 0.70 in every breed with at least 30 images" or "anomalies <= 0". Too few '
            'images to tell are a failure, unless a gate ends in "or too few images". Metrics: '
            f"{', '.join(gate_rules.METRICS)}. What may follow the bound: "
            f"{', '.join(gate_rules.ADDITIONS)}."
        ),
    )

    @field_validator("slices")
    @classmethod
    def _slices_cross_two(cls, slices: list[list[str]]) -> list[list[str]]:
        for cross in slices:
            if not 1 <= len(set(cross)) == len(cross) <= _MOST_CROSSED:
                raise ValueError(
                    "must be lists of one column or of two different columns; a cross of more has "
                    f"too few images per slice. Received: {cross}"
                )
        return slices

    @field_validator("bands")
    @classmethod
    def _bands_are_distinct(cls, bands: list[Band]) -> list[Band]:
        if len(set(bands)) < len(bands):
            raise ValueError(f"must name each measure once. Received: {bands}")
        return bands

    @field_validator("gates")
    @classmethod
    def _gates_parse(cls, gates: list[str]) -> list[str]:
        gate_rules.parse_all(gates)
        return gates


class Pusher(Section):
    """Where a blessed model is pushed."""

    registry: SourcePath | None = Field(
        default=None,
        description="Folder of numbered versions, or s3://bucket/folder or gs://bucket/folder; "
        "null: OUTPUT/registry.",
    )


class Beam(Section):
    """The runner of the Beam components."""

    runner: Annotated[str, AfterValidator(beam_options.check_runner)] = Field(
        default=IN_PROCESS_RUNNER,
        description="FnApiRunner (in this process), DirectRunner, PrismRunner, PortableRunner, "
        "FlinkRunner, SparkRunner or DataflowRunner, or the full name of a runner's class.",
    )
    options: list[str] = Field(
        default=[], description='Beam options, such as ["--direct_num_workers=2"].'
    )
    workers: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        default="auto",
        description="Number of processes in which each Beam worker reads the images of "
        "`ImageExampleGen`. `auto`: with `FnApiRunner` one per core, if there are 2,000 images or "
        "more; 1 with other runners, which start several workers themselves.",
    )

    @field_validator("options")
    @classmethod
    def _options_fit_the_runner(cls, options: list[str], found: ValidationInfo) -> list[str]:
        beam_options.check(found.data.get("runner", ""), options)
        return options


class ImageSettings(Section):
    """Settings that a pipeline and a study share: images, splits and a trainer."""

    name: Name = Field(description="Lower-case letters, digits and -, as Kubernetes requires.")
    data: Data
    population: Population = Population()
    sampler: Sampler
    trainer: TrainerSettings = TrainerSettings()

    @model_validator(mode="after")
    def _prevalence_covers_both_sides(self) -> Self:
        positive_class = self.data.positive_class
        if (known := self.class_names()) is not None:
            check_class(positive_class, known, parameter="data.positive_class")
        if self.population.prevalence is not None:
            validate_prevalence(self.population.prevalence, positive_class=positive_class)
        return self

    @model_validator(mode="after")
    def _splits_are_valid(self) -> Self:
        splits = self.sampler.splits
        request = parse_request(splits, assignment=self.sampler.assignment)
        requested = {size.key for split in request.splits for size in split.sizes}
        if POSITIVE not in requested:
            check_class(self.data.positive_class, requested, parameter="data.positive_class")
        validate_splits(
            splits,
            positive_class=self.data.positive_class,
            assignment=self.sampler.assignment,
            classes=self.class_names(),
        )
        return self

    @model_validator(mode="after")
    def _group_is_a_column(self) -> Self:
        column, known = self.sampler.group_by, [*self.data.slices, *TEXT_FEATURES]
        if column is not None and column not in known:
            raise ValueError(
                f"sampler.group_by must be one of {known}; add any other column to data.slices. "
                f"Received: {column!r}"
            )
        return self

    def check_resampling(self, trainer: TrainerSettings, split: str) -> None:
        """Checks that a split has enough images for SMOTE, if the numbers are in the settings.

        Raises:
          ValueError: its smaller side has too few.
        """
        request = parse_request(self.sampler.splits, assignment=self.sampler.assignment)
        sizes = next(each.sizes for each in request.splits if each.name == split)
        counts = [0, 0]
        for size in sizes:
            if not isinstance(size.amount, int):
                return  # the number is known when the images are drawn
            counts[size.key in (POSITIVE, self.data.positive_class)] += size.amount
        methods.check_images(trainer.sampling_strategy, counts)

    def parameters(self) -> dict[str, Any]:
        """Returns, as JSON, the settings that decide what a run does: not who is told of it."""
        return self.model_dump(mode="json", exclude={"notifications"})

    def class_names(self) -> frozenset[str] | None:
        """All classes allowed in the data; None if the settings name only the two sides."""
        named = frozenset(self.population.prevalence or {POSITIVE})
        return None if named & {POSITIVE, NEGATIVE} else named


class Settings(ImageSettings):
    """One pipeline, from the images to the pushed model."""

    calibrator: Calibrator = Calibrator()
    evaluator: Evaluator = Evaluator()
    pusher: Pusher = Pusher()
    # Left out of a run's parameters where it is not used, so that nothing changes for most users.
    tracking: Tracking = Field(default=Tracking(), exclude_if=Tracking.is_off)
    notifications: Notifications = Field(default=Notifications(), exclude_if=Notifications.is_off)
    beam: Beam = Beam()
    kubeflow: Kubeflow | None = None

    @model_validator(mode="after")
    def _every_component_has_its_split(self) -> Self:
        splits = self.sampler.splits
        missing = [name for name in (TRAIN, VAL, TEST) if name not in splits]
        if missing:
            raise ValueError(
                f"sampler.splits must have {TRAIN}, {VAL} and {TEST}; missing: "
                f"{', '.join(missing)}. Received: {sorted(splits)}"
            )
        self.check_resampling(self.trainer, TRAIN)
        return self

    @model_validator(mode="after")
    def _slices_are_columns(self) -> "Settings":
        known = [*self.data.slices, *self.evaluator.bands, CLASS_NAME]
        for column in (column for cross in self.evaluator.slices for column in cross):
            if column not in known:
                raise ValueError(
                    f"evaluator.slices must contain only columns of data.slices, measures of "
                    f"evaluator.bands and {CLASS_NAME}: {known}; add the column to data.slices. "
                    f"Received: {column!r}"
                )
        return self

    @model_validator(mode="after")
    def _gates_are_on_slices(self) -> Self:
        columns = [[name] for name in (CLASS_NAME, *self.data.slices, *self.evaluator.bands)]
        gates = gate_rules.parse_all(self.evaluator.gates)
        gate_rules.check_columns(gates, [*columns, *self.evaluator.slices])
        return self

    @model_validator(mode="after")
    def _gates_on_spans_have_spans(self) -> Self:
        for gate in gate_rules.parse_all(self.evaluator.gates):
            on_span = gate.champion is not None and gate.champion.in_newest_span
            if on_span and not self.data.has_spans:
                raise ValueError(
                    f"{spans.PLACEHOLDER} is required in data.source or data.manifest, or "
                    f"data.span_column, for gate {gate.text!r}, as only images of a span have one. "
                    f"Received: {self.data.source}"
                )
        return self

    @model_validator(mode="after")
    def _costs_of_gates_are_set(self) -> Self:
        for gate in gate_rules.parse_all(self.evaluator.gates):
            if gate.metric == gate_rules.EXPECTED_COST and self.calibrator.costs is None:
                raise ValueError(
                    f"calibrator.costs is required for gate {gate.text!r}; set, for instance, "
                    "{missed: 50, false_alarm: 1}. Received: None"
                )
        return self


def preset_names(folder: Path = PRESETS_DIR) -> list[str]:
    """The names of the built-in presets, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


Kind = TypeVar("Kind", bound=Section)


def load(path: Path, overrides: Sequence[str] = ()) -> Settings:
    """Reads a pipeline's settings file and applies `key=value` overrides.

    Args:
      path: a YAML file.
      overrides: such as `trainer.model=xception`; the value is parsed as YAML.

    Raises:
      SettingsError: the file can't be read or a value is invalid.
    """
    return parse(read(path, overrides), origin=str(path))


def load_settings(
    preset: str | None, path: str | Path | None, overrides: Sequence[str] | None
) -> Settings:
    """Loads a pipeline's settings from a preset or a file.

    Raises:
      SettingsError: not exactly one of preset and path is given, or a value is invalid.
    """
    return load(settings_file(preset, path), overrides or ())


def settings_file(preset: str | None, path: str | Path | None, presets: Path = PRESETS_DIR) -> Path:
    """The settings file that `--preset` or `--settings` names.

    Args:
      preset: name of a built-in preset.
      path: of the user's own YAML file.
      presets: the folder of the presets.

    Raises:
      SettingsError: not exactly one of preset and path is given, or it is invalid.
    """
    if preset is not None and path is None:
        return preset_path(preset, presets)
    if path is None or preset is not None:
        raise SettingsError("exactly one of --preset and --settings is required")
    try:
        return paths.given("--settings", path)
    except paths.PathError as error:
        raise SettingsError(str(error)) from error


def read(path: Path, overrides: Sequence[str] = ()) -> Tree:
    """Reads a settings file and applies overrides, without validating the values.

    Raises:
      SettingsError: the file can't be read, or an override is invalid.
    """
    return apply_overrides(_read_yaml(path), overrides)


def preset_path(name: str, folder: Path = PRESETS_DIR) -> Path:
    """The settings file of a preset.

    Raises:
      SettingsError: the preset does not exist; the nearest name is suggested.
    """
    known = preset_names(folder)
    if name not in known:
        raise SettingsError(
            f"--preset must be one of {', '.join(known)}. Received: {name!r}{_nearest(name, known)}"
        )
    return folder / f"{name}.yaml"


def apply_overrides(tree: Mapping[str, Any], overrides: Sequence[str]) -> Tree:
    """Returns a copy of `tree` in which each `a.b=value` is set.

    Raises:
      SettingsError: an override is not of that form, its path leads through a value without
        keys, or a later override discards it.
    """
    result = Tree(tree, getattr(tree, "advice", {}))
    earlier: dict[yaml_text.Path, str] = {}
    for override in overrides:
        path, text = _split_override(override)
        _check_not_discarded(earlier, path, text)
        earlier[path] = text
        document = _parse_yaml(text, origin=f"--set {override}")
        _set(result, path, document.value)
        result.advise(path, document)
        if () in document.advice:  # the shell would remove one pair of quotes
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
    earlier: Mapping[yaml_text.Path, str], path: yaml_text.Path, text: str
) -> None:
    for key, value in earlier.items():
        if key[: len(path)] == path and (key, value) != (path, text):
            raise SettingsError(
                f"--set {'.'.join(path)}={text} would discard the earlier --set "
                f"{'.'.join(key)}={value}; remove one of them"
            )


def parse(tree: Mapping[str, Any], *, origin: str) -> Settings:
    """Validates a pipeline's settings; raises as `parse_as`."""
    return parse_as(Settings, tree, origin=origin)


def parse_as(kind: type[Kind], tree: Mapping[str, Any], *, origin: str) -> Kind:
    """Validates settings of any kind.

    Args:
      kind: the class of the settings.
      tree: parsed from YAML.
      origin: the file or preset that error messages name.

    Raises:
      SettingsError: a key or value is invalid; the message has one line per error.
    """
    advice = getattr(tree, "advice", {})
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        messages = (error_message(kind, each, advice) for each in error.errors())
        errors = "\n".join(f"  {cut(message, _LONGEST_LINE)}" for message in messages)
        raise SettingsError(f"{origin}: the settings are invalid\n{errors}") from error


def error_message(
    kind: type[BaseModel], details: ErrorDetails, advice: Mapping[yaml_text.Path, str]
) -> str:
    """The message for one of the errors that pydantic reports.

    Args:
      kind: the class that was validated.
      details: the error.
      advice: see `Tree`.
    """
    whole = [str(part) for part in details["loc"]]
    path = [part for part in whole if not _UNION_MEMBER.fullmatch(part)]
    key = ".".join(path)
    if details["type"] == "extra_forbidden":
        known = _known_keys(kind, whole[:-1])
        return f"{key}: no such setting{_nearest(path[-1], known)}; known: {', '.join(known)}"
    if details["type"] == "missing":
        return f"{key}: is required"
    if details["type"] == "string_type" and (hint := advice.get(tuple(path))):
        return f"{key}: {hint}"
    message = details["msg"].removeprefix("Value error, ")
    if not key:
        return message
    return f"{key}: {message}{_received(message, details['input'])}"


def _received(message: str, value: object) -> str:
    """The end of an error message that names the value, unless the message already does."""
    return "" if "Received: " in message else f". Received: {value!r}"


def _known_keys(kind: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The keys of the section at a path, which may name the members of unions."""
    parts, members = iter(path), dict[str, type[BaseModel]]()
    for part in parts:
        if part.isdigit():  # an index: `section_of` has returned the section of the list's items
            continue
        if part in members:
            kind = members[part]
            continue
        field = kind.model_fields.get(part)
        inner = section_of(field.annotation) if field else None
        if field is None or inner is None:
            return []
        if get_origin(field.annotation) is dict:  # of named sections: the name follows
            next(parts, None)
        kind, members = inner, {each.__name__: each for each in sections_of(field.annotation)}
    return sorted(kind.model_fields)


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, also if optional or in a list; None for a plain value."""
    return next(sections_of(annotation), None)


def sections_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections that a field may hold, of which a union has several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for part in get_args(annotation):
        yield from sections_of(part)


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _read_yaml(path: Path) -> Tree:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: a null character in the name; not UTF-8
        raise SettingsError(f"the settings file {path} can't be read: {error}") from error
    document = _parse_yaml(text, origin=str(path))
    if not isinstance(document.value, dict):
        raise SettingsError(f"{path} must contain a mapping of settings. Received: {text!r:.60}")
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
                f"--set {'.'.join(path)}: {part} must be a section with keys. Received: {child!r}"
            )
        tree = child
    tree[path[-1]] = value


def _copy(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _copy(v) if isinstance(v, Mapping) else v for k, v in tree.items()}
