import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from components.trainer.devices import DevicePolicy, device_policy, precision, use_devices
from components.trainer.models import build_network


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        (0, DevicePolicy("float32", jit_compile=False, mirrored=False)),
        (1, DevicePolicy("mixed_float16", jit_compile=True, mirrored=False)),
        (4, DevicePolicy("mixed_float16", jit_compile=False, mirrored=True)),
    ],
)
def test_the_policy_depends_on_the_number_of_gpus(gpus, expected):
    assert device_policy(gpus) == expected


def test_this_machine_gets_the_policy_of_its_gpus():
    import tensorflow as tf

    policy, strategy = use_devices()
    gpus = len(tf.config.list_physical_devices("GPU"))
    assert policy == device_policy(gpus)
    assert strategy.num_replicas_in_sync == max(gpus, 1)


def test_mixed_precision_computes_in_half_and_returns_full_precision(make_settings):
    with precision(device_policy(1)):
        network = build_network(make_settings())
    assert keras.config.dtype_policy().name == "float32"
    assert network.full.layers[0].compute_dtype == "float16"
    assert network.full(np.zeros((1, 32, 32, 3), np.float32)).dtype == "float32"


MIRRORED = """
import sys
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from components.trainer.checkpoint import Checkpoint
from components.trainer.devices import device_policy
from components.trainer.features import Rows
from components.trainer.models import build_network
from components.trainer.settings import TrainerSettings
from components.trainer.training import Training

settings = TrainerSettings.model_validate(eval(sys.argv[1]))
rng = np.random.default_rng(0)
rows = Rows(rng.random((18, 32, 32, 3), np.float32), np.array([0, 1, 0] * 6))
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for attempt in range(2):
    with strategy.scope():
        network = build_network(settings)
        training = Training(
            network, train=rows, val=rows, settings=settings, policy=device_policy(0),
            checkpoint=Checkpoint(sys.argv[2]),
        )
        epochs = training.run()
    print(strategy.num_replicas_in_sync, len(epochs), epochs[-1]["val_loss"])
    print(float(network.trained.evaluate(rows.values, rows.labels[:, None], verbose=0)[0]))
"""


def test_a_training_distributed_over_devices_is_saved_and_resumes(make_settings, tmp_path):
    settings = make_settings(epochs=2, early_stopping=5).model_dump()
    done = subprocess.run(
        [sys.executable, "-c", MIRRORED, repr(settings), str(tmp_path / "checkpoint")],
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, first_loss, second, second_loss = done.stdout.strip().splitlines()
    assert first.startswith("2 2 ")
    # The second training finds the first one finished, and restores its weights.
    assert second == first
    assert float(second_loss) == pytest.approx(float(first_loss), abs=1e-6)
