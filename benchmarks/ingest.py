"""Images per second of ImageExampleGen, compared with a bare loop that reads and decodes.

    python -m benchmarks.ingest [--source DIR] [--images N] [--repetitions N]

Both run alternately on one core, on the same files. The bare loop calls `tf.io.read_file` and
`tf.io.decode_image` to RGB, eagerly, and discards the result. The component lists the source,
reads, checks and hashes each image, finds duplicates and near-duplicates, and writes the
TFRecords, on Beam's FnApiRunner. Before, the component runs on all cores, alternately with one
process that reads images and with `beam.workers: auto`. Importing TensorFlow and TFX is not
counted; `fixed_seconds` is the component's time for two images, and is part of its figures.

The last line is one JSON object; `ratio` is the median over the repetitions of the component's
images per second divided by the bare loop's. `speedup` is the component's images per second with
`beam.workers: auto` divided by that with one process, both on all cores.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

PHOTOGRAPHS = Path(__file__).resolve().parents[2] / "shared" / "data" / "cats_vs_dogs"
AUTO = "auto"
_IMAGES = 5000
_NOISE_SIZE = (340, 256)


def main() -> None:
    """Runs the benchmark and prints its figures."""
    arguments = _arguments()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if arguments.speedup:
        print(json.dumps(_speedup(arguments.source, arguments.repetitions)))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        given = arguments.source or (PHOTOGRAPHS if PHOTOGRAPHS.is_dir() else None)
        images = images_of(given) if given else noise(root / "noise", arguments.images)
        source = _copied(sample(images, arguments.images), root / "source")
        small = _copied(_one_per_class(images), root / "small")
        speedup = _speedup_in_process(source, arguments.repetitions)
        # Before TensorFlow creates its threads, one per core.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        figures = _measure(source, small, arguments.repetitions)
    print(json.dumps({"data": "photographs" if given else "noise", **figures, **speedup}))


def _speedup_in_process(source: Path, repetitions: int) -> dict[str, float]:
    """Measures in a process of its own, since threads keep the core that they are bound to."""
    command = [sys.executable, "-m", "benchmarks.ingest", "--speedup", "--source", str(source)]
    command += ["--repetitions", str(repetitions)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _speedup(source: Path, repetitions: int) -> dict[str, float]:
    _component(source)
    rounds = [
        (seconds(lambda: _component(source)), seconds(lambda: _component(source, AUTO)))
        for _ in range(repetitions)
    ]
    return {
        "cores": len(os.sched_getaffinity(0)),
        "speedup": round(statistics.median(one / other for one, other in rounds), 3),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Images per second of ImageExampleGen.")
    parser.add_argument("--source", type=Path, help="folder with one folder per class")
    parser.add_argument("--images", type=int, default=_IMAGES, help="maximum number of images")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--speedup", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def images_of(source: Path) -> list[Path]:
    """Returns the images in a folder with one folder per class."""
    images = sorted(path for path in source.glob("*/*") if path.is_file())
    if not images:
        raise SystemExit(
            f"--source must be a folder with one folder of images per class. Received: {source}"
        )
    return images


def noise(folder: Path, count: int) -> list[Path]:
    """Writes JPEGs of smooth noise, with about as many bytes as a photograph of the same size."""
    rng = np.random.default_rng(0)
    paths = [folder / "ab"[number % 2] / f"{number}.jpg" for number in range(count)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (64, 85, 3), dtype=np.uint8))
        coarse.resize(_NOISE_SIZE, Image.Resampling.BICUBIC).save(path, quality=75)
    return paths


def sample(images: list[Path], count: int) -> list[Path]:
    """Returns at most so many of the images, the same at each call."""
    return random.Random(0).sample(images, min(count, len(images)))


def _one_per_class(images: Iterable[Path]) -> list[Path]:
    return list({path.parent: path for path in images}.values())


def _copied(images: Iterable[Path], folder: Path) -> Path:
    for path in images:
        copy = folder / path.parent.name / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return folder


def _measure(source: Path, small: Path, repetitions: int) -> dict[str, float]:
    paths = [str(path) for path in images_of(source)]
    _bare(paths[:100])
    _component(small)
    fixed = [seconds(lambda: _component(small)) for _ in range(repetitions)]
    rounds = [
        (seconds(lambda: _bare(paths)), seconds(lambda: _component(source)))
        for _ in range(repetitions)
    ]
    bare, ours = (statistics.median(times) for times in zip(*rounds, strict=True))
    return {
        "images": len(paths),
        "repetitions": repetitions,
        "images_per_second": round(len(paths) / ours, 1),
        "bare_images_per_second": round(len(paths) / bare, 1),
        "fixed_seconds": round(statistics.median(fixed), 2),
        "ratio": round(statistics.median(one / other for one, other in rounds), 3),
    }


def seconds(work: Callable[[], None]) -> float:
    """Returns how long a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _bare(paths: Iterable[str]) -> None:
    import tensorflow as tf

    for path in paths:
        tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)


def _component(source: Path, workers: int | str = 1) -> None:
    component(str(source), min(path.name for path in source.iterdir()), workers)


def component(source: str, positive_class: str, workers: int | str = 1) -> None:
    """Runs ImageExampleGen.

    Args:
      source: folder or URL with one folder per class.
      positive_class: one of the classes.
      workers: processes that read the images; 1 for this one.
    """
    from tfx.types import standard_artifacts

    from components import artifacts, names
    from components.image_example_gen.component import ImageExampleGen
    from components.image_example_gen.executor import Executor

    made = ImageExampleGen(source=source, positive_class=positive_class)
    # This runner ignores the container image, but with it TFX doesn't package itself.
    options = ["--runner=FnApiRunner", "--sdk_container_image=unused"]
    options.append(f"--image_workers={workers}")
    executor = Executor(Executor.Context(beam_pipeline_args=options))
    with tempfile.TemporaryDirectory() as folder:
        examples, quarantine = standard_artifacts.Examples(), artifacts.Quarantine()
        examples.uri, quarantine.uri = f"{folder}/examples", f"{folder}/quarantine"
        outputs = {names.EXAMPLES: [examples], names.QUARANTINE: [quarantine]}
        executor.Do({}, outputs, dict(made.spec.exec_properties))


if __name__ == "__main__":
    main()
