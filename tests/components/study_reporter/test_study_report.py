import base64
import csv
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damage import flip_a_bit
from study_on_disk import EPOCHS, ArmOnDisk, StudyOnDisk
from tfx.types import Channel, standard_artifacts

from components import arm_predictions
from components.artifact_files import DamagedArtifactError
from components.study_reporter import comparisons, record, scores, summary
from components.study_reporter.calibrated import CalibratedArm
from components.study_reporter.component import study_reporter
from components.study_reporter.ranking import SIGNIFICANCE


class Page(HTMLParser):
    """Elements with their attributes, and the text between them."""

    def __init__(self, html):
        super().__init__()
        self.elements = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def report(tmp_path, arms, study=None, **changes):
    study_on_disk = StudyOnDisk(tmp_path / "arms", arms, **changes).write()
    folder = study_on_disk.report(**(study or {}))
    html = (folder / "study.html").read_text(encoding="utf-8")
    return html, json.loads((folder / "study.json").read_text(encoding="utf-8"))


def test_means_are_over_trained_replicates_only(shifted):
    study, _, figures = shifted
    balanced, _, oversampled = figures["arms"]
    assert balanced["replicates"]["trained"] == list(range(10))
    assert oversampled["replicates"]["diverged"] == [
        {"replicate": 3, "detail": "loss is NaN in epoch 2"}
    ]
    test = oversampled["tests"]["test"]
    assert test["at_half"]["f1"]["replicates"] == 9
    labels, _ = study.images("test")
    found = []
    for number in (0, 1, 2, 4, 5, 6, 7, 8, 9):
        predicted = study.probabilities(study.arms[2], 2, number, "test") >= 0.5
        found.append(np.count_nonzero(predicted & (labels == 1)))
    assert test["at_half"]["tp"]["mean"] == pytest.approx(np.mean(found))
    assert test["at_half"]["tp"]["sd"] == pytest.approx(np.std(found, ddof=1))


def test_a_shift_causes_a_difference_at_0_5_but_not_at_own_thresholds(shifted):
    _, _, figures = shifted
    f1 = {
        (row["first"], row["second"], row["threshold"]): row
        for row in figures["comparisons"]
        if row["metric"] == "f1"
    }
    half = f1["unbalanced", "balanced", "at_half"]
    own = f1["unbalanced", "balanced", "at_own"]
    assert half["difference"] > 0.3
    assert half["p_corrected"] < 0.001
    assert own["p_corrected"] > 0.05
    assert f1["oversampled", "balanced", "at_half"]["replicates"] == 9
    assert (
        "1,100 images and 9 replicates can no longer show a difference"
        in (figures["answer"]["headline"])
    )


def test_a_difference_between_equal_arms_is_rarely_shown(tmp_path):
    shown = 0
    for seed in range(12):
        arms = [ArmOnDisk("a"), ArmOnDisk("b")]
        splits = {"train": (1, 1), "val": (40, 200), "test": (60, 300)}
        study = StudyOnDisk(tmp_path / str(seed), arms, splits=splits, replicates=4, seed=seed)
        rows = comparisons.compare_all(summary.evaluate(study.write().read(), None), [("b", "a")])
        shown += any(row["p_corrected"] < SIGNIFICANCE for row in rows)
    assert shown <= 3


def test_all_comparisons_in_a_metric_are_one_family(shifted):
    _, _, figures = shifted
    for metric in comparisons.COMPARED:
        rows = [row for row in figures["comparisons"] if row["metric"] == metric]
        assert len(rows) == (3 if metric == "pr_auc" else 6)
        smallest = min(rows, key=lambda row: row["p"])
        assert smallest["p_corrected"] == pytest.approx(min(1, len(rows) * smallest["p"]))


def test_real_world_precision_depends_on_the_weights_of_the_classes(shifted):
    _, _, figures = shifted
    assert figures["prevalence"] == pytest.approx(1 / 51)
    test = figures["arms"][0]["tests"]["test"]
    real_world = test["at_prevalence"]["at_half"]["precision"]["mean"]
    assert 0 < real_world < test["at_half"]["precision"]["mean"]


