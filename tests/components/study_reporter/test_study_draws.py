"""Studies that draw their splits several times: what repeats, and what a difference means."""

import dataclasses
import html
import json

import numpy as np
import pandas as pd
import pytest
from study_on_disk import ArmOnDisk, StudyOnDisk

from components.study_reporter import answer, bootstrap, overlap, record, scores, summary
from components.study_reporter.scores import Draws

DRAWS, SEEDS = 4, 2


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> StudyOnDisk:
    """Two arms of different skill on four draws, with two seeds each; one replicate diverged."""
    arms = [ArmOnDisk("good"), ArmOnDisk("poor", skill=5.0, diverged={3: "loss is NaN"})]
    splits = {"train": (30, 300), "val": (40, 200), "test": (40, 200)}
    return StudyOnDisk(
        tmp_path_factory.mktemp("study") / "arms", arms, splits, replicates=SEEDS, draws=DRAWS
    ).write()


@pytest.fixture(scope="module")
def folder(study):
    return study.report(prevalence={"cats": 5, "dogs": 1})


@pytest.fixture(scope="module")
def figures(folder):
    return json.loads((folder / "study.json").read_text())


@pytest.fixture(scope="module")
def tests(study):
    return summary.evaluate(study.read(), 1 / 6)


def test_a_replicate_has_predictions_of_its_own_draw(study):
    arm = study.read()[0]
    found = arm.scores["test"]
    assert found.probabilities.shape[0] == DRAWS * SEEDS
    assert list(arm.draws) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert (found.present.sum(axis=1) == 240).all()
    assert 240 < found.labels.size <= 480
    np.testing.assert_array_equal(found.present[0], found.present[1])
    assert (found.present[0] != found.present[2]).any()


def test_figures_of_a_replicate_are_those_of_its_own_images(folder):
    runs = pd.read_csv(folder / "runs.csv").query("arm == 'good'")
    rows = pd.read_parquet(folder / "predictions.parquet")
    rows = rows[(rows["arm"] == "good") & (rows["split"] == "test")]
    for replicate, found in rows.groupby("replicate"):
        called = found["probability"] >= 0.5
        run = runs[runs["replicate"] == replicate].iloc[0]
        assert run["draw"] == replicate // SEEDS
        assert run["recall_at_half"] == pytest.approx(called[found["label"] == 1].mean())
        counts = [run[f"{name}_at_half"] for name in ("tp", "fp", "tn", "fn")]
        assert sum(counts) == 240


def test_intervals_of_means_are_over_the_draws_and_corrected_for_what_they_share(figures):
    found = figures["arms"][0]["tests"]["test"]["at_half"]["f1"]
    values = np.array([0.8, 0.9, 0.7, 0.6, 0.8, 0.8])
    once = scores.estimate(values[[0, 2, 4]])
    draws = Draws(np.array([0, 0, 1, 1, 2, 2]), overlap=0.5)
    # Means of 0.85, 0.65 and 0.8, whose variance counts by 1 / 3 + 1.
    several = scores.estimate(values, draws=draws)
    assert several["sd"] == pytest.approx(np.std([0.85, 0.65, 0.8], ddof=1))
    assert several["replicates"] == 6
    half = 4.302652729911275 * several["sd"] * np.sqrt(1 / 3 + 1)
    assert several["interval"][0] == pytest.approx(several["mean"] - half)
    assert once["sd"] == pytest.approx(np.std([0.8, 0.7, 0.8], ddof=1))
    assert found["replicates"] == DRAWS * SEEDS


def test_rates_in_a_resample_are_of_the_images_of_each_model():
    labels = np.array([1, 1, 0, 0, 0, 1])
    present = np.array([[1, 1, 1, 1, 0, 0], [0, 1, 0, 1, 1, 1]], bool)
    predicted = np.array([[1, 0, 1, 0, 0, 0], [0, 1, 0, 0, 1, 1]], bool)
    found = bootstrap.rates(labels, predicted, present=present, draws=20)
    weights = np.concatenate(list(bootstrap.image_weights(labels == 1, 20)), axis=1)
    for model in range(2):
        for draw in range(20):
            weight = weights[:, draw] * present[model]
            tp = weight @ (predicted[model] & (labels == 1))
            fp = weight @ (predicted[model] & (labels == 0))
            positives = weight @ (labels == 1)
            if positives:
                assert found["recall"][model, draw] == pytest.approx(tp / positives)
                assert found["f1"][model, draw] == pytest.approx(2 * tp / (tp + fp + positives))


