"""The trainer's settings as a typed object. Imports neither TensorFlow nor TFX."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from components.paths import WeightsPath
from components.section import PositiveCount, Section, WholeNumber

# The smallest side at which every layer of Xception has an output.
XCEPTION_MIN_SIZE = 71

PIXEL_RANGES = {"0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0)}
# The range that a model expects: Xception's weights were trained on [-1, 1].
OWN_PIXEL_RANGE = {"cnn": "0..1", "xception": "-1..1"}

Ratio = Annotated[float, Field(gt=0, le=1)]


class ClassWeight(Section):
    """The weight of each side in the loss."""

    positive: Annotated[float, Field(gt=0)] = 1.0
    negative: Annotated[float, Field(gt=0)] = 1.0


class Mixture(Section):
    """First fewer of the larger side, then repetitions of the smaller, each up to a ratio."""

    undersample: Ratio | None = None
    oversample: Ratio | None = None


Strategy = Literal["representative", "balanced", "undersample", "oversample"] | Mixture
"""What an epoch is made of, see `components.trainer.sampling`."""


class TrainerSettings(Section):
    """The model and how it learns."""

    model: Literal["cnn", "xception"] = Field(
        default="cnn", description="The simple CNN, or Xception with a head of its own."
    )
    weights: WeightsPath = Field(
        default="imagenet", description="imagenet, none, or the path of a Keras 3 weights file."
    )
    head: Literal["flatten", "pooled"] = Field(
        default="pooled", description="flatten: the notebook's; pooled: averages over the image."
    )
    image_size: Annotated[WholeNumber, Field(ge=16, le=1024)] = Field(
        default=128, description="Side in pixels to which images are resized."
    )
    input_scale: Literal["auto", "0..1", "-1..1"] = Field(
        default="auto", description="Range of the pixels; auto: the model's own."
    )
    fine_tune: bool = Field(
        default=False, description="Train Xception's last blocks too, once the head has settled."
    )
    sampling_strategy: Strategy = Field(
        default="representative",
        description=(
            "balanced, or undersample: fewer of the larger side; oversample: the smaller side "
            "repeated; or both, up to ratios of the smaller to the larger."
        ),
    )
    class_weight: Literal["balanced"] | ClassWeight | None = Field(
        default=None, description="Weights in the loss; balanced: n / (2 × images of the side)."
    )
    loss: Literal["binary_crossentropy", "focal"] = Field(
        default="binary_crossentropy", description="The loss that is minimised."
    )
    augmentation: bool = Field(
        default=False, description="Random mirrors, zooms and shifts while training."
    )
    epochs: PositiveCount = Field(default=20, description="Passes over the train split, at most.")
    batch_size: PositiveCount = Field(default=16, description="Images per step.")
    learning_rate: Annotated[float, Field(gt=0, le=10)] = Field(
        default=0.001, description="Adam's rate."
    )
    early_stopping: PositiveCount | None = Field(
        default=None, description="Epochs without a better val PR-AUC before training stops."
    )
    reduce_lr_on_plateau: PositiveCount | None = Field(
        default=None, description="Epochs without a better val loss before the rate is cut."
    )
    random_state: int = Field(default=42, description="The seed of weights and batches.")

    @model_validator(mode="after")
    def _model_fits(self) -> Self:
        if self.model == "xception" and self.image_size < XCEPTION_MIN_SIZE:
            raise ValueError(
                f"trainer.image_size must be at least {XCEPTION_MIN_SIZE} for 'xception'. "
                f"Received: {self.image_size}"
            )
        if self.fine_tune and self.model != "xception":
            raise ValueError(
                f"trainer.fine_tune requires a pretrained model, and {self.model!r} is not one; "
                "set trainer.model to 'xception' or trainer.fine_tune to false"
            )
        return self

    @property
    def pixel_range(self) -> tuple[float, float]:
        """Lowest and highest value of a pixel that the model sees."""
        scale = OWN_PIXEL_RANGE[self.model] if self.input_scale == "auto" else self.input_scale
        return PIXEL_RANGES[scale]
