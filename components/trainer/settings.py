"""The trainer's settings as a typed object. Imports neither TensorFlow nor TFX."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Strategy = (
    Literal["representative", "balanced", "undersample", "oversample"] | Mapping[str, float | None]
)
"""What an epoch is made of, see `components.trainer.sampling`."""

# The smallest side that leaves every layer of Xception something to look at.
XCEPTION_MIN_SIZE = 71
# Three poolings halve the side three times.
CNN_MIN_SIZE = 8

PIXEL_RANGES = {"0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0)}
# The range that a model expects: Xception's weights were trained on [-1, 1].
OWN_PIXEL_RANGE = {"cnn": "0..1", "xception": "-1..1"}


@dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """How a model is built and trained.

    Attributes:
      model: `cnn`, the small network of three convolutions, or `xception`, frozen.
      weights: of Xception: `imagenet` (downloaded by Keras), `none` (random), or the path
        of a Keras 3 weights file of `Xception(include_top=False)`.
      head: what sits on Xception: `flatten` (all of the last feature map into 512 units)
        or `pooled` (its average over the image into one unit).
      image_size: side in pixels of the square that every image is resized to.
      input_scale: range of the pixels that the model sees: `0..1`, `-1..1`, or `auto`,
        the model's own.
      fine_tune: whether Xception's last two blocks are trained on after the head.
      sampling_strategy: what an epoch is made of, see `components.trainer.sampling`.
      class_weight: of the loss: None, `balanced`, or {"positive": w, "negative": w}.
      loss: `binary_crossentropy` or `focal`.
      augmentation: whether training images are mirrored, zoomed and shifted at random.
      epochs: passes over an epoch's images, at most.
      batch_size: images a step, over all devices.
      learning_rate: Adam's, at the start.
      early_stopping: epochs without a better PR-AUC on val after which training ends and
        the best epoch's weights are restored; None trains all epochs and keeps the last.
      reduce_lr_on_plateau: epochs without a lower loss on val after which the learning
        rate is divided by ten; None keeps it.
      random_state: seed of the weights, of the order of images and of dropout.
    """

    model: Literal["cnn", "xception"]
    weights: str
    head: Literal["flatten", "pooled"]
    image_size: int
    input_scale: Literal["auto", "0..1", "-1..1"]
    fine_tune: bool
    sampling_strategy: Strategy
    class_weight: Literal["balanced"] | Mapping[str, float] | None
    loss: Literal["binary_crossentropy", "focal"]
    augmentation: bool
    epochs: int
    batch_size: int
    learning_rate: float
    early_stopping: int | None
    reduce_lr_on_plateau: int | None
    random_state: int

    def __post_init__(self) -> None:
        smallest = XCEPTION_MIN_SIZE if self.model == "xception" else CNN_MIN_SIZE
        if self.image_size < smallest:
            raise ValueError(
                f"trainer.image_size must be at least {smallest} for {self.model!r}. "
                f"Received: {self.image_size}"
            )
        if self.fine_tune and self.model != "xception":
            raise ValueError(
                f"trainer.fine_tune needs a pretrained body, and {self.model!r} has none; "
                "set trainer.model to 'xception' or trainer.fine_tune to false"
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "TrainerSettings":
        """The settings in `values`, which names every attribute and nothing else.

        Raises:
          ValueError: a name is missing or unknown, or two settings contradict each other.
        """
        known = {field.name for field in fields(cls)}
        missing, unknown = known - values.keys(), values.keys() - known
        if missing or unknown:
            raise ValueError(
                f"the trainer's settings lack {sorted(missing)} and have unknown names "
                f"{sorted(unknown)}; they are {sorted(known)}"
            )
        return cls(**values)

    @property
    def pixel_range(self) -> tuple[float, float]:
        """Lowest and highest value of a pixel that the model sees."""
        scale = OWN_PIXEL_RANGE[self.model] if self.input_scale == "auto" else self.input_scale
        return PIXEL_RANGES[scale]

    def as_json(self) -> dict[str, Any]:
        """The settings as plain JSON values; `from_mapping` reads them back."""
        return asdict(self)