def test_losses_and_areas_in_a_resample_are_of_the_images_of_each_model(tests):
    arm = tests["test"]["good"]
    one, other = arm.scores, slice(0, 1)
    present = one.present[0]
    labels, row = one.labels[present], one.probabilities[other][:, present]
    alone = bootstrap.average_precisions(labels, row, draws=1000).mean()
    among = bootstrap.average_precisions(one.labels, one.probabilities[other], draws=1000).mean()
    assert among == pytest.approx(alone, abs=0.01)
    losses = np.where(one.present[other], 1.0 + one.labels, np.nan)
    means = bootstrap.means(one.labels, losses, prevalence=0.25, draws=50)
    np.testing.assert_allclose(means, 0.25 * 2 + 0.75 * 1, rtol=1e-6)


def simulated(rng, *, draws, shared, training, testing):
    """A comparison without a true difference: draws that share part of their training noise."""
    images = 400
    by_image = rng.normal(0, testing * np.sqrt(images), (draws, images))
    tested = by_image.mean(axis=1)
    common = rng.normal(0, training * np.sqrt(shared))
    trained = common + rng.normal(0, training * np.sqrt(1 - shared), draws)
    weights = rng.multinomial(images, np.full(images, 1 / images), size=300).T / images
    drawn = trained[:, None] + by_image @ weights
    return bootstrap.compare_draws(
        trained + tested,
        np.zeros(draws),
        (drawn, np.zeros_like(drawn)),
        draws=Draws(np.arange(draws), shared),
        images=images,
    )


@pytest.mark.parametrize("draws", [5, 10])
@pytest.mark.parametrize(("training", "testing"), [(0.03, 0.001), (0.01, 0.03), (0.02, 0.02)])
def test_intervals_contain_no_difference_although_draws_have_images_in_common(
    draws, training, testing
):
    rng = np.random.default_rng(3)
    found = [
        simulated(rng, draws=draws, shared=0.3, training=training, testing=testing)
        for _ in range(150)
    ]
    covered = np.mean([each["interval"][0] <= 0 <= each["interval"][1] for each in found])
    assert 0.88 <= covered <= 1


def test_draws_are_compared_without_any_variance_between_seeds():
    """As with heads that are solved exactly: all seeds of a draw give the same model."""
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(0.1, 0.02, 5), 3)
    drawn = values[:, None] + rng.normal(0, 0.01, (1, 500))
    zeros = np.zeros_like(drawn)
    of_replicates = np.repeat(np.arange(5), 3)
    with_seeds = bootstrap.compare_draws(
        values, zeros[:, 0], (drawn, zeros), draws=Draws(of_replicates, 0.1), images=100
    )
    alone = bootstrap.compare_draws(
        values[::3],
        np.zeros(5),
        (drawn[::3], zeros[::3]),
        draws=Draws(np.arange(5), 0.1),
        images=100,
    )
    assert with_seeds["interval"] == pytest.approx(alone["interval"])
    assert with_seeds["p"] == pytest.approx(alone["p"])
    assert with_seeds["interval"][0] < 0.1 < with_seeds["interval"][1]


def test_what_seeds_contribute_does_not_count_as_common_to_the_draws():
    """Draws that have most images in common, with seeds as the only source of variance."""
    rng = np.random.default_rng(1)
    draws, seeds, noise = 10, 4, 0.02
    of_replicates = np.repeat(np.arange(draws), seeds)
    images = rng.normal(0, 0.001, (1, 300))
    found = []
    for _ in range(100):
        values = rng.normal(0, noise, draws * seeds)
        drawn = values[:, None] + images
        zeros = np.zeros_like(drawn)
        found.append(
            bootstrap.compare_draws(
                *(values, zeros[:, 0], (drawn, zeros)),
                draws=Draws(of_replicates, 0.5),
                images=400,
            )
        )
    error = np.mean([each["error"] for each in found])
    # With the overlap it would be 3.3 times as much.
    assert noise / np.sqrt(draws * seeds) < error < 2 * noise / np.sqrt(draws * seeds)
    covered = np.mean([each["interval"][0] <= 0 <= each["interval"][1] for each in found])
    assert 0.93 <= covered <= 1


def test_the_smallest_difference_has_the_power_that_it_promises():
    rng = np.random.default_rng(0)
    error, freedom = 0.01, 9
    effect = bootstrap.detectable(error, freedom, 0.05)
    estimates = effect + error * rng.normal(size=20_000)
    found = error * np.sqrt(rng.chisquare(freedom, 20_000) / freedom)
    bound = 2.2621571627409915
    assert np.mean(np.abs(estimates) > bound * found) == pytest.approx(0.8, abs=0.02)
    assert bootstrap.detectable(error, freedom, 0.05 / 6) > effect


