"""Time and memory of the Evaluator's metrics: `python -m benchmarks.evaluation`.

Times all figures of an evaluation, with 95 % intervals, on 100,000 predictions with 10 negatives
per positive and a column of 50 values: of the whole split and of each slice, at the split's own
balance and at the real world's. TensorFlow Model Analysis computes its metrics of the same
predictions in the same process, by the Evaluator's configuration without curves, with intervals by
the jackknife; it has none of average precision. Both read the same parquet files. Afterwards, our
figures are computed from 10,000,000 predictions in a separate process, whose peak memory is
measured.

The last line is a JSON object: `ratio`, TFMA's time divided by ours; `seconds`, ours; `tfma`,
TFMA's seconds; and for the 10,000,000 predictions `large_seconds`, `large_peak_mib` and
`bytes_per_prediction`, the growth of the peak over that of a tenth of the predictions.
"""

import argparse
import json
import logging
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import special

if TYPE_CHECKING:
    from tensorflow_model_analysis.proto import config_pb2

from benchmarks.sampler import peak_mib
from components import names
from components.evaluator.metrics import Confusion, confusion
from components.evaluator.sliced_counts import SliceCounts

SIZE = 100_000
LARGE = 10_000_000
SLICES = 50
PREVALENCE = 0.01
THRESHOLD = 0.5
COLUMN = "breed"
_SHARD_SIZE = 250_000
_NEGATIVES_PER_POSITIVE = 10


def main() -> None:
    """Runs the benchmark, or with `--measure` our figures of one size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=SIZE, help="predictions that both evaluate")
    parser.add_argument("--large", type=int, default=LARGE, help="predictions for the memory")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is not None:
        print(json.dumps(_measure(arguments.measure)))
        return
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="evaluation-") as folder:
        print(json.dumps(_compare(folder, arguments.size) | _large(folder, arguments.large)))


def _compare(folder: str, size: int) -> dict[str, Any]:
    """Times TFMA and ours on the same predictions."""
    uri = os.path.join(folder, "predictions")
    write_predictions(uri, size)
    _warm_up(folder)
    seconds = _timed(lambda: summarize(uri))
    print(f"ours: {seconds:.2f} s", flush=True)
    tfma = _timed(lambda: evaluate_by_tfma(uri, os.path.join(folder, "tfma")))
    print(f"TFMA with jackknife: {tfma:.1f} s", flush=True)
    ratio = round(tfma / seconds, 1)
    return {"ratio": ratio, "seconds": round(seconds, 2), "tfma": round(tfma, 1)}


def _large(folder: str, size: int) -> dict[str, Any]:
    """Measures time and memory of ours for `size` predictions, and for a tenth."""
    runs = []
    for predictions in (size // 10, size):
        uri = os.path.join(folder, str(predictions))
        code = f"evaluation.write_predictions({uri!r}, {predictions})"
        _in_subprocess("-c", f"from benchmarks import evaluation; {code}")
        runs.append(json.loads(_in_subprocess("-m", "benchmarks.evaluation", "--measure", uri)))
        print(f"{predictions:,} predictions: {runs[-1]}", flush=True)
    few, many = runs
    growth = (many["peak_mib"] - few["peak_mib"]) * 2**20 / (size - size // 10)
    return {
        "large_seconds": many["seconds"],
        "large_peak_mib": many["peak_mib"],
        "bytes_per_prediction": round(growth),
    }


def _in_subprocess(*arguments: str) -> str:
    """Runs Python in a separate process and returns the last line that it prints."""
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=quiet, check=True)
    return (done.stdout.splitlines() or [""])[-1]


def _measure(uri: str) -> dict[str, Any]:
    seconds = _timed(lambda: summarize(uri))
    return {"seconds": round(seconds, 1), "peak_mib": peak_mib()}


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _warm_up(folder: str) -> None:
    """Imports and starts everything that is timed, on a few predictions."""
    uri = os.path.join(folder, "warm-up")
    write_predictions(uri, 1000)
    summarize(uri)
    evaluate_by_tfma(uri, os.path.join(folder, "warm-up-tfma"))


def summarize(uri: str) -> None:
    """Computes our figures of the predictions at `uri`, from the files to the JSON file."""
    from components.evaluator import predictions, summary

    rows = predictions.read_figures(uri)
    figures = summary.summarize(
        rows, _slices(rows), split=names.TEST, threshold=THRESHOLD, prevalence=PREVALENCE
    )
    summary.write(figures, uri)


def _slices(rows: pd.DataFrame) -> list[SliceCounts]:
    """Counts the whole split, the classes and the values of the slice column."""
    slices = [SliceCounts({}, _counts(rows))]
    for column in (names.CLASS_NAME, COLUMN):
        groups = rows.groupby(column, observed=True)[[names.LABEL, names.IS_POSITIVE]]
        slices += [SliceCounts({column: str(value)}, _counts(found)) for value, found in groups]
    return slices


def _counts(rows: pd.DataFrame) -> Confusion:
    return confusion(rows[names.LABEL], rows[names.IS_POSITIVE])


def evaluate_by_tfma(uri: str, output: str) -> None:
    """Computes TFMA's metrics of the predictions at `uri`, with intervals by the jackknife."""
    import apache_beam as beam
    import tensorflow_model_analysis as tfma
    from apache_beam.options.pipeline_options import PipelineOptions

    from components.evaluator import predict

    batches = [batch for path in sorted(Path(uri).glob("*.parquet")) for batch in _batches(path)]
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
        _ = (
            pipeline
            | beam.Create(batches, reshuffle=False)
            | predict.ForTfma(PREVALENCE)
            | tfma.ExtractEvaluateAndWriteResults(eval_config=_config(), output_path=output)
        )


