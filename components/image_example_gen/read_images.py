"""What ingestion found out about a part's images, in columns: 64 bytes an image."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.image_example_gen.shards import Outcome
from components.image_example_gen.verdict import Refusal

IMAGE = np.dtype(
    [
        ("row", "<i8"),  # in the listing of all spans
        ("digest", "S32"),  # SHA-256 of the source's bytes
        ("image_size", "<i8"),
        ("brightness", "<f8"),
        ("sharpness", "<f8"),
    ]
)
"""An image that decodes; see `shards.IngestedImage`."""

Images = NDArray[np.void]


@dataclass(frozen=True)
class ReadImages:
    """The images of consecutive shards.

    Attributes:
      images: `IMAGE` (n,), those that decode, in the order of the listing.
      ends: by shard, the number of its images and of those of the shards before.
      refusals: the images that are refused.
    """

    images: Images
    ends: tuple[int, ...]
    refusals: list[Refusal]

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> "ReadImages":
        """Makes columns of the outcomes of shards, one at a time."""
        shards, refusals = [np.empty(0, IMAGE)], []
        for outcome in outcomes:
            shards.append(_images(outcome))
            refusals += outcome.refusals
        ends = np.cumsum([len(images) for images in shards[1:]], dtype=int).tolist()
        return cls(np.concatenate(shards), tuple(ends), refusals)

    def by_shard(self) -> Iterator[Images]:
        """Yields the images of each shard."""
        start = 0
        for end in self.ends:
            yield self.images[start:end]
            start = end


def _images(outcome: Outcome) -> Images:
    rows = [
        (
            image.row,
            bytes.fromhex(image.image_id),
            image.image_size,
            image.brightness,
            image.sharpness,
        )
        for image in outcome.ingested
    ]
    return np.array(rows, IMAGE)
