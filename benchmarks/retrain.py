"""Reading data that grows: by the loop, and by reading everything anew each time.

    python -m benchmarks.retrain [--source DIR] [--images N] [--spans N]

The images of ../shared, or noise if they are absent, are divided into spans, which arrive one by
one; after each, ImageExampleGen reads all spans there are, as a turn of `outnumbered retrain` with
`window: all` does. Once the spans that it has read are kept; once nothing is. Both run in one
process, alternately, and their outputs are compared byte for byte. Training is not included.

The last line is one JSON object: `ratio`, the time without kept spans divided by that with them,
over the whole history; `last_ratio`, the same for the last span, as the median of five times;
`decoded_share`, the images that were decoded with kept spans divided by those without;
`last_decoded_share`, the same for the last span; and whether all outputs were `equal`.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.ingest import PHOTOGRAPHS, noise

_REPETITIONS = 5
_CLASSES = ("cats", "dogs")


class Reading(NamedTuple):
    """A run of the component: its wall seconds, the decoded images, a digest of its output."""

    seconds: float
    decoded: int
    digest: str


def main() -> None:
    """Runs the benchmark and prints its figures."""
    parser = argparse.ArgumentParser(description="Reading of data that grows by spans.")
    parser.add_argument("--source", type=Path, help="folder of images, at any depth")
    parser.add_argument("--images", type=int, default=5000, help="maximum number of images")
    parser.add_argument("--spans", type=int, default=20, help="number of spans")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        given = arguments.source or (PHOTOGRAPHS if PHOTOGRAPHS.is_dir() else None)
        images = (
            sorted(path for path in given.rglob("*") if path.is_file())
            if given
            else noise(root / "noise", arguments.images)
        )
        random.Random(0).shuffle(images)
        figures = _measure(root, images[: arguments.images], arguments.spans)
    print(json.dumps({"data": "photographs" if given else "noise", **figures}))


def _measure(root: Path, images: list[Path], spans: int) -> dict[str, object]:
    kept, anew = [], []
    _arrive(root / "warm-up", images[:4], 1)
    _read(root, root / "warm-up", "")  # imports, and Beam's first pipeline
    for span in range(1, spans + 1):
        _arrive(root / "photos", images[span - 1 :: spans], span)
        kept.append(_read(root, root / "photos", str(root / "spans")))
        anew.append(_read(root, root / "photos", ""))
        print(
            f"span {span}: {kept[-1].seconds:.2f} s, anew {anew[-1].seconds:.2f} s", file=sys.stderr
        )
    pairs = [(kept[-1], anew[-1])]
    for _ in range(_REPETITIONS - 1):
        for folder in (root / "spans").glob(f"{spans}-*"):
            shutil.rmtree(folder)
        again = _read(root, root / "photos", str(root / "spans"))
        pairs.append((again, _read(root, root / "photos", "")))
    return {
        "images": len(images),
        "spans": spans,
        "ratio": round(_sum(anew) / _sum(kept), 2),
        "last_ratio": round(statistics.median(b.seconds / a.seconds for a, b in pairs), 2),
        "decoded_share": round(_decoded(kept) / _decoded(anew), 3),
        "last_decoded_share": round(kept[-1].decoded / anew[-1].decoded, 3),
        "equal": [each.digest for each in kept] == [each.digest for each in anew],
    }


def _sum(readings: list[Reading]) -> float:
    return sum(each.seconds for each in readings)


def _decoded(readings: list[Reading]) -> int:
    return sum(each.decoded for each in readings)


def _arrive(folder: Path, images: list[Path], span: int) -> None:
    """Copies the images of a span, each class in turn: the class does not matter here."""
    for number, path in enumerate(images):
        target = folder / str(span) / _CLASSES[number % 2] / f"{number}{path.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _read(root: Path, photos: Path, store: str) -> Reading:
    from tfx.types import standard_artifacts

    from components import artifacts, names
    from components.image_example_gen.component import ImageExampleGen
    from components.image_example_gen.executor import IMAGES_READ, Executor

    component = ImageExampleGen(
        source=f"{photos}/{{SPAN}}",
        positive_class="dogs",
        max_bad_fraction=1.0,
        window="all",
        span_store=store,
    )
    # This runner ignores the container image, but with it TFX doesn't package itself.
    options = ["--runner=FnApiRunner", "--sdk_container_image=unused"]
    executor = Executor(Executor.Context(beam_pipeline_args=options))
    with tempfile.TemporaryDirectory(dir=root) as folder:
        examples, quarantine = standard_artifacts.Examples(), artifacts.Quarantine()
        examples.uri, quarantine.uri = f"{folder}/examples", f"{folder}/quarantine"
        outputs = {names.EXAMPLES: [examples], names.QUARANTINE: [quarantine]}
        started = time.perf_counter()
        executor.Do({}, outputs, dict(component.spec.exec_properties))
        seconds = time.perf_counter() - started
        listed = Path(examples.uri, "files.json").read_bytes()  # has the digest of every file
        decoded = examples.get_int_custom_property(IMAGES_READ)
    return Reading(seconds, decoded, hashlib.sha256(listed).hexdigest())


if __name__ == "__main__":
    main()
