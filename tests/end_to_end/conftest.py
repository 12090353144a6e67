"""A small pipeline, run through the command line, shared by all tests of this folder."""

import csv
from pathlib import Path

import pytest
import yaml
from bad_images import add_bad_images
from command_line import FinishedRun, run_pipeline

from pipeline.sample.dataset import make_sample


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample data set of 400 cats and 40 dogs, 48 pixels wide, and some bad images."""
    folder = tmp_path_factory.mktemp("data") / "sample"
    manifest = make_sample(folder, images=440, side=48, random_state=1, workers=2)
    with manifest.open("a", newline="") as file:
        csv.writer(file).writerows(add_bad_images(folder))
    return folder


@pytest.fixture(scope="session")
def small_settings(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings of a pipeline that trains for two epochs on the sample."""
    tree = {
        "name": "small",
        "data": {
            "source": str(sample),
            "manifest": str(sample / "manifest.csv"),
            "positive_class": "dogs",
            "slices": ["breed", "lighting"],
            "max_bad_fraction": 0.05,
        },
        "population": {"prevalence": {"cats": 10, "dogs": 1}},
        "sampler": {
            "splits": {
                "train": {"cats": 200, "dogs": 20},
                "val": {"cats": 80, "dogs": 8},
                "test": {"cats": 80, "dogs": 8},
            }
        },
        "trainer": {"model": "cnn", "image_size": 32, "epochs": 2},
        "evaluator": {"gates": ["recall >= 0.01"]},
    }
    path = tmp_path_factory.mktemp("settings") / "small.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.fixture(scope="session")
def finished(small_settings: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """The first run of the small pipeline, with `--json`."""
    output = tmp_path_factory.mktemp("first") / "runs"
    return run_pipeline("--settings", small_settings, output=output, anew=True)
