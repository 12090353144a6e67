"""The settings of a study: images, named splits, and the arms to compare."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from components.imbalance_sampler.request import POSITIVE, check_draws, parse_request
from components.names import TEST, VAL
from components.notifications.settings import Notifications
from components.paths import LocalPath
from components.section import PositiveCount, Section, matching
from components.trainer.settings import TrainerSettings
from pipeline.kubeflow.settings import Kubeflow
from pipeline.settings import (
    Beam,
    Costs,
    ImageSettings,
    Settings,
    SettingsError,
    error_message,
    load_settings,
    parse_as,
    preset_names,
    read,
    settings_file,
)

BASELINE = "baseline"
MAX_DRAWS = 1000
CURVE = "curve"
"""Name of the training of a learning curve."""

PRESETS_DIR = Path(__file__).parent / "presets"

ArmName = Annotated[
    str,
    matching(
        r"[a-z0-9][a-z0-9_.-]{0,62}",
        "up to 63 lower-case letters, digits, _, . and -, starting with a letter or a digit",
    ),
]


class Arm(Section):
    """One way to train, and the splits to evaluate it on."""

    name: ArmName = Field(description="Name in the report.")
    train: str = Field(description="Training split.")
    val: str = Field(
        default=VAL, description="Split for validation and for choosing the threshold."
    )
    test: list[str] = Field(default=[TEST], min_length=1, description="Splits for the evaluation.")
    trainer: dict[str, Any] = Field(
        default={}, description="Overrides of the study's trainer settings."
    )
    baseline: str | None = Field(
        default=None,
        description=(
            "Arm that this one is compared with, instead of the study's baseline, with "
            "comparisons: baseline."
        ),
    )


class Replicates(Section):
    """Trainings of each arm: with several seeds, on several draws of the splits."""

    seeds: PositiveCount = Field(default=10, description="Trainings on each draw of the splits.")
    splits: Annotated[PositiveCount, Field(le=MAX_DRAWS)] = Field(
        default=1, description="Draws of the splits, each from all images, with its own seed."
    )


class Curve(Section):
    """An arm trained on parts of its training split, smaller ones within the larger ones."""

    arm: str | None = Field(
        default=None, description="Arm whose splits and trainer settings are used; null: baseline."
    )
    positives: list[PositiveCount] = Field(
        default=[], description="Numbers of positives, with all others of the training split."
    )
    negatives: list[PositiveCount] = Field(
        default=[], description="Numbers of others, with all positives of the training split."
    )
    balanced: bool = Field(
        default=True, description="Also each number of positives with as many others."
    )

    @model_validator(mode="after")
    def _has_points(self) -> Self:
        if not self.positives and not self.negatives:
            raise ValueError(
                "curve must have numbers in positives or negatives, such as {positives: [10, 20, "
                "50, 100]}. Received: neither"
            )
        return self

    def numbers(self) -> dict[str, list[tuple[int | None, int | None]]]:
        """Returns the positives and others of each training, by series; None: all of the split."""
        found: dict[str, list[tuple[int | None, int | None]]] = {}
        if self.positives:
            found["positives"] = [(count, None) for count in sorted(set(self.positives))]
        if self.negatives:
            found["negatives"] = [(None, count) for count in sorted(set(self.negatives))]
        if self.positives and self.balanced:
            found["balanced"] = [(count, count) for count in sorted(set(self.positives))]
        return found


def _member(replicates: Any) -> str:
    """Returns the tag of the type that is meant, so that an error is of that type alone."""
    return "Replicates" if isinstance(replicates, Mapping | Replicates) else "Count"


class StudySettings(ImageSettings):
    """One study: arms with replicates, on one data set."""

    arms: list[Arm] = Field(min_length=1, description="Ways to train that are compared.")
    replicates: Annotated[
        Annotated[PositiveCount, Tag("Count")] | Annotated[Replicates, Tag("Replicates")],
        Discriminator(_member),
    ] = Field(
        default=10,
        description=(
            "Trainings of each arm: a number of seeds, on one draw of the splits, or `{seeds, "
            "splits}`, to draw the splits several times, each time from all images."
        ),
    )
    curve: Curve | None = Field(
        default=None,
        exclude_if=lambda curve: curve is None,
        description="A learning curve over the numbers of positives and others to train on.",
    )
    baseline: str | None = Field(
        default=None, description="Arm that the others are compared with; null: the first."
    )
    comparisons: Literal["all", "baseline"] = Field(
        default="all",
        description="Pairs to compare, at the population's prevalence if it is set: all, or each "
        "arm with the baseline.",
    )
    feature_store: LocalPath | None = Field(
        default=None, description="Folder of features for all runs; null: OUTPUT/features."
    )
    costs: Costs | None = Field(
        default=None,
        description="Costs of wrong decisions, for the expected cost of each arm; null: both 1.",
    )
    notifications: Notifications = Field(default=Notifications(), exclude_if=Notifications.is_off)
    beam: Beam = Beam()
    kubeflow: Kubeflow | None = None

    @model_validator(mode="after")
    def _arms_are_valid(self) -> Self:
        names = Counter(arm.name for arm in self.arms)
        twice = sorted(name for name, count in names.items() if count > 1)
        if twice:
            raise ValueError(f"names of arms must be unique. Received: {twice[0]!r} repeatedly")
        if self.baseline is not None and self.baseline not in names:
            raise ValueError(
                f"baseline must be one of the arms: {sorted(names)}. Received: {self.baseline!r}"
            )
        for arm in self.arms:
            self._check_splits(arm)
            self._check_baseline(arm)
            trainer = self.trainer_of(arm)
            try:
                self.check_resampling(trainer, arm.train)
            except ValueError as error:
                raise ValueError(f"arm {arm.name!r}: {error}") from error
            if trainer.warm_start is not None:
                raise ValueError(
                    f"arm {arm.name!r}: trainer.warm_start must be null in a study, whose arms are "
                    "compared from the same start. Received: 'champion'"
                )
        self._check_curve()
        check_draws(
            self.repeats.splits,
            assignment=self.sampler.assignment,
            keep_rest=self.sampler.keep_rest,
        )
        return self

    def _check_splits(self, arm: Arm) -> None:
        known = self.sampler.splits
        named = [("train", arm.train), ("val", arm.val), *(("test", split) for split in arm.test)]
        for key, split in named:
            if split not in known:
                raise ValueError(
                    f"arm {arm.name!r}: {key} must be one of sampler.splits: {sorted(known)}. "
                    f"Received: {split!r}"
                )
        if arm.train in (arm.val, *arm.test):
            raise ValueError(
                f"arm {arm.name!r}: val and test must not contain {arm.train!r}, its training "
                f"split. Received: val {arm.val!r}, test {arm.test}"
            )
        if arm.val in arm.test:
            raise ValueError(
                f"arm {arm.name!r}: test must not contain {arm.val!r}, the split for choosing its "
                f"threshold. Received: {arm.test}"
            )

    def _check_baseline(self, arm: Arm) -> None:
        others = sorted(each.name for each in self.arms if each is not arm)
        if arm.baseline is not None and arm.baseline not in others:
            raise ValueError(
                f"arm {arm.name!r}: baseline must be one of the other arms: {others}. "
                f"Received: {arm.baseline!r}"
            )
        if arm.baseline is not None and self.comparisons != BASELINE:
            raise ValueError(
                f"arm {arm.name!r}: baseline requires comparisons: baseline. "
                f"Received: {self.comparisons!r}"
            )

    def _check_curve(self) -> None:
        if self.curve is None:
            return
        known = [arm.name for arm in self.arms]
        if self.curve.arm is not None and self.curve.arm not in known:
            raise ValueError(
                f"curve.arm must be one of the arms: {sorted(known)}. Received: {self.curve.arm!r}"
            )
        if CURVE in known:
            raise ValueError(
                f"an arm must not be named {CURVE!r}, the name of the learning curve's training"
            )
        split = self.curve_arm.train
        for points in self.curve.numbers().values():
            for counts in points:
                for side, count in zip(("positives", "negatives"), counts, strict=True):
                    self._check_enough(split, side, count)

    def _check_enough(self, split: str, side: str, asked: int | None) -> None:
        """Refuses a number above the training split's, if that doesn't depend on the data."""
        request = {each.name: each for each in parse_request(self.sampler.splits).splits}[split]
        positive = {POSITIVE, self.data.positive_class}
        sizes = [
            size.amount for size in request.sizes if (size.key in positive) == (side == "positives")
        ]
        if asked is None or any(isinstance(size, Fraction) for size in sizes):
            return
        if asked > (there := int(sum(sizes))):
            hint = f"lower curve.{side}"
            if side == "negatives" and asked not in (self.curve.negatives if self.curve else ()):
                hint = "lower curve.positives, set curve.balanced to false"
            raise ValueError(
                f"the curve asks for {asked:,} {side}, {asked - there:,} more than the {there:,} "
                f"of split {split!r}; {hint} or raise the split's count in sampler.splits"
            )

    @property
    def curve_arm(self) -> Arm:
        """The arm of the learning curve."""
        name = (self.curve and self.curve.arm) or self.baseline_name
        return next(arm for arm in self.arms if arm.name == name)

    def trainer_of(self, arm: Arm) -> TrainerSettings:
        """Returns the trainer settings of an arm: the study's, overridden by the arm's.

        Raises:
          ValueError: the overrides are not valid trainer settings.
        """
        try:
            return TrainerSettings.model_validate({**self.trainer.model_dump(), **arm.trainer})
        except ValidationError as error:
            first = error.errors()[0]
            section = "trainer." if first["loc"] else ""
            message = error_message(TrainerSettings, first, {})
            raise ValueError(f"arm {arm.name!r}: {section}{message}") from error

    @property
    def repeats(self) -> Replicates:
        """The numbers of seeds and of draws of the splits."""
        if isinstance(self.replicates, Replicates):
            return self.replicates
        return Replicates(seeds=self.replicates)

    @property
    def baseline_name(self) -> str:
        """The name of the arm that the others are compared with."""
        return self.baseline or self.arms[0].name

    @property
    def compared(self) -> str | list[tuple[str, str]]:
        """The comparisons: `all`, `baseline`, or pairs if an arm has a baseline of its own."""
        if all(arm.baseline is None for arm in self.arms):
            return self.comparisons
        pairs = [(arm.name, arm.baseline or self.baseline_name) for arm in self.arms]
        return [pair for pair in pairs if pair[0] != pair[1]]


AnySettings = Settings | StudySettings
"""Settings of a pipeline or of a study."""


def load_study(
    preset: str | None,
    path: str | Path | None,
    overrides: Sequence[str] = (),
    *,
    scale: float = 1.0,
) -> StudySettings:
    """Loads the settings of a study from a preset or a file.

    Args:
      preset: name of a built-in study.
      path: of a YAML file; exactly one of preset and path must be given.
      overrides: such as `replicates=3`; the value is parsed as YAML.
      scale: factor for every number of images in `sampler.splits`.

    Raises:
      SettingsError: a value is invalid, or the scale leaves a split without positives.
    """
    path = settings_file(preset, path, PRESETS_DIR)
    tree = read(path, overrides)
    settings = parse_as(StudySettings, tree, origin=str(path))
    if scale == 1:
        return settings
    tree["sampler"]["splits"] = scaled_splits(settings.sampler.splits, scale)
    try:
        return parse_as(StudySettings, tree, origin=f"{path} at --scale {scale:g}")
    except SettingsError as error:
        raise SettingsError(f"{error}\n  increase --scale or the size of the split") from error


def load_any(
    preset: str | None, path: str | Path | None, overrides: Sequence[str] | None
) -> AnySettings:
    """Loads the settings of a pipeline, or of a study if the file has `arms`.

    Raises:
      SettingsError: not exactly one of preset and path is given, or a value is invalid.
    """
    if path is not None and preset is None and "arms" in read(settings_file(None, path)):
        return load_study(None, path, overrides or ())
    return load_settings(preset, path, overrides)


def study_presets() -> list[str]:
    """Returns the sorted names of the built-in studies."""
    return preset_names(PRESETS_DIR)


def scaled_splits(splits: Mapping[str, Mapping[str, Any]], scale: float) -> dict[str, Any]:
    """Multiplies each number of images; fractions and ratios are unchanged.

    Args:
      splits: as in `sampler.splits`.
      scale: above 0.

    Raises:
      SettingsError: the scale is not positive and finite.
    """
    if not 0 < scale < math.inf:
        raise SettingsError(f"--scale must be a number above 0. Received: {scale:g}")
    return {
        split: {key: _scaled(size, scale) for key, size in sizes.items()}
        for split, sizes in splits.items()
    }


def _scaled(size: Any, scale: float) -> Any:
    whole = isinstance(size, int) and not isinstance(size, bool)
    return math.floor(size * scale + 0.5) if whole else size