def test_runs_csv_has_one_row_per_run(shifted):
    _, folder, figures = shifted
    with (folder / "runs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    assert [row["arm"] for row in rows[::10]] == ["balanced", "unbalanced", "oversampled"]
    diverged = rows[23]
    assert (diverged["status"], diverged["detail"], diverged["f1_at_half"]) == (
        "diverged",
        "loss is NaN in epoch 2",
        "",
    )
    assert {row["random_state"] for row in rows[3::10]} == {"42003"}
    in_epochs, solved = rows[0], rows[10]
    assert (in_epochs["epochs"], in_epochs["iterations"]) == (str(EPOCHS), "")
    assert (solved["epochs"], solved["iterations"]) == ("", "57")
    mean = np.mean([float(row["f1_at_own"]) for row in rows[:10]])
    assert mean == pytest.approx(figures["arms"][0]["tests"]["test"]["at_own"]["f1"]["mean"])
    assert int(rows[0]["tp_at_half"]) + int(rows[0]["fn_at_half"]) == 100


def test_predictions_parquet_contains_every_prediction(shifted):
    _, folder, _ = shifted
    rows = pq.read_table(folder / "predictions.parquet").to_pandas()
    assert rows.groupby("arm", observed=True).size().to_dict() == {
        "balanced": 22_000,
        "unbalanced": 22_000,
        "oversampled": 19_800,
    }
    assert list(rows.columns) == ["arm", *arm_predictions.SCHEMA.names]


def test_the_page_runs_only_its_own_script_and_loads_nothing(shifted):
    _, folder, figures = shifted
    html = (folder / "study.html").read_text(encoding="utf-8")
    page = Page(html)
    assert figures["answer"]["headline"] in page.text
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "img")
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith("#")
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in html or f"sha256-{digest}" in html
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_slider_has_the_counts_of_each_row(shifted):
    _, folder, figures = shifted
    html = (folder / "study.html").read_text(encoding="utf-8")
    (data,) = re.findall(r'id="pooled-counts">(.*?)</script>', html, re.DOTALL)
    pooled = json.loads(data)
    assert pooled == figures["pooled"]
    rows = [a["data-pooled"] for _, a in Page(html).elements if "data-pooled" in a]
    assert [json.loads(row) for row in rows] == [
        ["test", "balanced"],
        ["test", "unbalanced"],
        ["test", "oversampled"],
    ]
    counts = pooled["splits"]["test"]["balanced"]
    at_half = figures["arms"][0]["tests"]["test"]["at_half"]
    assert counts["tp"][49] == pytest.approx(10 * at_half["tp"]["mean"])
    assert {a + b for a, b in zip(counts["tp"], counts["fn"], strict=True)} == {1000}


def test_user_text_is_escaped(tmp_path):
    name = "</script><b>$x$ & \"犬\" 'a'"
    html, figures = report(
        tmp_path,
        [ArmOnDisk(name, settings={"note": "<i>"}), ArmOnDisk("b", settings={"note": "<u>"})],
        replicates=2,
        splits={"train": (5, 5), "val": (20, 60), "test": (20, 60)},
        positive_class="<s>",
    )
    page = Page(html)
    assert not {tag for tag, _ in page.elements} & {"i", "u", "s"}
    assert len(re.findall("<script", html)) == 2
    rows = [a["data-pooled"] for _, a in page.elements if "data-pooled" in a]
    assert json.loads(rows[0]) == ["test", name]
    assert name in page.text
    assert figures["positive_classes"] == ["<s>"]


def test_a_diverged_arm_does_not_affect_the_others(tmp_path):
    arms = [
        ArmOnDisk("unstable", diverged={0: "loss is NaN", 1: "loss is NaN"}),
        ArmOnDisk("a"),
        ArmOnDisk("b"),
    ]
    html, figures = report(tmp_path, arms, replicates=2)
    assert figures["arms"][0]["tests"] == {}
    assert {row["first"] for row in figures["comparisons"]} == {"b"}
    sentence = "All 2 replicates of “unstable” diverged, so it is not evaluated: loss is NaN."
    assert sentence in Page(html).text


