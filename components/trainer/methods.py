"""Settings of the methods against imbalance, and which of them can be combined.

Imports neither TensorFlow nor TFX.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from components.section import Number, Section

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
