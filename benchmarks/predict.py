"""Kills `outnumbered predict --output` at random points, and looks for lost and repeated rows.

    python -m benchmarks.predict [--source DIR] [--images N] [--kills N] [--seed N]

The job scores the photographs of ../shared, or noise if they are absent, with a small network of
random weights. First it runs undisturbed; then it is killed (SIGKILL) until that has hit it
`--kills` times, and is repeated to the end. Every second kill comes at a random point of the
undisturbed time, and the others up to 2 seconds after the job has written rows.

The last line is one JSON object: `rows` of the output, images that are `missing` from it, images
that are in it `twice`, `kills`, how many rows the last job found done (`resumed`), whether the
output is `equal`, byte for byte, to that of the undisturbed job, and that job's `images_per_second`
with its start, and `peak_mib`, the most memory of any of its processes.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.ingest import PHOTOGRAPHS, noise

_SIDE = 64
_SECONDS_OF_ROWS = 2.0


def main() -> None:
    """Runs the benchmark and prints its figures."""
    parser = argparse.ArgumentParser(description="Kills of a batch prediction.")
    parser.add_argument("--source", type=Path, help="folder of images, at any depth")
    parser.add_argument("--images", type=int, default=5000, help="maximum number of images")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        source = arguments.source or (PHOTOGRAPHS if PHOTOGRAPHS.is_dir() else None)
        if source is None:
            print(f"{PHOTOGRAPHS} is absent; noise is scored instead", file=sys.stderr)
            found = noise(root / "noise", arguments.images)
        else:
            found = sorted(path for path in source.rglob("*") if path.is_file())
        manifest = root / "images.jsonl"
        uris = [str(path.resolve()) for path in found[: arguments.images]]
        manifest.write_text("".join(json.dumps({"uri": uri}) + "\n" for uri in uris))
        save_model(root / "model")
        figures = _measure(root, uris, arguments.kills, random.Random(arguments.seed))
    print(json.dumps({"data": "photographs" if source else "noise", **figures}))


def _measure(root: Path, uris: list[str], kills: int, rng: random.Random) -> dict[str, object]:
    started = time.monotonic()
    _finished(_job(root, "undisturbed.jsonl"))
    seconds = time.monotonic() - started
    peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    hits = 0
    while hits < kills:
        process = _job(root, "rows.jsonl")
        if hits % 2:
            _wait_for_rows(process, root)
        try:
            process.wait(rng.uniform(0, _SECONDS_OF_ROWS if hits % 2 else seconds))
        except subprocess.TimeoutExpired:
            process.kill()
            hits += 1
        process.communicate()
        print(f"kill {hits}: {_shards(root)} shards done", file=sys.stderr)
    summary = _finished(_job(root, "rows.jsonl"))
    lines = (root / "rows.jsonl").read_bytes().splitlines()
    counts = Counter(json.loads(line)["uri"] for line in lines)
    return {
        "rows": len(lines),
        "missing": len(set(uris) - counts.keys()),
        "twice": sum(count > 1 for count in counts.values()),
        "kills": hits,
        "resumed": summary["resumed"],
        "equal": (root / "undisturbed.jsonl").read_bytes() == (root / "rows.jsonl").read_bytes(),
        "images_per_second": round(len(uris) / seconds, 1),
        "peak_mib": round(peak_kib / 1024),
    }


def _wait_for_rows(process: subprocess.Popen[str], root: Path) -> None:
    before = _shards(root)
    while process.poll() is None and _shards(root) <= before:
        time.sleep(0.02)


def _shards(root: Path) -> int:
    return len(list(root.glob("rows.jsonl.parts/rows-*")))


def _job(root: Path, output: str) -> subprocess.Popen[str]:
    options = ("--manifest", "images.jsonl", "--model", "model", "--output", output, "--json")
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "predict", *options],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _finished(process: subprocess.Popen[str]) -> dict[str, object]:
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"the job failed: {output}")
    return json.loads(output)


def save_model(folder: Path) -> None:
    """Saves a small network with random weights, which says nothing about the images.

    Args:
      folder: of the SavedModel.
    """
    import keras
    import tensorflow as tf

    from components import names
    from components.images.rules import ReadingRules
    from components.trainer.export import ServedModel

    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.Input((_SIDE, _SIDE, 3)),
            keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    rules = ReadingRules(image_size=_SIDE, pixel_range=(0.0, 1.0))
    with tempfile.TemporaryDirectory() as assets:
        path = Path(assets) / "reading_rules.json"
        path.write_text(rules.to_json(), encoding="utf-8")
        served = ServedModel(network, rules, [str(path)])

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def decided(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            outputs = served.predict_examples(examples)
            positive = tf.cast(outputs[names.PROBABILITY] >= 0.5, tf.int64)
            return {**outputs, names.IS_POSITIVE: positive}

        tf.saved_model.save(served, str(folder), signatures={names.SERVING_DEFAULT: decided})


if __name__ == "__main__":
    main()