def _batches(path: Path) -> list[pa.RecordBatch]:
    from components.evaluator import predictions

    rows = pq.read_table(path).drop_columns(list(predictions.IDENTITY))
    return rows.combine_chunks().to_batches(max_chunksize=4096)


def _config() -> "config_pb2.EvalConfig":
    """Returns the Evaluator's configuration with intervals and without curves."""
    from tensorflow_model_analysis.proto import config_pb2

    from components.evaluator import eval_config

    config = eval_config.make(THRESHOLD, [[COLUMN]])
    for spec in config.metrics_specs:
        kept = [each for each in spec.metrics if not each.class_name.endswith("Plot")]
        del spec.metrics[:]
        spec.metrics.extend(kept)
    config.options.compute_confidence_intervals.value = True
    config.options.confidence_intervals.method = config_pb2.ConfidenceIntervalOptions.JACKKNIFE
    return config


def write_predictions(uri: str, size: int) -> None:
    """Writes predictions as the Evaluator does, of a model with a ROC area of about 0.95."""
    from components.evaluator import predictions

    os.makedirs(uri)
    count = math.ceil(size / _SHARD_SIZE)
    for index in range(count):
        start = index * _SHARD_SIZE
        rows = _rows(start, min(_SHARD_SIZE, size - start))
        predictions.write(rows, uri, index=index, count=count)
    predictions.write_list(uri)


def _rows(start: int, size: int) -> pa.Table:
    from components.evaluator import predictions

    rng = np.random.default_rng(start)
    numbers = np.arange(start, start + size)
    labels = (numbers % (_NEGATIVES_PER_POSITIVE + 1) == 0).astype(np.int64)
    probability = special.expit(rng.normal(3 * labels - 2, 1.2)).astype(np.float32)
    columns = {
        names.IMAGE_ID: [f"{number * 7919 % 100_000_007:064x}" for number in numbers],
        names.URI: [f"photographs/camera {number % 7}/{number}.jpg" for number in numbers],
        names.CLASS_NAME: np.where(labels, "dogs", "cats"),
        names.LABEL: labels,
        names.PROBABILITY: probability,
        names.SCORE: np.sqrt(probability),
        names.IS_POSITIVE: (probability >= np.float32(THRESHOLD)).astype(np.int64),
        names.NEEDS_REVIEW: np.zeros(size, np.int64),
        COLUMN: [f"breed {value}" for value in rng.integers(0, SLICES, size)],
    }
    return pa.table(columns, schema=predictions.schema([COLUMN]))


if __name__ == "__main__":
    main()
