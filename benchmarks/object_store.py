"""Images per second of ImageExampleGen from an object store, compared with those from disk.

    python -m benchmarks.object_store [--store s3|gs] [--source DIR] [--images N] [--workers N|auto]

Both read the same files, alternately, with the same `beam.workers` (1). The store is
`benchmarks.slow_store`, a stand-in of S3 or Google Cloud Storage in a process of its own, which
answers each request after a delay of 20 ms. A store elsewhere would not take its CPU time from
this machine; it is given as `store_ms_per_image`.

The last line is one JSON object; `ratio` is the median over the repetitions of the images per
second from the store divided by those from disk, and `cpu_ratio` the same of images per second of
CPU time, which other work on the machine does not change much.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.ingest import PHOTOGRAPHS, component, images_of, noise, sample, seconds

_BUCKET = "photos"
_ADDRESSES = {"s3": "AWS_ENDPOINT_URL", "gs": "STORAGE_EMULATOR_HOST"}
_IMAGES = 2000
_DELAY_SECONDS = 0.02
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Runs the benchmark and prints its figures."""
    arguments = _arguments()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory() as folder:
        given = arguments.source or (PHOTOGRAPHS if PHOTOGRAPHS.is_dir() else None)
        images = images_of(given) if given else noise(Path(folder, "noise"), arguments.images)
        source = Path(folder, "buckets", _BUCKET)
        for path in sample(images, arguments.images):
            target = source / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        with _running_store(arguments.store, source.parent, arguments.delay) as process:
            remote = f"{arguments.store}://{_BUCKET}"
            figures = _measure(
                source, remote, process, arguments.repetitions, workers=arguments.workers
            )
    described = {
        "data": "photographs" if given else "noise",
        "store": arguments.store,
        "workers": arguments.workers,
        "delay_seconds": arguments.delay,
    }
    print(json.dumps({**described, **figures}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Images per second from an object store.")
    parser.add_argument("--store", choices=_ADDRESSES, default="s3")
    parser.add_argument("--source", type=Path, help="folder with one folder per class")
    parser.add_argument("--images", type=int, default=_IMAGES, help="maximum number of images")
    parser.add_argument("--delay", type=float, default=_DELAY_SECONDS, help="of each answer, in s")
    parser.add_argument("--workers", default="1", help="beam.workers: a number, or auto")
    parser.add_argument("--repetitions", type=int, default=5)
    return parser.parse_args()


@contextlib.contextmanager
def _running_store(kind: str, folder: Path, delay_seconds: float) -> Iterator[int]:
    """Yields the id of the process of a store, which the environment names."""
    command = [sys.executable, "-m", "benchmarks.slow_store", str(folder)]
    with subprocess.Popen(
        [*command, "--delay", str(delay_seconds)], stdout=subprocess.PIPE, text=True
    ) as store:
        assert store.stdout is not None
        os.environ[_ADDRESSES[kind]] = f"http://127.0.0.1:{store.stdout.readline().strip()}"
        os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"] = "key", "secret"
        os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
        try:
            yield store.pid
        finally:
            store.kill()


def _measure(
    source: Path, remote: str, store: int, repetitions: int, *, workers: str
) -> dict[str, Any]:
    count = len(images_of(source))
    positive_class = min(path.name for path in source.iterdir())

    def run(place: str) -> tuple[float, float]:
        """Returns the time, and the CPU time of this process and of those that it has ended."""
        before = sum(os.times()[:4])
        wall = seconds(lambda: component(place, positive_class, workers))
        return wall, sum(os.times()[:4]) - before

    for place in (str(source), remote):  # imports
        run(place)
    before = _cpu_seconds(store)
    pairs = [(run(str(source)), run(remote)) for _ in range(repetitions)]
    spent = _cpu_seconds(store) - before
    from_disk, from_store = (
        statistics.median(wall for wall, _ in side) for side in zip(*pairs, strict=True)
    )
    return {
        "images": count,
        "repetitions": repetitions,
        "cores": len(os.sched_getaffinity(0)),
        "images_per_second": round(count / from_store, 1),
        "local_images_per_second": round(count / from_disk, 1),
        "store_ms_per_image": round(1000 * spent / repetitions / count, 2),
        "cpu_ratio": round(statistics.median(one[1] / other[1] for one, other in pairs), 3),
        "ratio": round(statistics.median(one[0] / other[0] for one, other in pairs), 3),
    }


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


if __name__ == "__main__":
    main()