def test_the_page_says_how_often_the_splits_were_drawn_and_what_it_could_have_shown(
    figures, folder
):
    page = html.unescape((folder / "study.html").read_text())
    assert "The splits were drawn 4 times" in page
    assert "standard deviation between the 4 draws of the splits" in page
    smallest = figures["answer"]["splits"]["test"]["smallest"]
    assert smallest in page
    (row,) = (
        row
        for row in figures["comparisons"]
        if (row["metric"], row["threshold"]) == ("f1", "at_own")
    )
    # Two thresholds are one family of two comparisons.
    expected = bootstrap.detectable(row["error"], row["freedom"], 0.05 / 2)
    assert row["detectable"] == pytest.approx(expected)
    assert f"could have shown is {expected:.3f}" in smallest
    assert "on other images of this source" in smallest
    assert row["replicates"] == DRAWS * SEEDS - 1


def test_a_difference_of_skill_is_shown_over_the_draws(figures):
    (row,) = (row for row in figures["comparisons"] if row["metric"] == "pr_auc")
    assert row["first"] == "poor"
    assert row["difference"] < 0
    assert row["interval"][1] < 0


def test_a_draw_that_one_arm_lacks_does_not_count(tmp_path):
    arms = [
        ArmOnDisk("whole"),
        ArmOnDisk("lacking", diverged={0: "loss is NaN", 1: "loss is NaN"}),
    ]
    splits = {"train": (10, 40), "val": (20, 60), "test": (20, 60)}
    study = StudyOnDisk(tmp_path / "arms", arms, splits, replicates=2, draws=3).write()
    found = summary.evaluate(study.read(), None)["test"]
    whole, lacking = found["whole"].scores, found["lacking"].scores
    np.testing.assert_array_equal(whole.image_ids, lacking.image_ids)
    np.testing.assert_array_equal(whole.present[2:], lacking.present)


def test_arms_with_other_images_in_a_draw_are_refused(study):
    first, second = study.read()
    scrambled = dataclasses.replace(
        second.scores["test"], probabilities=second.scores["test"].probabilities[:, ::-1]
    )
    second = dataclasses.replace(second, scores={**second.scores, "test": scrambled})
    with pytest.raises(ValueError, match=r"split 'test' of draw 1 must have the same images"):
        record.check_same_images([first, second])


def test_draws_depend_on_each_other_by_the_images_that_they_share(study):
    first, second = study.read()
    assert overlap.of_arm(first) == pytest.approx(0.5)
    # A positive counts ten times as much as one of ten times as many others.
    shares, sizes = {"positives": 0.2, "negatives": 0.9}, {"positives": 10, "negatives": 100}
    assert overlap.of_split(shares, sizes) == pytest.approx((10 * 0.2 + 0.9) / 11)
    assert overlap.of_pair(first, second) == pytest.approx(0.5)
    little = {**first.metadata["overlap"], "val": {"positives": 0.1, "negatives": 0.1}}
    pair = [
        dataclasses.replace(
            arm, metadata={**arm.metadata, "overlap": little, "train_split": f"train {number}"}
        )
        for number, arm in enumerate((first, second))
    ]
    # Of arms with different training splits only val counts.
    assert overlap.of_pair(*pair) == pytest.approx(0.1)


def test_draws_with_most_images_in_common_still_give_an_interval():
    rng = np.random.default_rng(2)
    images, draws = 400, 10
    by_image = rng.normal(0, 0.6, (draws, images))
    weights = rng.multinomial(images, np.full(images, 1 / images), size=300).T / images
    found = bootstrap.compare_draws(
        by_image.mean(axis=1),
        np.zeros(draws),
        (by_image @ weights, np.zeros((draws, 300))),
        draws=Draws(np.arange(draws), 0.8),
        images=images,
    )
    assert found["freedom"] >= 3
    assert found["interval"][1] < 0.5


@pytest.mark.parametrize(
    ("sizes", "part"),
    [
        ([0.03, 0.03], "could have shown is 0.030: it"),
        ([0.03, 0.05], "is 0.030 to 0.050, depending on the pair of arms: it"),
        ([0.03, 3.0], "is 0.030, and none for 1 pair: it"),
        ([2.0, 3.0], "could not have shown any difference"),
    ],
)
def test_the_smallest_difference_is_told_for_all_pairs(sizes, part):
    row = {"split": "test", "metric": "f1", "threshold": "at_own", "prevalence": None, "p": 0.5}
    rows = [{**row, "detectable": size} for size in sizes]
    figures = {"comparisons": rows, "method": {"split_draws": 10, "power": 0.8}}
    assert part in answer.of_smallest(figures, "test")
    assert answer.of_smallest({**figures, "comparisons": []}, "test") == ""
