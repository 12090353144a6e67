"""Images per second of ImageExampleGen from an object store, compared with those from disk.

    python -m benchmarks.object_store [--store s3|gs] [--source DIR] [--images N]

Both read the same files, alternately. The store is `benchmarks.slow_store`, a stand-in of S3 in a
process of its own, which answers each request after a delay of 20 ms. Its CPU time, which a store
elsewhere would not take from this machine, is measured and given as `store_ms_per_image`.
`unread_ratio` is the same without reading ahead.

The last line is one JSON object; `ratio` is the median over the repetitions of the images per
second from the store divided by those from disk.
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
        with _store(source.parent, arguments.delay) as store:
            figures = _measure(source, store, arguments.repetitions)
    data = "photographs" if given else "noise"
    print(json.dumps({"data": data, "delay_seconds": arguments.delay, **figures}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Images per second from an object store.")
    parser.add_argument("--source", type=Path, help="folder with one folder per class")
    parser.add_argument("--images", type=int, default=_IMAGES, help="maximum number of images")
    parser.add_argument("--delay", type=float, default=_DELAY_SECONDS, help="of each answer, in s")
    parser.add_argument("--repetitions", type=int, default=5)
    return parser.parse_args()


@contextlib.contextmanager
def _store(folder: Path, delay_seconds: float) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "benchmarks.slow_store", str(folder)]
    with subprocess.Popen(
        [*command, "--delay", str(delay_seconds)], stdout=subprocess.PIPE, text=True
    ) as store:
        assert store.stdout is not None
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{store.stdout.readline().strip()}"
        os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"] = "key", "secret"
        os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
        try:
            yield store
        finally:
            store.kill()


def _measure(source: Path, store: "subprocess.Popen[str]", repetitions: int) -> dict[str, Any]:
    local, remote = str(source), f"s3://{_BUCKET}"
    count = len(images_of(source))
    positive_class = min(path.name for path in source.iterdir())
    for place in (local, remote):
        component(place, positive_class)
    before = _cpu_seconds(store.pid)
    pairs = [
        tuple(seconds(lambda place=place: component(place, positive_class)) for place in places)
        for places in [(local, remote)] * repetitions
    ]
    spent = _cpu_seconds(store.pid) - before
    from_disk, from_store = (statistics.median(side) for side in zip(*pairs, strict=True))
    return {
        "images": count,
        "repetitions": repetitions,
        "cores": len(os.sched_getaffinity(0)),
        "images_per_second": round(count / from_store, 1),
        "local_images_per_second": round(count / from_disk, 1),
        "store_ms_per_image": round(1000 * spent / repetitions / count, 2),
        "ratio": round(statistics.median(one / other for one, other in pairs), 3),
    }


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


if __name__ == "__main__":
    main()
