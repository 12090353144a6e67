"""What the summary is computed from: read in bounded memory, in an order of its own."""

import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from components import names
from components.artifact_files import DamagedArtifactError
from components.evaluator import metrics, predictions, summary
from components.evaluator.sliced_counts import SliceCounts


def table(size: int, positives: int, name_length: int = 40) -> pa.Table:
    rng = np.random.default_rng(0)
    labels = (np.arange(size) < positives).astype(np.int64)
    probability = np.round(rng.beta(1 + 3 * labels, 4 - 2 * labels), 3).astype(np.float32)
    columns = {
        names.IMAGE_ID: [f"{index * 7919 % 100_003:064d}" for index in range(size)],
        names.URI: [f"{index:0{name_length}d}.jpg" for index in range(size)],
        names.CLASS_NAME: np.where(labels, "dogs", "cats"),
        names.LABEL: labels,
        names.PROBABILITY: probability,
        names.SCORE: np.sqrt(probability),
        names.IS_POSITIVE: (probability >= 0.5).astype(np.int64),
        names.NEEDS_REVIEW: np.zeros(size, np.int64),
        "breed": [f"{'b' * name_length} {value}" for value in rng.integers(0, 5, size)],
    }
    return pa.table(columns, schema=predictions.schema(["breed"]))


def write(folder, parts: list[pa.Table]) -> str:
    folder.mkdir()
    for index, part in enumerate(parts):
        predictions.write(part, str(folder), index=index, count=len(parts))
    predictions.write_list(str(folder))
    return str(folder)


def test_a_file_that_a_killed_worker_left_is_removed(tmp_path):
    (tmp_path / "predictions").mkdir()
    left = tmp_path / "predictions" / ".predictions-00000-of-00001.parquet-0123"
    left.touch()
    predictions.write(table(10, 2), str(left.parent), index=0, count=1)
    predictions.write_list(str(left.parent))
    assert not left.exists()
    assert len(predictions.read(str(left.parent))) == 10


def summarize(rows) -> dict:
    groups = [({"breed": name}, found) for name, found in rows.groupby("breed", observed=True)]
    slices = [
        SliceCounts(values, metrics.confusion(found[names.LABEL], found[names.IS_POSITIVE]))
        for values, found in [({}, rows), *groups]
    ]
    return summary.summarize(rows, slices, split="test", threshold=0.5, prevalence=0.01)


def test_figures_do_not_depend_on_shards_and_their_order(tmp_path):
    rows = table(500, 50)
    one = predictions.read_figures(write(tmp_path / "one", [rows]))
    parts = [rows.slice(300), rows.slice(0, 120), rows.slice(120, 180)]
    three = predictions.read_figures(write(tmp_path / "three", parts))
    assert not set(predictions.IDENTITY) & set(one.columns)
    assert one.equals(three)
    assert list(one["breed"].cat.categories) == sorted(set(rows["breed"].to_pylist()))


def test_figures_are_those_of_all_rows(tmp_path):
    uri = write(tmp_path / "out", [table(500, 50)])
    narrow, whole = predictions.read_figures(uri), predictions.read(uri)
    columns = list(narrow.columns)
    expected = whole[columns].sort_values(columns, ignore_index=True)
    assert narrow.astype(expected.dtypes).equals(expected)
    assert summarize(narrow) == summarize(expected)


def test_damaged_predictions_have_no_figures(tmp_path):
    uri = write(tmp_path / "out", [table(50, 5)])
    (tmp_path / "out" / "predictions-00000-of-00001.parquet").write_bytes(b"")
    with pytest.raises(DamagedArtifactError):
        predictions.read_figures(uri)


def peak(uri: str) -> int:
    """The most bytes allocated at once, by Python, NumPy and Arrow, for a summary."""
    pool, default = pa.proxy_memory_pool(pa.system_memory_pool()), pa.default_memory_pool()
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        summarize(predictions.read_figures(uri))
        return tracemalloc.get_traced_memory()[1] + (pool.max_memory() or 0)
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(default)


def test_memory_per_prediction_is_bounded_and_does_not_depend_on_the_length_of_names(tmp_path):
    few, many = (write(tmp_path / str(size), [table(size, 100)] * 2) for size in (20_000, 60_000))
    long = write(tmp_path / "long", [table(60_000, 100, name_length=400)] * 2)
    summarize(predictions.read_figures(few))
    growth = (peak(many) - peak(few)) / (2 * (60_000 - 20_000))
    assert growth < 150
    assert peak(long) < 1.1 * peak(many)
