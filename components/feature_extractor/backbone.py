"""The frozen backbone and its identity.

TensorFlow and Keras are imported inside functions, since the command line and the start of a pod
don't require them.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from components.code_version import modules_version
from components.feature_records import EXACT
from components.trainer import weights
from components.trainer.backbones import is_own
from components.trainer.settings import PIXEL_RANGES
from components.trainer.views import ONLY_ORIGINAL, sides

if TYPE_CHECKING:
    import keras

    from components.trainer.preprocessing import Preprocessing


# The modules that compute features from a stored image.
_CODE = (
    "components.feature_extractor.inference",
    "components.images.graph",
    "components.trainer.backbones",
    "components.trainer.bodies",
    "components.trainer.preprocessing",
    "components.trainer.views",
)


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A pretrained network without its classifier, and how its input is prepared.

    Attributes:
      model: the network's name in the settings, see `components.trainer.backbones`, or the path of
        one of the user's own.
      weights: `imagenet`, `none`, or the path of a Keras 3 weights file.
      pooled: whether the last feature map is averaged over the image.
      image_size: side, in pixels, of the square that every image is resized to.
      input_scale: range of its input pixels, `0..1`, `-1..1` or `0..255`.
      views: names of the views of an image whose features are averaged, see
        `components.trainer.views`.
      any_size: whether it is built for images of any size, as it must be for views of several.
    """

    model: str
    weights: str
    pooled: bool
    image_size: int
    input_scale: str
    views: tuple[str, ...] = ONLY_ORIGINAL
    any_size: bool = False

    @property
    def each_view(self) -> list["Backbone"]:
        """One backbone per view, of which this one's features are the mean.

        The network is the same for all.
        """
        any_size = len(sides(self.views, self.image_size)) > 1
        return [dataclasses.replace(self, views=(name,), any_size=any_size) for name in self.views]

    @property
    def node_id(self) -> str:
        """Name of its FeatureExtractor, unique among the backbones of a study."""
        digest = hashlib.sha256(repr(self).encode()).hexdigest()[:8]
        return f"FeatureExtractor.{'pooled' if self.pooled else 'map'}-{self.image_size}-{digest}"

    @property
    def dtype(self) -> str:
        """NumPy's name of the type of its features; see `is_exact`."""
        return EXACT if self.pooled else "float16"

    @property
    def is_exact(self) -> bool:
        """Whether a head gives its features the score that the whole network gives the image.

        Pooled features are kept as they are. Of a map that is not pooled half the bytes matter
        more: rounded to float16, it gives scores that differ by about 1e-4.
        """
        return self.pooled

    @property
    def preprocessing(self) -> "Preprocessing":
        """The preprocessing from encoded bytes to its input."""
        from components.trainer.preprocessing import Preprocessing

        return Preprocessing(self.image_size, PIXEL_RANGES[self.input_scale])

    def build(self) -> "keras.Model":
        """Returns the network that sees each view by itself; random weights are always the same.

        Raises:
          FileNotFoundError: the path of the weights does not exist.
          ValueError: the file does not fit the network.
          ConnectionError: the weights could not be downloaded.
        """
        network = self.build_with(self.weights)
        if self.weights == "none" and not is_own(self.model):
            network.set_weights(_drawn(network.get_weights()))
        return network

    def build_with(self, weights: str) -> "keras.Model":
        """Returns the network with other weights than its own; random ones differ each time.

        Raises: as `build`.
        """
        from components.trainer.bodies import network_of_views

        return network_of_views(
            self.model,
            self.image_size,
            weights,
            pooled=self.pooled,
            views=self.views,
            any_size=self.any_size,
        )

    def key(self, network: "keras.Model") -> str:
        """Returns a digest of what features depend on except for the image, 32 hex digits.

        It covers the values of the weights, not the name of a file, and the code that
        prepares images and builds the network: features of other weights or other code have
        another key.

        Args:
          network: the network with its weights, whatever views it was built for.
        """
        digest = hashlib.sha256()
        code = modules_version(*_CODE, libraries=("keras", "tensorflow"))
        model = weights.version(self.weights, self.model) if is_own(self.model) else self.model
        settings = [model, self.pooled, self.image_size, self.input_scale, self.dtype, code]
        if self.views != ONLY_ORIGINAL or self.any_size:
            settings += [*self.views, self.any_size]
        digest.update(json.dumps(settings).encode())
        for array in network.get_weights():
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:32]


class Wanted(NamedTuple):
    """An image, and those of its views whose features are missing.

    Attributes:
      image: encoded.
      views: numbers of the views, in the order of the backbone's.
    """

    image: bytes
    views: tuple[int, ...]


def _drawn(weights: list[np.ndarray]) -> list[np.ndarray]:
    """Returns random weights that are the same each time, by Glorot and Bengio's uniform rule.

    Keras draws its seeds from Python's generator, from which other threads draw too. Weights with
    one dimension, of normalizations, are not random.

    Source: X. Glorot, Y. Bengio, Understanding the Difficulty of Training Deep Feedforward Neural
    Networks, AISTATS 2010.
    """
    rng = np.random.default_rng(0)

    def drawn(array: np.ndarray) -> np.ndarray:
        *field, inputs, outputs = array.shape
        limit = np.sqrt(6 / (np.prod(field) * (inputs + outputs)))
        return rng.uniform(-limit, limit, array.shape).astype(array.dtype)

    return [drawn(array) if array.ndim > 1 else array for array in weights]
