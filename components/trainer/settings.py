"""The trainer's settings as a typed object. Imports neither TensorFlow nor TFX."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from components.paths import WeightsPath
from components.section import Number, PositiveCount, Section, WholeNumber
from components.trainer import methods
from components.trainer.backbones import CNN, NETWORKS, check_model, is_own
from components.trainer.methods import Ldam, Smote
from components.trainer.views import ONLY_ORIGINAL, Views
from components.trainer.views import names as view_names
from components.trainer.views import sides as view_sides
from components.trainer.weights import NAMED

# Inverse strength of the pooled head's penalty, defined as in scikit-learn's
# LogisticRegression: 2048 weights require a penalty if there are only hundreds of images. Used
# where it can't be chosen by cross-validation.
POOLED_HEAD_C = 0.01

PIXEL_RANGES = {"0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0), "0..255": (0.0, 255.0)}

FOCAL_GAMMA = 2.0
"""Gamma of the focal loss, Keras's default."""

Ratio = Annotated[float, Field(gt=0, le=1)]


class ClassWeight(Section):
    """The weight of each side in the loss."""

    positive: Annotated[float, Field(gt=0)] = 1.0
    negative: Annotated[float, Field(gt=0)] = 1.0


class Mixture(Section):
    """Undersamples the larger side, then repeats the smaller, each up to a ratio."""

    undersample: Ratio | None = None
    oversample: Ratio | None = None


def _kind_of_strategy(value: Any) -> str:
    """Returns the tag of the member of `Strategy` that a value is meant as."""
    if isinstance(value, Smote) or (isinstance(value, dict) and value.keys() & Smote.model_fields):
        return "Smote"
    return "Mixture" if isinstance(value, Mixture | dict) else "Named"


Strategy = Annotated[
    Annotated[
        Literal[
            "representative",
            "balanced",
            "undersample",
            "oversample",
            "smote",
            "borderline_smote",
        ],
        Tag("Named"),
    ]
    | Annotated[Mixture, Tag("Mixture")]
    | Annotated[Smote, Tag("Smote")],
    Discriminator(_kind_of_strategy),
]
"""The images of an epoch, see `components.trainer.sampling`."""


