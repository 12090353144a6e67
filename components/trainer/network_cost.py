"""What a network costs: its size, and the CPU time of an image."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from components.trainer.models import build_network
from components.trainer.settings import TrainerSettings

BATCH = 8
_REPEATS = 3
_BYTES = 4  # a float32


@dataclass(frozen=True)
class NetworkCost:
    """The cost of a network.

    Attributes:
      megabytes: size of its weights, in millions of bytes.
      milliseconds: CPU time of an image, summed over all threads, in a batch of `BATCH`; it is
        about the time on one core.
    """

    megabytes: float
    milliseconds: float


def network_cost(settings: TrainerSettings) -> NetworkCost:
    """Builds the network of the settings with random weights, and measures it.

    Only the network is timed: images are neither decoded nor resized. The time is the shortest of
    three batches, after one that isn't counted.
    """
    network = build_network(settings, weights="none").full
    images = np.zeros((BATCH, settings.image_size, settings.image_size, 3), np.float32)
    run = tf.function(functools.partial(network, training=False))
    run(images)
    seconds = min(_cpu_seconds(lambda: run(images)) for _ in range(_REPEATS))
    megabytes = network.count_params() * _BYTES / 1e6
    keras.backend.clear_session()
    return NetworkCost(megabytes=megabytes, milliseconds=1000 * seconds / BATCH)


def _cpu_seconds(run: Callable[[], tf.Tensor]) -> float:
    started = time.process_time()
    run().numpy()
    return time.process_time() - started
