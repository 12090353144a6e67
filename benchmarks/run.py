"""`outnumbered run --preset cats_vs_dogs` compared with one forward pass of its images' views.

    python -m benchmarks.run [--photos DIR] [--weights PATH] [--scale 1]

Three runs, each the command of a user: one of a few images, which has nothing but the fixed costs
(imports, start of the steps, building and saving the network, the report); one of the preset at
`--scale`, without anything of an earlier run; and a second in the same output folder with another
`sampler.random_state`, which draws some images that the first has not seen. The forward pass is
measured alone, after a warm-up: each of as many distinct images is read and decoded once, and each
of the preset's views of it goes through the network once, in batches of 32.

Without --photos the images are drawn, and without --weights the weights are random, with a fixed
penalty and threshold of the head: features of a random network hardly differ between images, so
that a chosen penalty would magnify their rounding errors, and a chosen threshold lie among the
scores of all images. The last line is JSON:

- `over_limit`: the seconds of the run without the fixed costs, divided by those of a forward pass
  of all views of its images;
- `second_over_limit`: the same of the second run, with the images that the first has not seen;
- `over_limit_cpu`, `second_over_limit_cpu`: the same of seconds of CPU time, which depend less on
  what else the machine does;
- `images`, `unseen`: the number of these images, which are distinct, and however many views they
  have;
- `forward`, `start`, `run`, `second`: seconds, each as [seconds, seconds of CPU time].
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.study import draw
from pipeline.settings import load_settings

PRESET = "cats_vs_dogs"
_BATCH = 32
_FEW = {"cats": 6, "dogs": 3}
# What the network sees of images (b, side, side, 3), by the name of the view.
_SEEN: dict[str, Callable[[Any], Any]] = {
    "original": lambda images: images,
    "original_mirror": lambda images: images[:, :, ::-1],
}
_OF_RANDOM_WEIGHTS = {
    "trainer.penalty": 1,
    "calibrator": "{calibration: none, rule: fixed, threshold: 0.5}",
}
# Exit codes of a run that has finished: the model passed its gates, or not.
_FINISHED = (0, 3)


class Seconds(NamedTuple):
    """Seconds that passed, and those of CPU time."""

    wall: float
    cpu: float

    def __sub__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)

    def rounded(self) -> list[float]:
        """Returns both, to a tenth."""
        return [round(self.wall, 1), round(self.cpu, 1)]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=Path, help="one folder per class; default: drawn images")
    parser.add_argument("--weights", default="none", help="weights file of Xception")
    parser.add_argument("--scale", type=float, default=1.0, help="factor for every split")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = options.photos or draw(Path(folder), options.scale)
        print(json.dumps(measure(Path(folder), photos.absolute(), options)))


def measure(folder: Path, photos: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measures all figures, one after another."""
    splits = splits_at(options.scale)
    counts = sum((Counter(split) for split in splits.values()), Counter())
    forward = forward_seconds(photos, counts, options.weights)
    _print(f"one forward pass of {counts.total()} images", forward)
    few = {name: dict(_FEW) for name in splits}
    start = run_seconds(folder / "few", photos, few, options.weights)
    _print("a run of a few images", start)
    output = folder / "run"
    first = run_seconds(output, photos, splits, options.weights)
    seen = stored_images(output)
    _print("the run", first)
    second = run_seconds(output, photos, splits, options.weights, random_state=43)
    unseen = stored_images(output) - seen
    _print(f"a second run, with {unseen} images that the first has not seen", second)
    share = unseen / counts.total()
    return {
        "over_limit": round((first - start).wall / forward.wall, 2),
        "second_over_limit": round((second - start).wall / (forward.wall * share), 2),
        "over_limit_cpu": round((first - start).cpu / forward.cpu, 2),
        "second_over_limit_cpu": round((second - start).cpu / (forward.cpu * share), 2),
        "images": counts.total(),
        "unseen": unseen,
        "forward": forward.rounded(),
        "start": start.rounded(),
        "run": first.rounded(),
        "second": second.rounded(),
    }


def splits_at(scale: float) -> dict[str, dict[str, int]]:
    """Returns the preset's splits, with each count multiplied by `scale` and at least 2."""
    preset = load_settings(PRESET, None, []).sampler.splits
    return {
        name: {key: max(2, round(count * scale)) for key, count in split.items()}
        for name, split in preset.items()
    }


def run_seconds(
    output: Path,
    photos: Path,
    splits: Mapping[str, Mapping[str, int]],
    weights: str,
    *,
    random_state: int = 42,
) -> Seconds:
    """Measures the whole command."""
    settings = {
        "data.source": photos,
        "trainer.weights": weights,
        "sampler.splits": json.dumps(splits),
        "sampler.random_state": random_state,
    }
    if weights == "none":
        settings |= _OF_RANDOM_WEIGHTS
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "pipeline.cli", "run", "--preset", PRESET, *overrides]
    started = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*command, "--output", str(output)], stdout=subprocess.DEVNULL, stderr=errors
        )
        # Not `wait`: only `wait4` returns the CPU time of a process that has ended.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in _FINISHED:
            errors.seek(0)
            message = errors.read().decode(errors="replace")
            raise RuntimeError(f"{command} ended with {process.returncode}:\n{message}")
    return Seconds(time.perf_counter() - started, usage.ru_utime + usage.ru_stime)


def stored_images(output: Path) -> int:
    """Returns the number of distinct images whose features a run has stored, for each view once."""
    listings = (output / "features").glob("*/[!.]*.ids")
    return len({image for listing in listings for image in listing.read_text().splitlines()})


def forward_seconds(photos: Path, counts: Mapping[str, int], weights: str) -> Seconds:
    """Measures one forward pass of images, from their files to pooled features of each view."""
    import keras
    import tensorflow as tf

    trainer = load_settings(PRESET, None, []).trainer
    size = trainer.image_size
    body = keras.applications.Xception(
        weights=None if weights == "none" else weights,
        include_top=False,
        input_shape=(size, size, 3),
        pooling="avg",
    )
    seen = [_SEEN[name] for name in trainer.view_names]

    def read(path: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return tf.image.resize(image, (size, size)) / 127.5 - 1.0

    files = [
        str(path)
        for name, count in counts.items()
        for path in sorted((photos / name).iterdir())[:count]
    ]
    images = tf.data.Dataset.from_tensor_slices(files).map(read, tf.data.AUTOTUNE)
    forward = tf.function(lambda batch: body(batch, training=False), reduce_retracing=True)
    forward(next(iter(images.batch(_BATCH))))
    started, cpu = time.perf_counter(), time.process_time()
    for batch in images.batch(_BATCH).prefetch(1):
        for view in seen:
            forward(view(batch))
    return Seconds(time.perf_counter() - started, time.process_time() - cpu)


def _print(what: str, seconds: Seconds) -> None:
    """Prints a line on stderr, since the full size takes many minutes."""
    print(f"{what}: {seconds.wall:.1f} s, {seconds.cpu:.1f} s of CPU time", file=sys.stderr)


if __name__ == "__main__":
    main()
