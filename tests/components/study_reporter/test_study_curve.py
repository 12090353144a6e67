"""Learning curves: what each number of training images gives, and what more would bring."""

import math

import numpy as np
import pandas as pd
import pytest
from study_on_disk import ArmOnDisk, StudyOnDisk

from components.study_reporter import curve, page, plots, summary
from components.study_reporter.page import _learning_figures
from components.study_reporter.record import Arm, Replicate, SplitScores

POINTS = [
    {"positives": 10, "negatives": 400},
    {"positives": 40, "negatives": 400},
    {"positives": 160, "negatives": 400},
    {"positives": 160, "negatives": 100},
    {"positives": 10, "negatives": 10},
]
SERIES = {"positives": [0, 1, 2], "negatives": [3, 2], "balanced": [4]}
SKILL = (1.0, 2.0, 3.0, 2.9, 0.2)
DRAWS = 4
SPLITS = ("train", "val", "test")


def learned(draws: int = DRAWS, missing: tuple[int, ...] = ()) -> Arm:
    """Trainings whose skill grows with the logarithm of the positives."""
    labels = np.repeat([1, 0], [60, 300])
    replicates, rows = [], []
    for point, skill in enumerate(SKILL):
        for draw in range(draws):
            rng = np.random.default_rng([point, draw])
            scored = rng.normal(skill * labels, 1.0) - skill / 2
            number = len(replicates)
            diverged = "loss is NaN" if number in missing else None
            replicates.append(Replicate(number, 42 + draw, diverged, [], draw=draw, point=point))
            if diverged is None:
                rows.append(1 / (1 + np.exp(-scored)))
    ids = np.array([f"{index:04d}" for index in range(360)])
    classes = np.where(labels == 1, "dogs", "cats")
    found = SplitScores(ids, labels, classes, np.array(rows, np.float32))
    shares = {"positives": 0.1, "negatives": 0.1}
    metadata = {
        "points": POINTS,
        "train_split": "train",
        "val_split": "val",
        "test_splits": ["test"],
        "overlap": dict.fromkeys(SPLITS, shares) if draws > 1 else {},
        "splits": {split: {"positives": 60, "negatives": 300} for split in SPLITS},
    }
    return Arm("curve", metadata, replicates, {"val": found, "test": found}, pd.DataFrame())


@pytest.fixture(scope="module")
def found() -> dict:
    return curve.of_study(learned(), None, series=SERIES, arm="rare")


def test_each_point_has_its_size_and_the_mean_of_its_replicates(found):
    rows = found["series"]["positives"]
    assert [row["positives"] for row in rows] == [10, 40, 160]
    means = [row["f1"]["mean"] for row in rows]
    assert means == sorted(means)
    assert all(row["f1"]["replicates"] == DRAWS for row in rows)
    for row in rows:
        low, high = row["f1"]["interval"]
        assert low < row["f1"]["mean"] < high
    assert (found["arm"], found["split"], found["draws"]) == ("rare", "test", DRAWS)


def test_fifty_more_images_bring_what_the_line_to_the_next_size_says(found):
    rows = found["series"]["positives"]
    means = [row["f1"]["mean"] for row in rows]
    steps = np.diff(means)
    expected = [
        steps[0] * math.log(60 / 10) / math.log(4),
        steps[1] * math.log(90 / 40) / math.log(4),
        steps[1] * math.log(210 / 160) / math.log(4),
    ]
    assert [row["gain"]["difference"] for row in rows] == pytest.approx(expected)
    for row in rows:
        low, high = row["gain"]["interval"]
        assert low < row["gain"]["difference"] < high


def test_balancing_is_compared_with_as_many_positives_and_all_others(found):
    (row,) = found["series"]["balanced"]
    whole = found["series"]["positives"][0]
    expected = row["f1"]["mean"] - whole["f1"]["mean"]
    assert row["against_all"]["difference"] == pytest.approx(expected)


def test_the_sentences_set_more_positives_against_more_others(found):
    gains, balance = curve.sentences(found)
    assert "50 more positives than 160 would change F1 by +0.0" in gains
    assert "and 50 more others than 400 would change F1 by" in gains
    assert "lowers it at 1; at 0 it can't be told from chance" in balance


def test_a_single_draw_has_no_band_and_still_a_gain():
    found = curve.of_study(learned(draws=1), None, series=SERIES, arm="rare")
    (first, *_) = found["series"]["positives"]
    assert first["f1"]["interval"] is None
    assert first["gain"]["interval"] is not None
    figures = _learning_figures(found)
    assert len(figures) == 2


def test_a_point_whose_replicates_all_diverged_is_left_out():
    arm = learned(missing=tuple(range(DRAWS, 2 * DRAWS)))
    found = curve.of_study(arm, None, series=SERIES, arm="rare")
    assert [row["positives"] for row in found["series"]["positives"]] == [10, 160]


def test_a_curve_without_a_trained_replicate_has_no_points():
    arm = learned(missing=tuple(range(len(POINTS) * DRAWS)))
    found = curve.of_study(arm, None, series=SERIES, arm="rare")
    assert found["series"] == {"positives": [], "negatives": [], "balanced": []}
    assert curve.sentences(found) == []
    assert _learning_figures(found) == []


def test_the_plot_describes_every_point(found):
    (of_positives, title, caption), (of_negatives, *_) = _learning_figures(found)
    assert title == "F1 by the number of positives"
    assert "all others or with as many others" in caption
    for row in found["series"]["positives"]:
        assert f"{row['f1']['mean']:.3f} with {row['positives']:,}" in of_positives
    assert "with 100, " in of_negatives


def test_a_line_without_values_is_drawn_empty():
    line = plots.Line("all", [10, 20], [plots.Mark(None, None)] * 2, plots.POSITIVE)
    assert "undefined with 10" in plots.learning_curve("curve-x", [line], "images", "F1")


def test_the_page_shows_only_the_series_that_were_trained(tmp_path):
    splits = {"train": (10, 40), "val": (20, 60), "test": (20, 60)}
    study = StudyOnDisk(tmp_path / "arms", [ArmOnDisk("rare")], splits, replicates=2).write()
    arms = study.read()
    tests = summary.evaluate(arms, None)
    settings = {"name": "balance", "settings": {}}
    series = {"positives": SERIES["positives"]}
    found = curve.of_study(learned(), None, series=series, arm="rare")
    figures = summary.summarize(arms, tests, title="t", study=settings, curve=found)
    figures["frontier"] = []
    shown = page.render(figures, tests)
    assert figures["answer"]["curve"][0] in shown
    assert "More positives, with all others" in shown
    assert "Balanced: as many others" not in shown
    alone = summary.summarize(arms, tests, title="t", study=settings) | {"frontier": []}
    assert "Learning curve" not in page.render(alone, tests)
