"""The overhead of the pipeline: the whole run compared with one plain Keras script.

    python -m benchmarks.overhead

Both run in separate processes with the same sample, model, epochs and batch size. The last line is
JSON: `seconds`, the run minus the script; `ratio`, the run divided by the script; `components`, the
seconds of each component; `imports`, of importing TensorFlow and TFX; `elsewhere`, the rest: the
command line, the DAG, and MLMD between the components; `second_run`, a run without changes.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipeline.sample.dataset import make_sample

_DONE = re.compile(r"^(\w+): done, ([\d.]+) s$", re.MULTILINE)


def timed(*command: str) -> tuple[float, str]:
    """Runs a command; returns its wall seconds and standard error.

    Raises:
      RuntimeError: the command failed; a model that is not blessed is no failure.
    """
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode not in {0, 3}:
        raise RuntimeError(f"{command} ended with {done.returncode}:\n{done.stderr}")
    return seconds, done.stderr


def measure(folder: Path, images: int) -> dict[str, object]:
    """Runs the script and the pipeline in `folder`; returns the figures."""
    sample = folder / "sample"
    manifest = make_sample(sample, images=images)
    plain, _ = timed("benchmarks.plain_keras", str(sample))
    run = (
        *("pipeline.cli", "run", "--preset", "demo", "--output", str(folder / "runs")),
        *("--set", f"data.source={sample}", "--set", f"data.manifest={manifest}"),
    )
    whole, log = timed(*run)
    timed(*run)  # compares the data with that of the first run
    again, _ = timed(*run)
    imports, _ = timed("pipeline.dag")
    parts = {name: float(seconds) for name, seconds in _DONE.findall(log)}
    return {
        "seconds": round(whole - plain, 1),
        "ratio": round(whole / plain, 2),
        "run": round(whole, 1),
        "plain": round(plain, 1),
        "second_run": round(again, 1),
        "imports": round(imports, 1),
        "components": parts,
        "elsewhere": round(whole - imports - sum(parts.values()), 1),
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=3300, help="number of images in the sample")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), arguments.images)))


if __name__ == "__main__":
    main()
