"""The study against the notebook's method, on the preset `training`.

    python -m benchmarks.study [--photos DIR] [--weights PATH] [--scale 0.5]

The notebook's method, `benchmarks.notebook`, runs the frozen network forward for each image in
every epoch of every replicate. One epoch of each arm is measured after a warm-up, with val, and
one pass over test; the rest is extrapolated: epochs x replicates x the epoch, and replicates x
the test pass. Its start-up and compile times are left out, in its favour.

The study is measured whole, as the command that a user gives, start-up included and without
features of an earlier run. With the flattened head it has few replicates, since each costs
minutes, and the notebook's side is extrapolated to as many: more of them share the same fixed
costs, so the ratio grows with them.

Without --photos the images are drawn, and without --weights they are random: neither changes how
long anything takes. The last line is JSON:

- `ratio_flatten`, `ratio_pooled`: the notebook's method over the study, each with its own head;
- `over_limit`: the study with the flattened head over one forward pass of every image (measured
  bare, in batches of 32) and the training of the heads alone (the seconds of their epochs);
- `over_limit_pooled`: the same with the pooled head, where the fixed costs weigh most;
- the seconds that they are made of.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from pipeline.study.settings import load_study

_DRAWN_RATIO = 11
_BATCH = 32


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=Path, help="a folder a class; default: drawn images")
    parser.add_argument("--weights", default="none", help="of Xception")
    parser.add_argument("--scale", type=float, default=0.5)
    parser.add_argument("--flatten-replicates", type=int, default=2)
    parser.add_argument("--pooled-replicates", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = options.photos or draw(Path(folder), options.scale)
        figures = measure(Path(folder), photos, options)
    print(json.dumps(figures))


def draw(folder: Path, scale: float) -> Path:
    """As many drawn images as the study needs, in a folder a class."""
    from pipeline.sample.dataset import make_sample

    splits = load_study("training", None, scale=scale).sampler.splits.values()
    needed = sum((Counter(split) for split in splits), Counter())
    # Ten of eleven drawn images are cats; a tenth more, since near-duplicates keep together.
    count = max(needed["dogs"] * _DRAWN_RATIO, needed["cats"] * _DRAWN_RATIO // 10) * 11 // 10
    make_sample(folder / "sample", images=count)
    return folder / "sample" / "photos"


def measure(folder: Path, photos: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All figures, one after the other on this machine."""
    forward = forward_seconds(photos, options)
    figures: dict[str, Any] = {"forward": round(forward, 1)}
    replicates = {"flatten": options.flatten_replicates, "pooled": options.pooled_replicates}
    for head, count in replicates.items():
        notebook = notebook_seconds(photos, head, count, options)
        whole, heads = study_seconds(folder / head, photos, head, count, options)
        suffix = "" if head == "flatten" else f"_{head}"
        figures[f"ratio_{head}"] = round(notebook / whole, 1)
        figures[f"over_limit{suffix}"] = round(whole / (forward + heads), 2)
        figures[head] = {
            "replicates": count,
            "notebook": round(notebook, 1),
            "study": round(whole, 1),
            "heads": round(heads, 1),
        }
    return figures


def notebook_seconds(
    photos: Path, head: str, replicates: int, options: argparse.Namespace
) -> float:
    """What the notebook's method takes, extrapolated from one epoch of each arm."""
    told = _run(
        *("benchmarks.notebook", str(photos), "--scale", str(options.scale)),
        *("--head", head, "--weights", options.weights),
    )
    epochs = load_study("training", None).trainer.epochs
    arms = json.loads(told.splitlines()[-1]).values()
    return replicates * sum(epochs * arm["epoch"] + arm["test"] for arm in arms)


def study_seconds(
    output: Path, photos: Path, head: str, replicates: int, options: argparse.Namespace
) -> tuple[float, float]:
    """Wall seconds of the whole command, and those of the heads' epochs within."""
    started = time.perf_counter()
    _run(
        *("pipeline.cli", "study", "--preset", "training", "--scale", str(options.scale)),
        *("--set", f"data.source={photos}", "--set", f"trainer.weights={options.weights}"),
        *("--set", f"trainer.head={head}", "--set", f"replicates={replicates}"),
        *("--output", str(output), "--json"),
    )
    whole = time.perf_counter() - started
    runs = (output / "tfx" / "artifacts").glob("Trainer.*/model_run/*/replicates.json")
    epochs = [
        epoch["seconds"]
        for run in runs
        for replicate in json.loads(run.read_text())
        for epoch in replicate["epochs"]
    ]
    return whole, sum(epochs)


def forward_seconds(photos: Path, options: argparse.Namespace) -> float:
    """One bare forward pass of every image of the study."""
    import keras
    import tensorflow as tf

    study = load_study("training", None, scale=options.scale)
    needed = sum((Counter(split) for split in study.sampler.splits.values()), Counter())
    files = [
        str(path)
        for name, count in needed.items()
        for path in sorted((photos / name).iterdir())[:count]
    ]
    size = study.trainer.image_size
    body = keras.applications.Xception(
        weights=None if options.weights == "none" else options.weights,
        include_top=False,
        input_shape=(size, size, 3),
    )

    def read(path: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return tf.image.resize(image, (size, size)) / 255.0

    images = tf.data.Dataset.from_tensor_slices(files).map(read, tf.data.AUTOTUNE)
    forward = tf.function(lambda batch: body(batch, training=False), reduce_retracing=True)
    forward(next(iter(images.batch(_BATCH))))
    started = time.perf_counter()
    for batch in images.batch(_BATCH).prefetch(1):
        forward(batch)
    return time.perf_counter() - started


def _run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
