import numpy as np
import pytest
from PIL import Image

from benchmarks import cats_vs_dogs
from benchmarks.cats_vs_dogs import Pool, Result
from pipeline.settings import load_settings


@pytest.fixture(scope="module")
def pool() -> Pool:
    """Features that tell cats from dogs nearly always."""
    splits = '{"train": {"cats": 60, "dogs": 20}, "val": {"cats": 30, "dogs": 10}, '
    splits += '"test": {"cats": 60, "dogs": 20}}'
    settings = load_settings("cats_vs_dogs", None, [f"sampler.splits={splits}"])
    rng = np.random.default_rng(0)
    classes = np.repeat(["cats", "dogs"], [160, 55])
    values = rng.normal(size=(215, 8)) + 2 * (classes == "dogs")[:, None]
    return Pool(values[:, None].astype(np.float32), classes, settings)


def test_a_draw_has_the_counts_of_the_preset_and_no_photograph_twice(pool):
    drawn, other = pool.draw(0), pool.draw(1)
    rows = np.concatenate(list(drawn.values()))
    assert {name: len(found) for name, found in drawn.items()} == {
        "train": 80,
        "val": 40,
        "test": 80,
    }
    assert len(np.unique(rows)) == 200
    assert set(drawn["test"]) != set(other["test"])


def test_too_few_photographs_are_told(pool):
    few = Pool(pool._views[:170], pool._classes[:170], pool._settings)
    with pytest.raises(ValueError, match=r"50 photographs of 'dogs' .* Received: 10"):
        few.draw(0)


def test_a_draw_is_evaluated_on_test_alone(pool):
    splits = pool.draw(0)
    found = pool.evaluate(splits)
    np.testing.assert_array_equal(found.rows, splits["test"])
    assert found.f1["f1"] == cats_vs_dogs.f1(found.labels, found.called)
    assert 0.9 < found.f1["f1"] <= found.f1["best_threshold"]
    # Other labels in test change no choice.
    turned = Pool(pool._views, pool._classes, pool._settings)
    turned._labels = pool._labels.copy()
    turned._labels[splits["test"]] = 1 - turned._labels[splits["test"]]
    again = turned.evaluate(splits)
    np.testing.assert_array_equal(again.called, found.called)
    assert again.penalty == found.penalty


def test_the_interval_covers_the_mean_and_is_wider_for_photographs_that_recur():
    def result(rows) -> Result:
        labels = (rows % 4 == 0).astype(np.int64)
        wrong = np.random.default_rng(1).random(4000)[rows] < 0.1
        return Result(rows, labels, (labels == 1) ^ wrong, {}, 0.1, 0.01)

    apart = [result(np.arange(400 * number, 400 * number + 400)) for number in range(10)]
    same = [result(np.arange(400)) for _ in range(10)]
    low, high = cats_vs_dogs.interval(apart, 4000)
    mean = np.mean([cats_vs_dogs.f1(each.labels, each.called) for each in apart])
    assert low < mean < high
    below, above = cats_vs_dogs.interval(same, 4000)
    assert above - below > 1.5 * (high - low)


def test_of_near_duplicates_only_one_is_used(tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for number in range(4):
        pixels = rng.integers(0, 255, (8, 8, 3)).astype(np.uint8)
        image = Image.fromarray(pixels).resize((64, 64))
        for name in ("first", "again") if number == 2 else ("first",):
            path = tmp_path / f"{number}-{name}.png"
            (image if name == "first" else image.resize((80, 80))).save(path)
            paths.append(path)
    assert cats_vs_dogs.alone(paths).tolist() in ([0, 1, 2, 4], [0, 1, 3, 4])
