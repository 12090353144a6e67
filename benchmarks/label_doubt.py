"""How well wrong labels are found among real photographs, by their features alone.

    python -m benchmarks.label_doubt --photos DIR --weights PATH

All photographs are ranked as the report ranks those of a run's train: by out-of-fold logistic
regression on the features of a frozen Xception, and by each photograph's distance to the ten
nearest others. Labels that are known to be wrong are given as `--wrong`; by default those of the
public Dogs vs. Cats set, ids 1 to 2500 of each class. Then the labels of randomly chosen
photographs are exchanged, and the ranking is repeated. The last line is JSON:

- `wrong`: rank of each wrong label among `images` photographs;
- `wrong_without_features`: the same by confident learning alone, as for a network trained whole;
- `found`: how many of `wrong` are among the first `first`;
- `exchanged`: how many labels were exchanged, and `exchanged_found`: how many of these are among
  the first `2 * exchanged`, where every second place is for atypical photographs;
- `seconds`: time of one ranking, without the features, and `seconds_of_features`: theirs, or null
  if they were read from `--features`.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks import photo_features
from components import names
from components.feature_extractor.backbone import Backbone
from components.reporter import label_doubt

WRONG = ("dogs/dog.1043.jpg", "dogs/dog.1194.jpg", "dogs/dog.1773.jpg")
_FIRST = 50


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=Path, required=True, help="one folder per class")
    parser.add_argument("--positive-class", default="dogs")
    parser.add_argument("--weights", default="imagenet", help="weights of Xception")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--features", type=Path, help="folder that keeps the features")
    parser.add_argument("--wrong", nargs="*", default=WRONG, help="wrong labels, as CLASS/FILE")
    parser.add_argument("--exchanged", type=int, default=50, help="labels to exchange")
    options = parser.parse_args(arguments)
    uris = photo_features.listed(options.photos)
    backbone = Backbone(
        model="xception",
        weights=options.weights,
        pooled=True,
        image_size=options.image_size,
        input_scale="-1..1",
    )
    views, seconds_of_features = photo_features.read(
        options.photos, uris, backbone, kept=options.features
    )
    features = views[:, 0]
    labels = np.array([Path(uri).parts[0] == options.positive_class for uri in uris], np.int64)
    started = time.perf_counter()
    places = ranks(uris, features, labels)
    seconds = time.perf_counter() - started
    wrong = {uri: places[uri] for uri in options.wrong}
    alone = ranks(uris, features, labels, compares=False)
    chosen = np.random.default_rng(0).choice(len(uris), options.exchanged, replace=False)
    exchanged = labels.copy()
    exchanged[chosen] = 1 - labels[chosen]
    after = ranks(uris, features, exchanged)
    figures = {
        "images": len(uris),
        "wrong": wrong,
        "wrong_without_features": {uri: alone[uri] for uri in options.wrong},
        "first": _FIRST,
        "found": sum(place <= _FIRST for place in wrong.values()),
        "exchanged": len(chosen),
        "exchanged_found": sum(after[uris[index]] <= 2 * len(chosen) for index in chosen),
        "seconds": round(seconds, 1),
        "seconds_of_features": seconds_of_features,
    }
    print(json.dumps(figures))


def ranks(
    uris: Sequence[str],
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    compares: bool = True,
) -> dict[str, int]:
    """Returns the place of each photograph in the ranking, from 1.

    Args:
      uris: the photographs.
      features: (n, d).
      labels: (n,).
      compares: whether photographs are also ranked by their distance to others.
    """
    images = pd.DataFrame(
        {
            names.IMAGE_ID: uris,
            names.URI: uris,
            names.SPLIT: names.TRAIN,
            names.CLASS_NAME: "",
            names.LABEL: labels,
            names.PROBABILITY: label_doubt.out_of_fold(features, labels, prevalence=labels.mean()),
            label_doubt.TYPICALITY: label_doubt.typicality(features) if compares else np.nan,
        }
    )
    ranked = label_doubt.rank(images, prevalence=labels.mean())[names.URI]
    return {uri: place for place, uri in enumerate(ranked, start=1)}


if __name__ == "__main__":
    main()