class TrainerSettings(Section):
    """The model and its training."""

    model: Annotated[str, AfterValidator(check_model)] = Field(
        default=CNN,
        description=(
            "cnn: a simple CNN; or any network of keras.applications with a new head, such as "
            "xception, resnet50, efficientnet_v2_s, convnext_tiny or mobilenet_v3_small; or the "
            "path of a network of your own, NAME.keras, that maps RGB images to features."
        ),
    )
    weights: WeightsPath = Field(
        default="imagenet", description="imagenet, none, or the path of a Keras 3 weights file."
    )
    head: Literal["flatten", "pooled"] = Field(
        default="pooled",
        description="flatten: the notebook's head; pooled: a head on averages over the image.",
    )
    image_size: Annotated[WholeNumber, Field(ge=16, le=1024)] = Field(
        default=128, description="Side, in pixels, of the square that images are resized to."
    )
    input_scale: Literal["auto", "0..1", "-1..1", "0..255"] = Field(
        default="auto",
        description=(
            "Range of the pixel values; auto: those that the model's weights were trained on, and "
            "0..255 for a network of your own. Another can be set for cnn, for a network of your "
            "own, and for one that was trained on -1..1, such as xception."
        ),
    )
    fine_tune: bool = Field(
        default=False, description="Train the pretrained network's last stage too, after the head."
    )
    sampling_strategy: Strategy = Field(
        default="representative",
        description=(
            "balanced, or undersample: fewer images of the larger side; oversample: the smaller "
            "side repeated; or both, up to ratios of the smaller to the larger; smote, "
            "borderline_smote: new features of the smaller side."
        ),
    )
    class_weight: Literal["balanced"] | ClassWeight | None = Field(
        default=None, description="Weights in the loss; balanced: n / (2 × images of the side)."
    )
    loss: Literal["binary_crossentropy", "focal", "logit_adjusted", "balanced_softmax", "ldam"] = (
        Field(default="binary_crossentropy", description="The loss to minimise.")
    )
    augmentation: bool = Field(
        default=False, description="Random mirrors, zooms and shifts while training."
    )
    epochs: PositiveCount = Field(default=20, description="Maximum number of passes over train.")
    batch_size: PositiveCount = Field(default=16, description="Images per step.")
    learning_rate: Annotated[float, Field(gt=0, le=10)] = Field(
        default=0.001, description="Learning rate of Adam."
    )
    early_stopping: PositiveCount | None = Field(
        default=None, description="Epochs without a better val PR-AUC after which training stops."
    )
    reduce_lr_on_plateau: PositiveCount | None = Field(
        default=None, description="Epochs without a better val loss after which the rate is cut."
    )
    random_state: int = Field(default=42, description="Seed of weights and batches.")
    warm_start: Literal["champion"] | None = Field(
        default=None,
        description=(
            "champion: begin with the weights of the model that serves, which must have the same "
            "layers; if none serves, as with null: from new weights and those of trainer.weights."
        ),
    )
    optimizer: Literal["auto", "adam", "lbfgs"] = Field(
        default="auto",
        description=(
            "lbfgs: a pooled head on a frozen network is solved exactly, without epochs, "
            "batch_size, learning_rate and warm_start; adam: trained in epochs; auto: lbfgs "
            "where it is possible."
        ),
    )
    penalty: Literal["auto"] | Annotated[float, Field(gt=0, le=1e6)] = Field(
        default="auto",
        description=(
            "C of a pooled head as in scikit-learn: the smaller, the stronger its L2 penalty; "
            "auto: chosen by cross-validation inside train, with groups and near-duplicates each "
            f"in one fold; {POOLED_HEAD_C} for adam."
        ),
    )
    keep_epoch: Literal["best", "last"] = Field(
        default="best", description="Epoch whose weights are kept; best: the highest val PR-AUC."
    )

    tau: Annotated[Number, Field(gt=0)] = Field(
        default=1.0,
        description="Factor of the log prior odds in the loss logit_adjusted and in post_hoc.",
    )
    ldam: Ldam | None = Field(
        default=None, description="Margins and weights of the loss ldam; null: their defaults."
    )
    label_smoothing: Annotated[Number, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Share of each label that is replaced by 0.5 in the loss."
    )
    post_hoc: Literal["logit_adjusted"] | None = Field(
        default=None,
        description=(
            "logit_adjusted: after training, tau times the log prior odds of the training images "
            "are subtracted from the log odds of all scores."
        ),
    )
    mixup: Annotated[Number, Field(gt=0)] | None = Field(
        default=None,
        description="Alpha of mixup, such as 0.2: train on weighted means of two images.",
    )
    bagging: Annotated[WholeNumber, Field(ge=2, le=100)] | None = Field(
        default=None,
        description=(
            "Number of heads, each on all images of the smaller side and as many of the larger; "
            "the mean of their log odds is one head."
        ),
    )

    views: Views = Field(
        default=["original"],
        min_length=1,
        description=(
            "Views of each image whose features are averaged, in training as in serving: original, "
            "mirror, center_crop, five_crops, ten_crops, or the side, in pixels, of a smaller "
            "image. Requires a frozen network and a pooled head; n views take n times as long."
        ),
    )
    views_as: Literal["average", "rows"] = Field(
        default="average",
        description=(
            "How the views are used in training; average: of the features of an image; rows: each "
            "view by itself, with 1 / n of the image's weight, by a head that is solved. The model "
            "averages the views in any case."
        ),
    )

    @model_validator(mode="after")
    def _views_fit(self) -> Self:
        if self.view_names == ONLY_ORIGINAL:
            return self
        if self.model == CNN or self.fine_tune or self.augmentation or self.head != "pooled":
            raise ValueError(
                "trainer.views requires a pretrained model with the pooled head, without fine_tune "
                f"and augmentation. Received: {self.views}"
            )
        sides = view_sides(self.view_names, self.image_size)
        smallest = NETWORKS[self.model].smallest if self.model in NETWORKS else 1
        if not smallest <= min(sides) <= max(sides) <= self.image_size:
            raise ValueError(
                f"trainer.views must have sides from {smallest}, the smallest of {self.model!r}, "
                f"to trainer.image_size, {self.image_size}; a crop has 7/8 of it. "
                f"Received: sides {sorted(sides)}"
            )
        if len(sides) > 1 and self.model in NETWORKS and not NETWORKS[self.model].any_size:
            raise ValueError(
                f"trainer.views must have one side for {self.model!r}, whose layers depend on it; "
                f"use original and mirror, or crops alone. Received: sides {sorted(sides)}"
            )
        return self

    @model_validator(mode="after")
    def _rows_fit(self) -> Self:
        smote = methods.smote_of(self.sampling_strategy)
        fits = self.view_names != ONLY_ORIGINAL and self.solves_head and smote is None
        if self.views_as == "rows" and not fits:
            raise ValueError(
                "trainer.views_as 'rows' requires several trainer.views, such as [original, "
                "mirror], and a pooled head on a frozen network that is solved: without fine_tune, "
                "augmentation, optimizer 'adam', mixup and SMOTE; change these, or set "
                f"trainer.views_as to 'average'. Received: views {self.views}, model "
                f"{self.model!r}, head {self.head!r}, fine_tune {self.fine_tune}, augmentation "
                f"{self.augmentation}, optimizer {self.optimizer!r}, mixup {self.mixup}, "
                f"sampling_strategy {self.sampling_strategy!r}"
            )
        return self

    @property
    def row_views(self) -> int | None:
        """Number of views that the head is trained on as rows of their own; None: on their mean."""
        return len(self.view_names) if self.views_as == "rows" else None

    @property
    def view_names(self) -> tuple[str, ...]:
        """The single views, see `components.trainer.views`."""
        return view_names(self.views)

    @model_validator(mode="after")
    def _model_fits(self) -> Self:
        if self.model == CNN:
            if self.fine_tune:
                raise ValueError(
                    "trainer.fine_tune requires a pretrained model, such as 'xception'; set "
                    "trainer.model to one or trainer.fine_tune to false. Received: 'cnn'"
                )
            return self
        if is_own(self.model):
            self._check_own()
            return self
        network = NETWORKS[self.model]
        if self.image_size < network.smallest:
            raise ValueError(
                f"trainer.image_size must be at least {network.smallest} for {self.model!r}. "
                f"Received: {self.image_size}"
            )
        if self.input_scale != "auto" and network.pixels != "-1..1":
            raise ValueError(
                f"trainer.input_scale must be auto for {self.model!r}, whose pixel values "
                f"({network.pixels}) it can't replace. Received: {self.input_scale!r}"
            )
        return self

    @model_validator(mode="after")
    def _methods_fit(self) -> Self:
        methods.check(self)
        return self

    @property
    def trains_on_features(self) -> bool:
        """Whether only a head is trained, on features that are computed once per image."""
        return self.model != CNN and not self.fine_tune and not self.augmentation

    def _check_own(self) -> None:
        if self.fine_tune:
            raise ValueError(
                "trainer.fine_tune must be false for a network of your own, whose last stage is "
                f"not known. Received: true for {self.model!r}"
            )
        if self.weights not in NAMED:
            raise ValueError(
                "trainer.weights must be left out for a network of your own, whose file has its "
                f"weights. Received: {self.weights!r}"
            )

    @model_validator(mode="after")
    def _optimizer_fits(self) -> Self:
        if self.optimizer == "lbfgs" and not self._has_linear_head:
            raise ValueError(
                "trainer.optimizer 'lbfgs' requires a pooled head on a frozen network, without "
                "fine_tune, augmentation and mixup; set trainer.optimizer to 'auto'. Received: "
                f"model {self.model!r}, head {self.head!r}, fine_tune {self.fine_tune}, "
                f"augmentation {self.augmentation}, mixup {self.mixup}"
            )
        return self

    @property
    def solves_head(self) -> bool:
        """Whether the head is solved exactly instead of trained in epochs."""
        return self.optimizer != "adam" and self._has_linear_head

    @property
    def chooses_penalty(self) -> bool:
        """Whether the penalty of the head is chosen by cross-validation inside train."""
        return self.solves_head and self.penalty == "auto"

    @property
    def _has_linear_head(self) -> bool:
        # Mixup mixes other images in each epoch.
        return self.trains_on_features and self.head == "pooled" and self.mixup is None

    @property
    def pixel_range(self) -> tuple[float, float]:
        """Lowest and highest pixel value of the model's input."""
        return PIXEL_RANGES[self.own_scale if self.input_scale == "auto" else self.input_scale]

    @property
    def own_scale(self) -> str:
        """The key of `PIXEL_RANGES` of the values that the model's weights were trained on.

        A network that centres channels does so itself, from 0 to 255.
        """
        if self.model == CNN:
            return "0..1"
        pixels = NETWORKS[self.model].pixels if self.model in NETWORKS else "0..255"
        return pixels if pixels in PIXEL_RANGES else "0..255"
