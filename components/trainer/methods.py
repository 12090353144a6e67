"""Settings of the methods against imbalance, and which of them can be combined.

Imports neither TensorFlow nor TFX.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from components.section import Number, PositiveCount, Section

if TYPE_CHECKING:
    from components.trainer.settings import TrainerSettings

CROSSENTROPY = "binary_crossentropy"
FOCAL = "focal"
LOGIT_ADJUSTED = "logit_adjusted"
BALANCED_SOFTMAX = "balanced_softmax"
LDAM = "ldam"
_BALANCING_LOSSES = (LOGIT_ADJUSTED, BALANCED_SOFTMAX, LDAM)
"""Losses that depend on the numbers of images of the two sides."""

REPRESENTATIVE = "representative"
BALANCED: Literal["balanced"] = "balanced"
SMOTE: Literal["smote"] = "smote"
BORDERLINE_SMOTE: Literal["borderline_smote"] = "borderline_smote"
LOWER = "lower"


class Ldam(Section):
    """The margins of the loss `ldam`, and its deferred re-weighting."""

    margin: Annotated[Number, Field(gt=0)] = Field(
        default=0.5, description="Margin of the side with fewer images, in log odds."
    )
    reweight_after: Annotated[Number, Field(ge=0, lt=1)] | None = Field(
        default=0.8,
        description="Share of the epochs after which the sides are weighted; null: never.",
    )
    beta: Annotated[Number, Field(ge=0, lt=1)] = Field(
        default=0.9999, description="Base of the effective numbers of images, for the weights."
    )

    def reweights(self, done: int, *, epochs: int) -> bool:
        """Returns whether the sides are weighted in the epoch after `done` of `epochs`."""
        return self.reweight_after is not None and done >= self.reweight_after * epochs


class Smote(Section):
    """New features of the smaller side, between those of its images, by imbalanced-learn."""

    kind: Literal["smote", "borderline_smote"] = Field(
        description="borderline_smote: only from images whose neighbours are mostly of the other."
    )
    ratio: Annotated[Number, Field(gt=0, le=1)] = Field(
        default=1.0, description="Size of the smaller side, divided by that of the larger."
    )
    k_neighbors: PositiveCount = Field(
        default=5, description="Nearest images of its side, with one of which an image is mixed."
    )
    m_neighbors: PositiveCount = Field(
        default=10,
        description="Nearest images of both sides, by which borderline_smote finds the border.",
    )
    few: Literal["error", "lower"] = Field(
        default="error",
        description="With too few images for k_neighbors: an error, or as many as there are.",
    )


def smote_of(strategy: object) -> Smote | None:
    """Returns the settings of a strategy that makes new features; None for another."""
    if isinstance(strategy, Smote):
        return strategy
    named = next((kind for kind in (SMOTE, BORDERLINE_SMOTE) if kind == strategy), None)
    return Smote(kind=named) if named else None


def smote_sizes(counts: Sequence[int], smote: Smote) -> list[int]:
    """Returns the sizes of two sides with the new rows of the smaller, as imbalanced-learn does.

    Args:
      counts: numbers of images of the two sides.
      smote: the settings.
    """
    smaller, larger = sorted(counts)
    smaller += max(0, int(smote.ratio * larger - smaller))
    return [smaller, larger] if counts[0] <= counts[1] else [larger, smaller]


def neighbors(smote: Smote, images: int) -> int:
    """Returns how many neighbours of an image are used.

    Args:
      smote: the settings.
      images: number of images of the smaller side.

    Raises:
      ValueError: there are too few images.
    """
    needed = 2 if smote.few == LOWER else smote.k_neighbors + 1
    if images < needed:
        hint = "" if smote.few == LOWER else ", lower k_neighbors, or set few: lower"
        raise ValueError(
            f"trainer.sampling_strategy {smote.kind!r} with k_neighbors {smote.k_neighbors} "
            f"requires {needed} images of the smaller side in the split to train on; request more "
            f"in sampler.splits{hint}. Received: {images}"
        )
    return min(smote.k_neighbors, images - 1)


def check_images(strategy: object, counts: Sequence[int]) -> None:
    """Checks that a strategy that makes new features can do so from so many images.

    Args:
      strategy: the sampling strategy.
      counts: numbers of images of the two sides.

    Raises:
      ValueError: as `neighbors`.
    """
    smote = smote_of(strategy)
    if smote is not None and smote_sizes(counts, smote) != list(counts):
        neighbors(smote, min(counts))


def ldam_of(settings: "TrainerSettings") -> Ldam | None:
    """Returns the settings of the loss `ldam`; None with another loss."""
    return (settings.ldam or Ldam()) if settings.loss == LDAM else None


def adjustment(settings: "TrainerSettings") -> float:
    """Returns the factor of the log prior odds that the scores lack; 0 without logit adjustment."""
    if settings.loss == BALANCED_SOFTMAX:
        return 1.0
    return settings.tau if LOGIT_ADJUSTED in (settings.loss, settings.post_hoc) else 0.0


def check(settings: "TrainerSettings") -> None:
    """Checks that the methods of a training can be combined.

    Raises:
      ValueError: two can't be; the message names both.
    """
    for message in _contradictions(settings):
        raise ValueError(message)


def _contradictions(settings: "TrainerSettings") -> Iterator[str]:
    yield from _of_losses(settings)
    yield from _of_post_hoc(settings)
    yield from _of_features(settings)
    yield from _of_mixup(settings)
    yield from _of_bagging(settings)


def _of_losses(settings: "TrainerSettings") -> Iterator[str]:
    loss = settings.loss
    if loss in _BALANCING_LOSSES:
        yield from _twice_balanced(settings, f"trainer.loss {loss!r}")
    if settings.ldam is not None and loss != LDAM:
        yield (
            f"trainer.ldam requires trainer.loss {LDAM!r}; set the loss, or trainer.ldam to null. "
            f"Received: {loss!r}"
        )
    if settings.tau != 1 and loss != LOGIT_ADJUSTED and settings.post_hoc is None:
        yield (
            f"trainer.tau requires trainer.loss {LOGIT_ADJUSTED!r} or trainer.post_hoc "
            f"{LOGIT_ADJUSTED!r}; set one of them, or trainer.tau to 1. Received: {settings.tau:g}"
        )


def _of_post_hoc(settings: "TrainerSettings") -> Iterator[str]:
    if settings.post_hoc is None:
        return
    if settings.loss != CROSSENTROPY:
        yield (
            f"trainer.post_hoc can't be combined with trainer.loss {settings.loss!r}: it shifts "
            f"scores that estimate probabilities; set one of them to its default. "
            f"Received: {settings.post_hoc!r}"
        )
    yield from _twice_balanced(settings, f"trainer.post_hoc {settings.post_hoc!r}")


def _of_features(settings: "TrainerSettings") -> Iterator[str]:
    """Yields what keeps a method from features that are computed once per image."""
    methods = []
    if smote := smote_of(settings.sampling_strategy):
        methods.append(f"trainer.sampling_strategy {smote.kind!r}")
    if settings.bagging is not None:
        methods.append("trainer.bagging")
        if settings.head != "pooled":
            yield (
                "trainer.bagging requires trainer.head 'pooled', whose mean over the heads is one "
                f"head; set it, or trainer.bagging to null. Received: {settings.head!r}"
            )
    for method in methods:
        if not settings.trains_on_features:
            yield (
                f"{method} can't be combined with a network that is trained on pixels: it requires "
                "the features of a pretrained model, so trainer.model must not be 'cnn', and "
                "trainer.fine_tune and trainer.augmentation must be false. Received: trainer.model "
                f"{settings.model!r}, trainer.fine_tune {settings.fine_tune}, "
                f"trainer.augmentation {settings.augmentation}"
            )


def _of_mixup(settings: "TrainerSettings") -> Iterator[str]:
    if settings.mixup is None:
        return
    reason = "as a mixed image has no side of its own whose weight or margin it could have"
    if settings.class_weight is not None:
        yield (
            f"trainer.mixup can't be combined with trainer.class_weight, {reason}; set one of them "
            f"to null. Received: {settings.class_weight!r}"
        )
    if settings.loss == LDAM:
        yield (
            f"trainer.mixup can't be combined with trainer.loss {LDAM!r}, {reason}; set one of "
            f"them to its default. Received: {settings.mixup:g}"
        )


def _of_bagging(settings: "TrainerSettings") -> Iterator[str]:
    if settings.bagging is None:
        return
    yield from _twice_balanced(settings, "trainer.bagging")
    if settings.loss in _BALANCING_LOSSES or settings.post_hoc is not None:
        other = (
            f"trainer.loss {settings.loss!r}" if settings.post_hoc is None else "trainer.post_hoc"
        )
        yield (
            f"trainer.bagging can't be combined with {other}, which changes nothing for heads on "
            f"balanced images; set one of them to its default. Received: {settings.bagging}"
        )
    for name in ("early_stopping", "warm_start"):
        if (value := getattr(settings, name)) is not None:
            yield (
                f"trainer.bagging can't be combined with trainer.{name}, as its heads have no "
                f"epoch and no start in common; set one of them to null. Received: {value!r}"
            )


def _twice_balanced(settings: "TrainerSettings", method: str) -> Iterator[str]:
    """Yields what balances the sides in addition to a method that does."""
    reason = "which would balance the sides twice; set one of them to its default"
    if settings.class_weight is not None:
        yield (
            f"{method} can't be combined with trainer.class_weight, {reason}. "
            f"Received: {settings.class_weight!r}"
        )
    if settings.sampling_strategy != REPRESENTATIVE:
        yield (
            f"{method} can't be combined with trainer.sampling_strategy, {reason}. "
            f"Received: {settings.sampling_strategy!r}"
        )
