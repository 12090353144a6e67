"""The frozen backbone: what it is and what identifies it.

TensorFlow and Keras are imported where they are used: the command line and a pod's start
need neither.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from components.code_version import modules_version
from components.trainer.settings import PIXEL_RANGES

if TYPE_CHECKING:
    import keras

    from components.trainer.preprocessing import Preprocessing


# What makes features of a stored image.
_CODE = (
    "components.feature_extractor.inference",
    "components.images.graph",
    "components.trainer.models",
    "components.trainer.preprocessing",
)


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """Xception without its classifier, and how images are made ready for it.

    Attributes:
      weights: `imagenet`, `none`, or the path of a Keras 3 weights file.
      pooled: whether the last feature map is averaged over the image.
      image_size: side in pixels of the square that every image is resized to.
      input_scale: range of the pixels that it sees, `0..1` or `-1..1`.
    """

    weights: str
    pooled: bool
    image_size: int
    input_scale: str

    @property
    def node_id(self) -> str:
        """A name for its FeatureExtractor, different from those of a study's other backbones."""
        digest = hashlib.sha256(repr(self).encode()).hexdigest()[:8]
        return f"FeatureExtractor.{'pooled' if self.pooled else 'map'}-{self.image_size}-{digest}"

    @property
    def preprocessing(self) -> "Preprocessing":
        """What makes its input of encoded bytes."""
        from components.trainer.preprocessing import Preprocessing

        return Preprocessing(self.image_size, PIXEL_RANGES[self.input_scale])

    def build(self) -> "keras.Model":
        """The network; random weights are the same every time.

        Raises:
          FileNotFoundError: the path of the weights does not exist.
          ValueError: the file does not fit the network.
          ConnectionError: the weights could not be downloaded.
        """
        import keras

        from components.trainer.models import xception_body

        keras.utils.set_random_seed(0)
        return xception_body(self.image_size, self.weights, pooled=self.pooled)

    def key(self, body: "keras.Model") -> str:
        """What features depend on beside the image, as 32 hex digits.

        It is made of the weights themselves, not of their file's name, and of the code that
        prepares images and builds the network: features of other weights or other code are
        never taken for those of these.
        """
        digest = hashlib.sha256()
        code = modules_version(*_CODE, libraries=("keras", "tensorflow"))
        about = ["xception", self.pooled, self.image_size, self.input_scale, "float16", code]
        digest.update(json.dumps(about).encode())
        for array in body.get_weights():
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:32]
