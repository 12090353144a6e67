"""How a training uses the devices that are there: nothing to set, nothing to know."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import tensorflow as tf

_LOGGER = logging.getLogger("outnumbered.trainer")


@dataclass(frozen=True)
class DevicePolicy:
    """What is switched on.

    Attributes:
      precision: Keras's dtype policy while training.
      jit_compile: whether XLA compiles the training step.
      mirrored: whether each batch is spread over all GPUs.
    """

    precision: str
    jit_compile: bool
    mirrored: bool


def device_policy(gpus: int) -> DevicePolicy:
    """What to switch on for this many GPUs.

    Without one, nothing: a CPU is slower in half precision, and XLA's compile time costs
    more than it saves. With several, XLA is left out, since it compiles for one device and
    the step spans them.
    """
    if not gpus:
        return DevicePolicy(precision="float32", jit_compile=False, mirrored=False)
    return DevicePolicy(precision="mixed_float16", jit_compile=gpus == 1, mirrored=gpus > 1)


def use_devices() -> tuple[DevicePolicy, tf.distribute.Strategy]:
    """The policy for this machine's GPUs, and the strategy to build and train under.

    GPU memory is taken as it is needed from then on, not all at once.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        _let_memory_grow(gpu)
    policy = device_policy(len(gpus))
    strategy = tf.distribute.MirroredStrategy() if policy.mirrored else None
    return policy, strategy or tf.distribute.get_strategy()


def _let_memory_grow(gpu: tf.config.PhysicalDevice) -> None:
    try:
        tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError as error:
        # Too late when an earlier part of the same process has used the GPU; the training
        # is as good, only less modest.
        _LOGGER.warning("GPU memory is not shared: %s", error)


@contextmanager
def precision(policy: DevicePolicy) -> Iterator[None]:
    """Layers made inside compute in the policy's precision; afterwards all is as it was."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy.precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
