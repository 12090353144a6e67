"""Time and memory of ImbalanceSampler by the size of the data: `python -m benchmarks.sampler`.

Draws train, val, test and rest, with 10 cats per dog, from 10,000, 100,000 and 1,000,000 examples
with images of a few bytes, so that the cost per example dominates. Each size runs in a separate
process. The time is that of the executor, after a run over a hundred examples that starts
TensorFlow and Beam. The few seconds that two Beam pipelines take for any number of examples are not
subtracted.

The last line is a JSON object: `time_exponent`, the slope of log time over log size from
100,000 to 1,000,000 examples (1 is linear); `memory_ratio`, the peak memory at 1,000,000
divided by that at 100,000; and `runs`, the figures of each size.
"""

import argparse
import hashlib
import json
import logging
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SIZES = (10_000, 100_000, 1_000_000)
_SHARD_SIZE = 25_000
_WARM_UP_SIZE = 100
_CATS_PER_DOG = 10


def main() -> None:
    """Runs the benchmark, or with `--measure` a single size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="EXAMPLES")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is not None:
        print(json.dumps(_measure(arguments.measure)))
        return
    runs = [_run_in_subprocess(size) for size in sorted(arguments.sizes)]
    print(json.dumps(_figures(runs)))


def _run_in_subprocess(size: int) -> dict[str, Any]:
    """Measures one size in a separate process."""
    command = [sys.executable, "-m", "benchmarks.sampler", "--measure", str(size)]
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=quiet, check=True)
    run = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{size:>9,} examples: {run['seconds']:.1f} s, {run['examples_per_second']:,} per second, "
        f"peak {run['peak_mib']:,} MiB",
        flush=True,
    )
    return run


def _figures(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns all runs, with slope and ratio between the two largest sizes."""
    figures: dict[str, Any] = {"runs": runs}
    if len(runs) > 1:
        small, large = runs[-2:]
        slope = math.log(large["seconds"] / small["seconds"])
        slope /= math.log(large["examples"] / small["examples"])
        figures["time_exponent"] = round(slope, 3)
        figures["memory_ratio"] = round(large["peak_mib"] / small["peak_mib"], 3)
    return figures


def _measure(size: int) -> dict[str, Any]:
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="sampler-") as folder:
        # Written by another process, whose memory is not counted.
        for name, examples in (("warm-up", _WARM_UP_SIZE), ("timed", size)):
            _write_in_subprocess(Path(folder, name), examples)
        _draw(Path(folder, "warm-up"), _WARM_UP_SIZE)
        start = time.perf_counter()
        _draw(Path(folder, "timed"), size)
        seconds = time.perf_counter() - start
    return {
        "examples": size,
        "seconds": round(seconds, 2),
        "examples_per_second": round(size / seconds),
        "peak_mib": peak_mib(),
    }


def peak_mib() -> int:
    """Returns the peak memory of this process in MiB.

    Read from /proc, since `ru_maxrss` starts with the size of the parent process.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(peak) // 1024


def _draw(folder: Path, size: int) -> None:
    """Runs the executor over the examples in `folder/in`."""
    from tfx.types import standard_artifacts

    from components import names
    from components.artifacts import Sampling
    from components.imbalance_sampler import executor

    source, drawn, sampling = (
        standard_artifacts.Examples(),
        standard_artifacts.Examples(),
        Sampling(),
    )
    source.uri, drawn.uri, sampling.uri = (str(folder / name) for name in ("in", "out", "sampling"))
    ratio = {"cats": _CATS_PER_DOG, "dogs": 1}
    context = executor.Executor.Context(beam_pipeline_args=["--runner=FnApiRunner"])
    executor.Executor(context).Do(
        {names.EXAMPLES: [source]},
        {names.DRAWN_EXAMPLES: [drawn], names.SAMPLING: [sampling]},
        {
            executor.SPLITS: json.dumps(
                {
                    names.TRAIN: {"total": size // 2, "ratio": ratio},
                    names.VAL: {"total": size // 10, "ratio": ratio},
                    names.TEST: {"total": size // 10, "ratio": ratio},
                }
            ),
            executor.RANDOM_STATE: 42,
            executor.ASSIGNMENT: "exact",
            executor.GROUP_BY: "",
            executor.MAX_DISTANCE: 4,
            executor.KEEP_REST: 1,
            executor.PREVALENCE: "",
        },
    )


def _write_in_subprocess(folder: Path, examples: int) -> None:
    """Writes the examples in a separate process."""
    code = f"from benchmarks import sampler; sampler.write_examples({str(folder)!r}, {examples})"
    subprocess.run([sys.executable, "-c", code], check=True)


def write_examples(folder: str, examples: int) -> None:
    """Writes examples as ImageExampleGen does, but with tiny images."""
    import tensorflow as tf

    from components import artifact_files, names
    from components.example_files import shard_name, split_dir

    target = split_dir(os.path.join(folder, "in"), names.ALL)
    os.makedirs(target)
    shards = math.ceil(examples / _SHARD_SIZE)
    records = _records(examples)
    for shard in range(shards):
        with tf.io.TFRecordWriter(os.path.join(target, shard_name(shard, shards))) as writer:
            for _ in range(min(_SHARD_SIZE, examples - shard * _SHARD_SIZE)):
                writer.write(next(records))
    artifact_files.write_list(
        os.path.join(folder, "in"),
        [
            artifact_files.describe(
                os.path.join(folder, "in"),
                os.path.join(split_dir("", names.ALL), shard_name(shard, shards)),
                min(_SHARD_SIZE, examples - shard * _SHARD_SIZE),
            )
            for shard in range(shards)
        ],
        check_digests=False,
    )


def _records(examples: int) -> Iterator[bytes]:
    """Yields serialized examples: one in eleven is a dog, one in a hundred a near-duplicate."""
    templates = [_template("cats", 0), _template("dogs", 1)]
    for number in range(examples):
        image_id = hashlib.sha256(b"%d" % number).hexdigest().encode()
        original = number - (number % 100 == 50)
        perceptual_hash = hashlib.sha256(b"look %d" % original).hexdigest()[:16].encode()
        template = templates[number % (_CATS_PER_DOG + 1) == 0]
        yield template.replace(b"#" * 64, image_id).replace(b"?" * 16, perceptual_hash)


def _template(class_name: str, label: int) -> bytes:
    """Returns a serialized example with placeholders for the hashes.

    Replacing them is many times faster than building each message.
    """
    import tensorflow as tf

    from components import names

    texts = {
        names.IMAGE: b"\xff\xd8 a few bytes \xff\xd9",
        names.CLASS_NAME: class_name.encode(),
        names.URI: f"{class_name}/photograph.jpg".encode(),
        names.IMAGE_ID: b"#" * 64,
        names.PERCEPTUAL_HASH: b"?" * 16,
    }
    example = tf.train.Example()
    for name, text in texts.items():
        example.features.feature[name].bytes_list.value.append(text)
    for name, number in {names.LABEL: label, names.WIDTH: 128, names.HEIGHT: 128}.items():
        example.features.feature[name].int64_list.value.append(number)
    return example.SerializeToString()


if __name__ == "__main__":
    main()
