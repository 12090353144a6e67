"""Fixtures: a small Examples artifact of real JPEG and PNG images, and settings to train on it."""

import io
import logging
from pathlib import Path

import numpy as np
import pytest
from listed import list_files
from PIL import Image

COUNTS = {"train": (12, 4), "val": (6, 3)}
SETTINGS = {
    "model": "cnn",
    "weights": "none",
    "head": "pooled",
    "image_size": 32,
    "input_scale": "auto",
    "fine_tune": False,
    "sampling_strategy": "representative",
    "class_weight": None,
    "loss": "binary_crossentropy",
    "augmentation": False,
    "epochs": 2,
    "batch_size": 4,
    "learning_rate": 0.001,
    "early_stopping": None,
    "reduce_lr_on_plateau": None,
    "random_state": 42,
    "warm_start": None,
    "optimizer": "adam",
    "penalty": "auto",
    "keep_epoch": "best",
}


def encoded_image(seed: int, label: int) -> bytes:
    """A noisy image, redder if it is positive; PNG for odd seeds, JPEG for even ones."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(20, 60, size=2)
    pixels = rng.integers(0, 160, (height, width, 3))
    pixels[..., 0] += 80 * label
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG" if seed % 2 else "JPEG")
    return buffer.getvalue()


def _example(seed: int, label: int) -> bytes:
    import tensorflow as tf

    def of_bytes(value: bytes) -> "tf.train.Feature":
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    features = {
        "image": of_bytes(encoded_image(seed, label)),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        "image_id": of_bytes(f"{seed:064x}".encode()),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


@pytest.fixture(scope="session")
def write_split():
    """Writes `negatives` and `positives` images as a split of two shards; returns its pattern."""

    def write(uri: Path, split: str, negatives: int, positives: int, *, first_seed: int = 0) -> str:
        import tensorflow as tf

        from components.example_files import shard_name, split_dir

        labels = np.random.default_rng(0).permutation([0] * negatives + [1] * positives)
        folder = Path(split_dir(str(uri), split))
        folder.mkdir(parents=True)
        for shard in range(2):
            with tf.io.TFRecordWriter(str(folder / shard_name(shard, 2))) as writer:
                for index in range(shard, len(labels), 2):
                    writer.write(_example(first_seed + index, int(labels[index])))
        list_files(uri)
        return str(folder / "*")

    return write


@pytest.fixture(scope="session")
def examples_uri(tmp_path_factory, write_split) -> Path:
    """An Examples artifact with the splits train (12 + 4) and val (6 + 3)."""
    uri = tmp_path_factory.mktemp("examples")
    for place, (split, (negatives, positives)) in enumerate(COUNTS.items()):
        write_split(uri, split, negatives, positives, first_seed=1000 * place)
    return uri


@pytest.fixture(scope="session")
def make_settings():
    """Makes settings of a tiny CNN; keywords override them."""
    from components.trainer.settings import TrainerSettings

    return lambda **changes: TrainerSettings.model_validate(SETTINGS | changes)


@pytest.fixture(scope="session")
def run_trainer_in(examples_uri):
    """Runs `run_fn` in a folder; returns (serving folder, model run folder)."""
    from tfx.components.trainer.fn_args_utils import FnArgs

    from components.trainer.run import run_fn

    def run(
        folder: Path, name: str = "run", champion: Path | None = None, **changes
    ) -> tuple[Path, Path]:
        model, model_run = folder / name / "model", folder / name / "model_run"
        run_fn(
            FnArgs(
                train_files=[f"{examples_uri}/Split-train/*"],
                eval_files=[f"{examples_uri}/Split-val/*"],
                serving_model_dir=str(model),
                model_run_dir=str(model_run),
                custom_config={
                    "trainer": SETTINGS | changes,
                    "reading": {"max_side": 0, "max_pixels": 10_000},
                    "checkpoint_root": str(folder / "checkpoints"),
                    "champion": str(champion),
                },
            )
        )
        return model, model_run

    return run


@pytest.fixture
def run_trainer(run_trainer_in, tmp_path):
    """Runs `run_fn` in the test's folder, by name and changed settings."""
    return lambda name="run", **changes: run_trainer_in(tmp_path, name, **changes)


class _CutOff(logging.Handler):
    """Interrupts the training, like a signal, when it logs a given epoch."""

    def __init__(self, start: str):
        super().__init__()
        self._start = start

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith(self._start):
            raise KeyboardInterrupt


@pytest.fixture
def cut_off_at():
    logger = logging.getLogger("outnumbered.trainer")
    level, handlers = logger.level, []

    def install(start: str) -> None:
        handlers.append(_CutOff(start))
        logger.addHandler(handlers[0])
        logger.setLevel(logging.INFO)

    yield install, lambda: logger.removeHandler(handlers[0])
    logger.removeHandler(handlers[0])
    logger.setLevel(level)
