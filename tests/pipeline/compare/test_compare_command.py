"""`outnumbered report compare` on the folders of two finished runs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from components import names
from pipeline.cli import app


def write_run(folder: Path, *, gain: float, positive_class="dogs", prevalence=1 / 11, epochs=2):
    """Writes a run of 40 dogs and 160 cats whose model is better by `gain`."""
    rng = np.random.default_rng(2)
    labels = (np.arange(200) < 40).astype(int)
    scores = rng.normal(labels, 0.5) + rng.normal(gain * (2 * labels - 1), 0.1)
    probabilities = (1 / (1 + np.exp(-4 * (scores - 0.5)))).astype(np.float32)
    folder.mkdir(parents=True)
    pd.DataFrame(
        {
            names.IMAGE_ID: [f"{index:064d}" for index in range(200)],
            names.URI: [f"<b>{index}</b>.jpg" for index in range(200)],
            names.CLASS_NAME: np.where(labels == 1, positive_class, "cats"),
            names.LABEL: labels,
            names.PROBABILITY: probabilities,
            names.IS_POSITIVE: (probabilities >= 0.5).astype(int),
            names.CHAMPION_PROBABILITY: probabilities,
            names.CHAMPION_IS_POSITIVE: (probabilities >= 0.5).astype(int),
            "split": "test",
            "lighting": np.where(np.arange(200) % 2, "day", "night"),
        }
    ).to_parquet(folder / "predictions.parquet", index=False)
    metrics = {
        "title": "small",
        "positive_class": positive_class,
        "blessed": gain > 0,
        "reason": "recall is 0.9",
        "pushed_model": None,
        "metrics": {"threshold": 0.5},
        "examples": 200,
        "positives": 40,
        "at_prevalence": {"prevalence": prevalence},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "settings.yaml").write_text(yaml.safe_dump({"trainer": {"epochs": epochs}}))
    return folder


@pytest.fixture
def before(tmp_path):
    return write_run(tmp_path / "before" / "runs" / "1", gain=0.0)


@pytest.fixture
def after(tmp_path):
    return write_run(tmp_path / "after" / "runs" / "1", gain=0.4, epochs=9)


def compare(tmp_path: Path, *arguments: object):
    output = ["--output", str(tmp_path / "comparison")]
    return CliRunner().invoke(app, ["report", "compare", *map(str, arguments), *output])


def refused(result, *parts: str) -> None:
    message = " ".join(result.stderr.split())
    assert result.exit_code == 2, message
    assert message.startswith("error: ")
    for part in parts:
        assert part in message


def test_the_page_and_the_json_have_the_differences(tmp_path, before, after):
    result = compare(tmp_path, before, after)
    assert result.exit_code == 0, result.stderr
    found = json.loads((tmp_path / "comparison" / "comparison.json").read_text())
    f1 = next(row for row in found["metrics"] if row["metric"] == "f1")
    assert f1["difference"] == pytest.approx(f1["second"] - f1["first"])
    assert f1["interval"][0] > 0
    assert found["answer"].startswith("The second run's F1 with 10 negatives per positive")
    assert found["answer"] in result.stdout
    assert found["settings"] == [{"key": "trainer.epochs", "first": "2", "second": "9"}]
    assert {row["column"] for row in found["slices"]} == {names.CLASS_NAME, "lighting"}
    html = (tmp_path / "comparison" / "comparison.html").read_text()
    assert f"{f1['difference']:+.3f}" in html
    assert "<b>0</b>.jpg" not in html, "a file name must be escaped"


def test_json_is_the_only_thing_on_standard_output(tmp_path, before, after):
    result = compare(tmp_path, before, after, "--json")
    assert json.loads(result.stdout)["schema_version"] == 1


def test_an_output_folder_stands_for_its_latest_run(tmp_path, before, after):
    link = tmp_path / "after" / "latest"
    link.symlink_to(after, target_is_directory=True)
    result = compare(tmp_path, before, tmp_path / "after", "--json")
    assert json.loads(result.stdout)["runs"][1]["folder"] == str(after)


def test_a_run_compared_with_itself_does_not_differ(tmp_path, before):
    result = compare(tmp_path, before, before, "--json")
    found = json.loads(result.stdout)
    assert found["answer"].startswith("No difference in F1")
    assert {row["difference"] for row in found["metrics"]} == {0}
    assert found["changed_images"] == found["settings"] == []


def test_different_balances_are_mentioned(tmp_path, before):
    other = write_run(tmp_path / "other", gain=0.1, prevalence=0.01)
    found = json.loads(compare(tmp_path, before, other, "--json").stdout)
    assert "10 negatives per positive and 99 negatives per positive" in found["remarks"][0]


def test_a_path_without_a_run(tmp_path, before):
    refused(compare(tmp_path, before, tmp_path / "nowhere"), "nowhere", "--output of one")


def test_a_run_of_another_positive_class(tmp_path, before):
    other = write_run(tmp_path / "other", gain=0.1, positive_class="foxes")
    refused(compare(tmp_path, before, other), "'dogs' and 'foxes'")


@pytest.mark.parametrize("name", ["metrics.json", "predictions.parquet", "settings.yaml"])
def test_a_damaged_file_is_named(tmp_path, before, after, name):
    (after / name).write_bytes(b"{[")
    refused(compare(tmp_path, before, after), str(after / name), "run again")
    assert not (tmp_path / "comparison").exists()


def test_a_run_without_predictions(tmp_path, before, after):
    (after / "predictions.parquet").unlink()
    refused(compare(tmp_path, before, after), "an older version", "run it again")


def test_tensorflow_is_not_loaded(tmp_path, before, after):
    code = (
        "import sys; from pipeline.cli import app; "
        "app(sys.argv[1:], standalone_mode=False); assert 'tensorflow' not in sys.modules"
    )
    output = tmp_path / "comparison"
    command = [sys.executable, "-c", code, "report", "compare", before, after, "--output", output]
    subprocess.run(command, check=True, capture_output=True)
