"""The settings of a study: images, named splits, and the arms that are compared on them."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from components.names import TEST, VAL
from components.paths import LocalPath
from components.section import PositiveCount, Section, matching
from components.trainer.settings import TrainerSettings
from pipeline.kubeflow.settings import Kubeflow
from pipeline.settings import (
    Beam,
    ImageSettings,
    Settings,
    SettingsError,
    load_settings,
    parse_as,
    preset_names,
    read,
    settings_file,
)

PRESETS_DIR = Path(__file__).parent / "presets"

ArmName = Annotated[
    str,
    matching(
        r"[a-z0-9][a-z0-9_.-]{0,62}",
        "up to 63 lower case letters, digits, _, . and -, the first a letter or a digit",
    ),
]


class Arm(Section):
    """One way to train, and what it is judged on."""

    name: ArmName = Field(description="What the report calls it.")
    train: str = Field(description="The split that it learns from.")
    val: str = Field(
        default=VAL, description="The split that it is watched on and its threshold chosen on."
    )
    test: list[str] = Field(
        default=[TEST], min_length=1, description="The splits that it is judged on."
    )
    trainer: dict[str, Any] = Field(
        default={}, description="What is other than in the study's section trainer."
    )


class StudySettings(ImageSettings):
    """One study: arms by replicates, on one data set."""

    arms: list[Arm] = Field(min_length=1, description="The ways to train that are compared.")
    replicates: PositiveCount = Field(
        default=10, description="Trainings of each arm, by a seed each."
    )
    baseline: str | None = Field(
        default=None, description="The arm that the others are compared with; null: the first."
    )
    comparisons: Literal["all", "baseline"] = Field(
        default="all", description="Which pairs are compared: all, or each arm with the baseline."
    )
    feature_store: LocalPath | None = Field(
        default=None, description="Folder that keeps features for all runs; null: OUTPUT/features."
    )
    beam: Beam = Beam()
    kubeflow: Kubeflow | None = None

    @model_validator(mode="after")
    def _arms_are_sound(self) -> Self:
        names = Counter(arm.name for arm in self.arms)
        twice = sorted(name for name, count in names.items() if count > 1)
        if twice:
            raise ValueError(f"two arms are named {twice[0]!r}; give each a name of its own")
        if self.baseline is not None and self.baseline not in names:
            raise ValueError(f"baseline: no arm {self.baseline!r}; there are {sorted(names)}")
        for arm in self.arms:
            self._check_splits(arm)
            self.trainer_of(arm)
        return self

    def _check_splits(self, arm: Arm) -> None:
        known = self.sampler.splits
        named = [("train", arm.train), ("val", arm.val), *(("test", split) for split in arm.test)]
        for key, split in named:
            if split not in known:
                raise ValueError(
                    f"arm {arm.name!r}: {key} names split {split!r}, which sampler.splits does "
                    f"not; there are {sorted(known)}"
                )
        if arm.train in (arm.val, *arm.test):
            raise ValueError(
                f"arm {arm.name!r} would be judged on {arm.train!r}, the split that it learns from"
            )
        if arm.val in arm.test:
            raise ValueError(
                f"arm {arm.name!r} would be judged on {arm.val!r}, the split that its threshold "
                "is chosen on"
            )

    def trainer_of(self, arm: Arm) -> TrainerSettings:
        """The trainer's settings of an arm: the study's, with the arm's own in their place.

        Raises:
          ValueError: the arm's are not settings of a trainer.
        """
        try:
            return TrainerSettings.model_validate({**self.trainer.model_dump(), **arm.trainer})
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise ValueError(
                f"arm {arm.name!r}: trainer.{key}: {first['msg']}; found {first['input']!r}; "
                f"there are: {', '.join(sorted(TrainerSettings.model_fields))}"
            ) from error

    @property
    def baseline_name(self) -> str:
        """The arm that the others are compared with."""
        return self.baseline or self.arms[0].name


AnySettings = Settings | StudySettings
"""Of the main job or of a study."""


def load_study(
    preset: str | None,
    path: str | Path | None,
    overrides: Sequence[str] = (),
    *,
    scale: float = 1.0,
) -> StudySettings:
    """A study's settings from a preset or a file.

    Args:
      preset: name of one that comes with the project.
      path: of a YAML file; one of both must be given.
      overrides: such as `replicates=3`; the value is read as YAML.
      scale: what every number of images in `sampler.splits` is multiplied by.

    Raises:
      SettingsError: a value is not allowed, or the scale leaves a split without positives.
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
        raise SettingsError(f"{error}\n  raise --scale, or the split's numbers") from error


def load_any(
    preset: str | None, path: str | Path | None, overrides: Sequence[str] | None
) -> AnySettings:
    """A pipeline's settings, or a study's where the file has `arms`.

    Raises:
      SettingsError: not exactly one of preset and path is given, or a value is not allowed.
    """
    if path is not None and preset is None and "arms" in read(settings_file(None, path)):
        return load_study(None, path, overrides or ())
    return load_settings(preset, path, overrides)


def study_presets() -> list[str]:
    """The studies that come with the project, sorted."""
    return preset_names(PRESETS_DIR)


def scaled_splits(splits: Mapping[str, Mapping[str, Any]], scale: float) -> dict[str, Any]:
    """The splits with each number of images multiplied; fractions and ratios stay.

    Args:
      splits: as in `sampler.splits`.
      scale: above 0.

    Raises:
      SettingsError: the scale is not above 0 and finite.
    """
    if not 0 < scale < math.inf:
        raise SettingsError(f"--scale wants a number above 0; found {scale:g}")
    return {
        split: {key: _scaled(size, scale) for key, size in sizes.items()}
        for split, sizes in splits.items()
    }


def _scaled(size: Any, scale: float) -> Any:
    whole = isinstance(size, int) and not isinstance(size, bool)
    return math.floor(size * scale + 0.5) if whole else size
