"""Examples are, byte for byte, those that TensorFlow writes."""

import random

import pytest
import tensorflow as tf

from components.tf_example import serialized

NAMES = ["image", "image_id", "image_size", "label", "é", "ﬀ", "𝄞", "x" * 200]
VALUES = [
    *(b"", b"\xff", bytes(127), bytes(128), bytes(20_000), "", "☃" * 70),
    *(0, 1, -1, 127, 128, 300, 2**63 - 1, -(2**63), 0.0, -0.0, 1.5, 1e30, float("nan")),
]


def by_tensorflow(features) -> bytes:
    example = tf.train.Example()
    for name, value in features.items():
        feature = example.features.feature[name]
        if isinstance(value, bytes | str):
            data = value.encode() if isinstance(value, str) else value
            feature.bytes_list.value.append(data)
        elif isinstance(value, int):
            feature.int64_list.value.append(value)
        else:
            feature.float_list.value.append(value)
    return example.SerializeToString(deterministic=True)


@pytest.mark.parametrize("seed", range(50))
def test_an_example_is_serialized_as_tensorflow_does(seed):
    rng = random.Random(seed)
    chosen = rng.sample(NAMES, rng.randint(1, len(NAMES)))
    features = {name: rng.choice(VALUES) for name in chosen}
    assert serialized(features) == by_tensorflow(features)
