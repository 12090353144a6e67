"""`outnumbered predict` and the pushed model, on every image of the demo's test split."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import FinishedRun, outnumbered, run_pipeline

from components.evaluator import predictions
from pipeline.sample.dataset import make_sample

OUTPUTS = ["score", "probability"]
TEST_IMAGES = 1100
BATCH_SIZE = 50
BATCH_SIZE = 50
SHORTER = [
    *("--set", "sampler.splits.train={cats: 300, dogs: 30}"),
    *("--set", "trainer.epochs=2"),
    *("--set", "evaluator.gates=['recall >= 0.01']"),
]
"""Options for a smaller training split; the test split is complete."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo's images in `sample`."""
    folder = tmp_path_factory.mktemp("demo")
    make_sample(folder / "sample", workers=2)
    return folder


@pytest.fixture(scope="module", params=[0, 100])
def demo(request: pytest.FixtureRequest, folder: Path) -> FinishedRun:
    """A run of the demo, with images of the original size and scaled down by ingestion."""
    options = [*SHORTER, "--set", f"data.max_side={request.param}"]
    output = folder / f"runs of {request.param}"
    return run_pipeline("--preset", "demo", *options, output=output, cwd=folder)


@pytest.fixture(scope="module")
def recorded(demo: FinishedRun) -> pd.DataFrame:
    """The run's score and probability of each image in its test split, by the image's path."""
    (folder,) = (demo.output / "tfx" / "artifacts" / "Evaluator" / "predictions").iterdir()
    found = predictions.read(str(folder)).set_index("uri")[OUTPUTS]
    assert len(found) == TEST_IMAGES
    # The probabilities of a model that has learned little are all near the prevalence.
    assert np.ptp(found["score"]) > 0.1, "a constant model would pass any comparison"
    assert found["probability"].nunique() > TEST_IMAGES / 2
    return found


def test_predict_gives_the_probabilities_of_the_run(demo, recorded, folder):
    files = [Path("sample") / uri for uri in recorded.index]
    predicted = outnumbered(
        *("predict", *files, "--model", demo.output / "registry", "--json"), cwd=folder
    )
    assert predicted.code == 0, predicted.err
    rows = [json.loads(line) for line in predicted.out.splitlines()]
    assert [row["path"] for row in rows] == [str(file) for file in files]
    found = [[row[name] for name in OUTPUTS] for row in rows]
    np.testing.assert_allclose(found, recorded, rtol=0, atol=1e-6)


def test_the_served_model_gives_the_same_probabilities_for_raw_files(demo, recorded, folder):
    import tensorflow as tf

    served = tf.saved_model.load(demo.result["pushed_model"]).signatures["predict_images"]
    raw = [(folder / "sample" / uri).read_bytes() for uri in recorded.index]
    batches = (raw[start : start + BATCH_SIZE] for start in range(0, TEST_IMAGES, BATCH_SIZE))
    outputs = [served(images=tf.constant(batch)) for batch in batches]
    for name in OUTPUTS:
        found = np.concatenate([batch[name] for batch in outputs])[:, 0]
        np.testing.assert_allclose(found, recorded[name], rtol=0, atol=1e-6)
