"""Configures training for the available devices, without any settings."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import tensorflow as tf

_LOGGER = logging.getLogger("outnumbered.trainer")


@dataclass(frozen=True)
class DevicePolicy:
    """How the devices are used.

    Attributes:
      precision: Keras's dtype policy while training.
      jit_compile: whether XLA compiles the training step.
      mirrored: whether each batch is distributed over all GPUs.
    """

    precision: str
    jit_compile: bool
    mirrored: bool


def device_policy(gpus: int) -> DevicePolicy:
    """Returns the policy for this number of GPUs.

    Without a GPU everything is off: a CPU is slower in half precision, and XLA takes more time
    to compile than it saves. With several GPUs XLA is off, since it compiles for one device,
    but the training step uses several.
    """
    if not gpus:
        return DevicePolicy(precision="float32", jit_compile=False, mirrored=False)
    return DevicePolicy(precision="mixed_float16", jit_compile=gpus == 1, mirrored=gpus > 1)


def use_devices() -> tuple[DevicePolicy, tf.distribute.Strategy]:
    """Returns the policy for this machine's GPUs, and the strategy to build and train under.

    From then on GPU memory is allocated as needed, not all at once.
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
        # It is too late if the process has already used the GPU; the training is the same, but
        # uses all of the memory.
        _LOGGER.warning("all of the GPU's memory is allocated at once: %s", error)


@contextmanager
def precision(policy: DevicePolicy) -> Iterator[None]:
    """Sets Keras's dtype policy to the policy's precision; afterwards restores the previous one."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy.precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
