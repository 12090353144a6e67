"""The study compared with the notebook's method, on the preset `training`.

    python -m benchmarks.study [--photos DIR] [--weights PATH] [--scale 1]

The notebook's method, `benchmarks.notebook`, runs the frozen network's forward pass on each image
in every epoch of every replicate. One epoch of each arm is measured after a warm-up, with val, and
one pass over test; the rest is extrapolated: epochs x replicates x the epoch, and replicates x
the test pass. Its start-up and compile times are not counted, in its favour.

The study is measured as a whole, as the command of a user, including start-up and without
features of an earlier run. With the flattened head it has few replicates, since each takes
minutes, and the notebook's method is extrapolated to the same number: more replicates share the
same fixed costs, so the ratio grows with them.

Without --photos the images are drawn, and without --weights the weights are random; neither
affects the times. The last line is JSON:

- `ratio_flatten`, `ratio_pooled`: the notebook's method divided by the study, with each head;
- `over_limit`: the study with the flattened head divided by the sum of one forward pass of every
  image (measured alone, in batches of 32) and the training of the heads (seconds of their epochs);
- `over_limit_pooled`: the same with the pooled head, where the fixed costs matter most;
- `split_draw_cost`: the study with ten draws of the splits divided by that with one, with the
  pooled head and as many seeds on each draw, both with the features of all images;
- `peak_gib`: peak memory of a process of the study, in GiB;
- by head, the replicates, and the seconds and memory from which these are calculated.
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

# One in this many drawn images is a dog.
_DRAWN_RATIO = 11
_BATCH = 32
_DRAWS = 10
_GIB = 2**30


class Ended(NamedTuple):
    """Standard output and peak memory, in bytes, of a command."""

    output: str
    peak: int


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--photos", type=Path, help="folder with one folder per class; default: drawn images"
    )
    parser.add_argument("--weights", default="none", help="weights file of Xception")
    parser.add_argument("--scale", type=float, default=1.0, help="factor for every split")
    parser.add_argument("--flatten-replicates", type=int, default=2)
    parser.add_argument("--pooled-replicates", type=int, default=10)
    parser.add_argument(
        "--only-draws", action="store_true", help="measure split_draw_cost and nothing else"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = options.photos or draw(Path(folder), options.scale)
        figures = {} if options.only_draws else measure(Path(folder), photos, options)
        figures |= split_draws(Path(folder), photos, options)
    print(json.dumps(figures))


def draw(folder: Path, scale: float) -> Path:
    """Draws as many images as the study needs, in one folder per class."""
    from pipeline.sample.dataset import make_sample

    # A tenth more than requested, since near-duplicates stay together.
    requested = {name: count * 11 // 10 for name, count in needed(scale).items()}
    # Ten of eleven drawn images are cats.
    make_sample(
        folder / "sample",
        images=max(requested["dogs"] * _DRAWN_RATIO, requested["cats"] * _DRAWN_RATIO // 10),
    )
    photos = folder / "sample" / "photos"
    for name, count in requested.items():
        for surplus in sorted((photos / name).iterdir())[count:]:
            surplus.unlink()
    return photos


def needed(scale: float) -> Counter[str]:
    """Returns the number of images of each class in the study."""
    splits = load_study("training", None, scale=scale).sampler.splits.values()
    return sum((Counter(split) for split in splits), Counter())


def measure(folder: Path, photos: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measures all figures, one after another."""
    forward = forward_seconds(photos, options)
    _print_progress(f"one forward pass of every image: {forward:.1f} s")
    figures: dict[str, Any] = {"forward": round(forward, 1)}
    replicates = {"flatten": options.flatten_replicates, "pooled": options.pooled_replicates}
    for head, count in replicates.items():
        notebook = notebook_seconds(photos, head, count, options)
        _print_progress(f"{head}, notebook, {count} replicates: {notebook:.0f} s, extrapolated")
        whole, heads, peak = study_seconds(folder / head, photos, head, count, options)
        _print_progress(f"{head}, study: {whole:.0f} s, with {heads:.0f} s in epochs of heads")
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


def split_draws(folder: Path, photos: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measures ten draws of the splits against one, once the features of all images are there."""
    seconds = {}
    for name, draws in (("features", _DRAWS), ("one_draw", 1), ("ten_draws", _DRAWS)):
        seeds = 1 if name == "features" else options.pooled_replicates
        started = time.perf_counter()
        ended = _run(
            *("pipeline.cli", "study", "--preset", "training", "--scale", str(options.scale)),
            *("--set", f"data.source={photos}", "--set", f"trainer.weights={options.weights}"),
            *("--set", "trainer.head=pooled", "--set", f"feature_store={folder / 'features'}"),
            *("--set", f"replicates={{seeds: {seeds}, splits: {draws}}}"),
            *("--output", str(folder / name), "--json"),
        )
        seconds[name] = round(time.perf_counter() - started, 1)
        _print_progress(f"pooled, {name}: {seconds[name]:.0f} s")
    return {
        "split_draw_cost": round(seconds["ten_draws"] / seconds["one_draw"], 2),
        "split_draws": {**seconds, "peak_gib": round(ended.peak / _GIB, 2)},
    }


def notebook_seconds(
    photos: Path, head: str, replicates: int, options: argparse.Namespace
) -> float:
    """Returns the seconds of the notebook's method, extrapolated from one epoch of each arm."""
    ended = _run(
        *("benchmarks.notebook", str(photos), "--scale", str(options.scale)),
        *("--head", head, "--weights", options.weights),
    )
    epochs = load_study("training", None).trainer.epochs
    arms = json.loads(ended.output.splitlines()[-1]).values()
    return replicates * sum(epochs * arm["epoch"] + arm["test"] for arm in arms)


def study_seconds(
    output: Path, photos: Path, head: str, replicates: int, options: argparse.Namespace
) -> tuple[float, float, int]:
    """Measures the whole command and the heads' epochs, in seconds, and peak memory in bytes."""
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
    """Measures the seconds of one forward pass of every image of the study."""
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


def _print_progress(line: str) -> None:
    """Prints a line on stderr, since the full size takes most of an hour."""
    print(line, file=sys.stderr, flush=True)


def _run(*command: str) -> Ended:
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen([sys.executable, "-m", *command], stdout=output, stderr=errors)
        # Not `wait`: only `wait4` returns the memory of a process that has ended.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            message = errors.read().decode(errors="replace")
            raise RuntimeError(f"{command} ended with {process.returncode}:\n{message}")
        # In KiB on Linux; of the command or of the largest process that it started.
        return Ended(output.read().decode(), usage.ru_maxrss * 1024)


if __name__ == "__main__":
    main()
