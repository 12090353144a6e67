"""The study against the notebook's method, on the preset `training`.

    python -m benchmarks.study [--photos DIR] [--weights PATH] [--scale 1]

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
- `peak_gib`: the most memory that a process of the study held at once, in GiB;
- by head, the replicates, and the seconds and memory that these are made of.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.study.settings import load_study

# Of how many drawn images one is a dog.
_DRAWN_RATIO = 11
_BATCH = 32
_GIB = 2**30


class Ended(NamedTuple):
    """What a command told on standard output, and the most bytes that it held at once."""

    told: str
    peak: int


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=Path, help="a folder a class; default: drawn images")
    parser.add_argument("--weights", default="none", help="of Xception")
    parser.add_argument("--scale", type=float, default=1.0, help="of every split")
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

    # A tenth more than is asked for, since near-duplicates keep together.
    wanted = {name: count * 11 // 10 for name, count in needed(scale).items()}
    # Ten of eleven drawn images are cats.
    make_sample(
        folder / "sample",
        images=max(wanted["dogs"] * _DRAWN_RATIO, wanted["cats"] * _DRAWN_RATIO // 10),
    )
    photos = folder / "sample" / "photos"
    for name, count in wanted.items():
        for surplus in sorted((photos / name).iterdir())[count:]:
            surplus.unlink()
    return photos


def needed(scale: float) -> Counter[str]:
    """How many images of each class the study draws."""
    splits = load_study("training", None, scale=scale).sampler.splits.values()
    return sum((Counter(split) for split in splits), Counter())


def measure(folder: Path, photos: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All figures, one after the other on this machine."""
    forward = forward_seconds(photos, options)
    _tell(f"one forward pass of every image: {forward:.1f} s")
    figures: dict[str, Any] = {"forward": round(forward, 1)}
    replicates = {"flatten": options.flatten_replicates, "pooled": options.pooled_replicates}
    for head, count in replicates.items():
        notebook = notebook_seconds(photos, head, count, options)
        _tell(f"{head}, the notebook's method, {count} replicates: {notebook:.0f} s, extrapolated")
        whole, heads, peak = study_seconds(folder / head, photos, head, count, options)
        _tell(f"{head}, the study: {whole:.0f} s, of which {heads:.0f} s in epochs of heads")
        suffix = "" if head == "flatten" else f"_{head}"
        figures[f"ratio_{head}"] = round(notebook / whole, 1)
        figures[f"over_limit{suffix}"] = round(whole / (forward + heads), 2)
        figures[head] = {
            "replicates": count,
            "notebook": round(notebook, 1),
            "study": round(whole, 1),
            "heads": round(heads, 1),
            "peak_gib": round(peak / _GIB, 2),
        }
    figures["peak_gib"] = max(figures[head]["peak_gib"] for head in replicates)
    return figures


def notebook_seconds(
    photos: Path, head: str, replicates: int, options: argparse.Namespace
) -> float:
    """What the notebook's method takes, extrapolated from one epoch of each arm."""
    ended = _run(
        *("benchmarks.notebook", str(photos), "--scale", str(options.scale)),
        *("--head", head, "--weights", options.weights),
    )
    epochs = load_study("training", None).trainer.epochs
    arms = json.loads(ended.told.splitlines()[-1]).values()
    return replicates * sum(epochs * arm["epoch"] + arm["test"] for arm in arms)


def study_seconds(
    output: Path, photos: Path, head: str, replicates: int, options: argparse.Namespace
) -> tuple[float, float, int]:
    """Wall seconds of the whole command, those of the heads' epochs within, and its peak bytes."""
    started = time.perf_counter()
    ended = _run(
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
    return whole, sum(epochs), ended.peak


def forward_seconds(photos: Path, options: argparse.Namespace) -> float:
    """One bare forward pass of every image of the study."""
    import keras
    import tensorflow as tf

    study = load_study("training", None, scale=options.scale)
    files = [
        str(path)
        for name, count in needed(options.scale).items()
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


def _tell(line: str) -> None:
    """Progress, on stderr: at full size the whole takes most of an hour."""
    print(line, file=sys.stderr, flush=True)


def _run(*command: str) -> Ended:
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen([sys.executable, "-m", *command], stdout=told, stderr=errors)
        # Not `wait`: the memory is told by nothing else once the process has gone.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        told.seek(0)
        errors.seek(0)
        if process.returncode:
            message = errors.read().decode(errors="replace")
            raise RuntimeError(f"{command} ended with {process.returncode}:\n{message}")
        # Linux counts it in KiB; of the command or of the largest process that it started.
        return Ended(told.read().decode(), usage.ru_maxrss * 1024)


if __name__ == "__main__":
    main()