def test_a_study_without_trained_replicates_has_a_report(tmp_path):
    html, figures = report(tmp_path, [ArmOnDisk("a", diverged={0: "NaN"})], replicates=1)
    assert figures["answer"]["headline"] == (
        "No arm has a trained replicate, so there are no results."
    )
    assert "“a” diverged" in Page(html).text


def test_one_replicate_has_no_standard_deviation_and_no_interval(tmp_path):
    html, figures = report(tmp_path, [ArmOnDisk("only")], replicates=1)
    estimate = figures["arms"][0]["tests"]["test"]["at_half"]["f1"]
    assert (estimate["sd"], estimate["interval"]) == (None, None)
    assert figures["comparisons"] == []
    assert "Paired comparisons" not in html
    assert "the effect of the seed is unknown" in Page(html).text


def test_an_arm_is_evaluated_on_each_of_its_test_sets(tmp_path):
    arms = [ArmOnDisk("a", shift=1, test_splits=("test", "even")), ArmOnDisk("b")]
    splits = {"train": (5, 5), "val": (50, 500), "test": (50, 500), "even": (200, 200)}
    html, figures = report(tmp_path, arms, splits=splits, replicates=3, study={"prevalence": 0.02})
    assert list(figures["arms"][0]["tests"]) == ["test", "even"]
    assert {row["split"] for row in figures["comparisons"]} == {"test"}
    (sentence,) = figures["answer"]["test_sets"]
    assert "makes precision look better. Re-weighted to the real world's 2 %" in sentence
    assert sentence in Page(html).text


def test_replicates_without_finite_probabilities_count_as_diverged(tmp_path):
    study = StudyOnDisk(tmp_path, [ArmOnDisk("a")], replicates=2).write()
    path = study.folder(0) / "predictions.parquet"
    rows = pq.read_table(path).to_pandas()
    rows.loc[rows.index[-1], "probability"] = np.nan
    study.write_predictions(0, pa.Table.from_pandas(rows))
    (arm,) = study.read()
    assert [replicate.number for replicate in arm.trained] == [0]
    assert "not numbers" in arm.diverged[0].diverged
    assert len(scores.own_thresholds(arm, None)) == 1


def test_arms_with_different_images_in_a_split_are_rejected(tmp_path):
    small = {"train": (5, 5), "val": (20, 60), "test": (20, 60)}
    one = StudyOnDisk(tmp_path / "one", [ArmOnDisk("a")], splits=small, replicates=1).write()
    other = StudyOnDisk(
        tmp_path / "other",
        [ArmOnDisk("b")],
        splits={**small, "test": (20, 70)},
        replicates=1,
    ).write()
    with pytest.raises(
        ValueError,
        match=r"split 'test' must have the same images.*Received: 90 images in arm 'b', 80",
    ):
        summary.evaluate([*one.read(), *other.read()], None)


def test_a_replicate_without_predictions_is_rejected(tmp_path):
    study = StudyOnDisk(tmp_path, [ArmOnDisk("a")], replicates=2).write()
    path = study.folder(0) / "predictions.parquet"
    rows = pq.read_table(path).to_pandas()
    study.write_predictions(0, pa.Table.from_pandas(rows[rows["replicate"] == 0]))
    with pytest.raises(ValueError, match="arm 'a' must contain the same images of split 'val'"):
        study.read()


@pytest.mark.parametrize("name", ["predictions.parquet", "replicates.json", "arm.json"])
@pytest.mark.parametrize("damage", [flip_a_bit, Path.unlink])
def test_a_damaged_or_missing_file_of_an_arm_is_named(tmp_path, name, damage):
    small = {"train": (5, 5), "val": (20, 60), "test": (20, 60)}
    study = StudyOnDisk(tmp_path, [ArmOnDisk("a")], splits=small, replicates=1).write()
    damage(study.folder(0) / name)
    with pytest.raises(DamagedArtifactError, match=name):
        study.read()


