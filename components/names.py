"""Names of features, splits, artifact keys and model outputs."""

from typing import Final, Literal, get_args

# Features of an image's tf.Example. Slice columns of a manifest are further features under their
# own names, see RESERVED_FEATURES.
IMAGE = "image"
"""bytes: the encoded image, upright RGB JPEG or PNG; an upright RGB JPEG keeps its bytes."""
LABEL = "label"
"""int64: 1 for the positive class, 0 for all others."""
CLASS_NAME = "class_name"
"""bytes: the name of the class, as given by the user."""
URI = "uri"
"""bytes: the image's path relative to the data source."""
IMAGE_ID = "image_id"
"""bytes: SHA-256, in hex, of the source file's bytes: the identity of an image."""
PERCEPTUAL_HASH = "perceptual_hash"
"""bytes: 16 hex digits; those of near-duplicate images differ in a few bits."""
SPAN = "span"
"""bytes: the span in which the image came, a number or a date; absent if the data has none."""
WIDTH = "width"
"""int64: width in pixels of the stored image."""
HEIGHT = "height"
"""int64: height in pixels of the stored image."""
IMAGE_SIZE: Final = "image_size"
"""int64: width times height in pixels of the source's image, before it is scaled down."""
BRIGHTNESS: Final = "brightness"
"""float: see `components.images.appearance`."""
SHARPNESS: Final = "sharpness"
"""float: see `components.images.appearance`."""
FEATURES = "features"
"""bytes: a frozen backbone's output for the image, in C order; replaces the image."""
FEATURES_SHAPE = "features_shape"
"""int64: shape of the features, such as (4, 4, 2048) or (2048,)."""
FEATURES_TYPE = "features_type"
"""bytes: NumPy's name of the features' type, `float16`, also if absent, or `float32`."""
VIEW_FEATURES = "view_features"
"""bytes: the features of each view, one after the other, of which `features` is the mean."""

TEXT_FEATURES = (CLASS_NAME, URI, IMAGE_ID, PERCEPTUAL_HASH)
"""Text features of every image, besides its slice columns."""

Band = Literal["brightness", "sharpness", "image_size"]
BANDS: tuple[Band, ...] = get_args(Band)
"""Measures of an image by whose bands metrics are sliced, see `components.bands`."""

POSITIVE_LABEL = 1
NEGATIVE_LABEL = 0

# Splits.
ALL = "all"
TRAIN = "train"
VAL = "val"
TEST = "test"
REST = "rest"
DRAWN = "drawn"
"""All images that any of several draws of the splits uses."""

SPLIT = "split"
"""Column of predictions: name of the split that the image is in."""

# Artifact keys.
EXAMPLES = "examples"
QUARANTINE = "quarantine"
STATISTICS = "statistics"
SCHEMA = "schema"
ANOMALIES = "anomalies"
DRAWN_EXAMPLES = "drawn_examples"
SAMPLING = "sampling"
CHAMPION = "champion"
FEATURED_EXAMPLES = "featured_examples"
MODEL = "model"
MODEL_RUN = "model_run"
CALIBRATED_MODEL = "calibrated_model"
EVALUATION = "evaluation"
BLESSING = "blessing"
PREDICTIONS = "predictions"
VAL_PREDICTIONS = "val_predictions"
PUSHED_MODEL = "pushed_model"
REPORT = "report"
STUDY_REPORT = "study_report"

# Signatures and outputs of an exported model.
SERVING_DEFAULT = "serving_default"
"""Signature: serialized tf.Example in, outputs out."""
PREDICT_IMAGES = "predict_images"
"""Signature: encoded image bytes in, outputs out."""
PREDICT_FEATURES = "predict_features"
"""Signature of a model with a frozen backbone: its features, float32 (n, ...), in, outputs out."""
PROBABILITY = "probability"
"""Output, float32 (n, 1): probability that the image is of the positive class, at the population's
prevalence once it is calibrated."""
SCORE = "score"
"""Output of a calibrated model, float32 (n, 1): the trained model's own output, 0 to 1."""
IS_POSITIVE = "is_positive"
"""Output, int64 (n, 1): 1 if the probability reaches the operating point."""
NEEDS_REVIEW = "needs_review"
"""Output, int64 (n, 1): 1 if a person should decide; 0 for all images without a review band."""

NEAR_THRESHOLD = "near_threshold"
"""Output of `predict_features` of a calibrated model, int64 (n, 1): 1 if a score that differs by a
rounding error may give another decision."""

CHAMPION_PROBABILITY = "champion_probability"
"""Column of predictions, float: the champion's probability, at its own prevalence."""
CHAMPION_IS_POSITIVE = "champion_is_positive"
"""Column of predictions, int64: 1 if it reaches the champion's own operating point."""

WEIGHT = "weight_at_prevalence"
"""Column of TFMA's input, double: weight of an image at the real world's share of positives."""

GIVEN_URI = "given_uri"
"""Custom property of an artifact in a pod: its URI outside of the pod, see
`pipeline.tfx_on_kubeflow.entrypoint`."""

RESERVED_FEATURES = frozenset(
    {
        IMAGE,
        LABEL,
        CLASS_NAME,
        URI,
        IMAGE_ID,
        PERCEPTUAL_HASH,
        WIDTH,
        HEIGHT,
        IMAGE_SIZE,
        BRIGHTNESS,
        SHARPNESS,
        FEATURES,
        FEATURES_SHAPE,
        FEATURES_TYPE,
        PROBABILITY,
        SCORE,
        IS_POSITIVE,
        NEEDS_REVIEW,
        CHAMPION_PROBABILITY,
        CHAMPION_IS_POSITIVE,
        WEIGHT,
    }
)
"""Names that no slice column may have, as examples or predictions contain them already."""