def test_pairs_are_all_those_with_the_baseline_or_a_list():
    arms = ["a", "b", "c"]
    assert comparisons.pairs(arms, "all", "b") == [("a", "b"), ("c", "b"), ("c", "a")]
    assert comparisons.pairs(arms, "baseline", "a") == [("b", "a"), ("c", "a")]
    assert comparisons.pairs(arms, [["a", "c"]], "a") == [("a", "c")]
    for requested, baseline, message in (
        ("all", "x", "baseline must contain only arms of the study.*Received: 'x'"),
        ([["a", "x"]], "a", "comparisons must contain only arms of the study.*Received: 'x'"),
        ([["a", "a"]], "a", r"not compare an arm with itself\. Received: \['a', 'a'\]"),
        ("some", "a", "must be 'all', 'baseline' or a list"),
    ):
        with pytest.raises(ValueError, match=message):
            comparisons.pairs(arms, requested, baseline)


def evaluated_arm(*, positive: bool, votes: int) -> comparisons.EvaluatedArm:
    """Returns an arm of ten replicates, of which `votes` classify the only image as positive."""
    probabilities = np.repeat([0.9, 0.1], [votes, 10 - votes]).astype(np.float32)[:, None]
    labels = np.array([int(positive)])
    found = record.SplitScores(np.array(["a"]), labels, np.array(["dogs"]), probabilities)
    thresholds = {key: np.full(10, 0.5) for key in scores.THRESHOLDS}
    unused = CalibratedArm(0.5, [], {}, {}, {})
    arm = record.Arm("a", {}, [], {}, pd.DataFrame())
    draws = scores.Draws(np.zeros(10, np.int64))
    return comparisons.EvaluatedArm(found, list(range(10)), thresholds, {}, unused, arm, draws)


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("tied_first", [True, False])
@pytest.mark.parametrize("correct", [True, False])
def test_a_tie_counts_for_neither_arm(positive, tied_first, correct):
    unanimous = evaluated_arm(positive=positive, votes=10 if positive == correct else 0)
    arms = [evaluated_arm(positive=positive, votes=5), unanimous]
    tests = {"test": dict(zip("ab", arms if tied_first else arms[::-1], strict=True))}
    for row in comparisons.mcnemar_all(tests, [("a", "b")]):
        assert (row["only_first"], row["only_second"], row["p"]) == (0, 0, 1)


@pytest.mark.parametrize("positive", [True, False])
def test_a_majority_of_one_decides(positive):
    correct = evaluated_arm(positive=positive, votes=6 if positive else 4)
    incorrect = evaluated_arm(positive=positive, votes=4 if positive else 6)
    (row, _) = comparisons.mcnemar_all({"test": {"a": correct, "b": incorrect}}, [("a", "b")])
    assert (row["only_first"], row["only_second"]) == (1, 0)


def test_the_component_has_one_input_per_arm():
    arms = {"class weight 10": standard_artifacts.ModelRun, "b": standard_artifacts.ModelRun}
    channels = {name: Channel(type=kind) for name, kind in arms.items()}
    component = study_reporter(channels, title="t", study={"name": "s"})
    assert component.id == "StudyReporter"
    assert list(component.inputs) == ["arm_00", "arm_01"]
    assert component.inputs["arm_01"] is channels["b"]
    assert list(component.outputs) == ["study_report"]
    assert json.loads(component.exec_properties["arms"]) == ["class weight 10", "b"]
    one = study_reporter({"a": channels["b"]}, title="t", study={"name": "s"})
    assert list(one.inputs) == ["arm_00"]
    with pytest.raises(ValueError, match="at least one arm"):
        study_reporter({}, title="t", study={"name": "s"})


def test_the_page_names_the_arms_that_lack_a_replicate(shifted):
    page = html.unescape((shifted[1] / "study.html").read_text(encoding="utf-8"))
    assert "3 arms with 10 replicates each, but “oversampled” with 9." in page
