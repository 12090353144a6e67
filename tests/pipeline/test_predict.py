"""`outnumbered predict`: which images, which model, and what is said of each."""

import json
from pathlib import Path

import pytest
import tensorflow as tf
from PIL import Image

from components.images.rules import ReadingRules, RulesError
from pipeline.predict import PredictError, find_images, newest_model, predict, print_json


class MeanBrightness(tf.Module):
    """A served model whose probability is the brightness of the first pixel."""

    def __init__(self, rules: Path):
        super().__init__()
        self._asset = tf.saved_model.Asset(str(rules))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def predict_examples(self, examples):
        feature = {"image": tf.io.FixedLenFeature([], tf.string)}
        images = tf.io.parse_example(examples, feature)["image"]
        first = tf.map_fn(
            lambda data: tf.cast(tf.io.decode_image(data, 3)[0, 0, :1], tf.float32) / 255,
            images,
            fn_output_signature=tf.TensorSpec([1], tf.float32),
        )
        return {"probability": first, "is_positive": tf.cast(first >= 0.5, tf.int64)}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    rules = folder / "reading_rules.json"
    reading = ReadingRules(image_size=4, pixel_range=(0.0, 1.0), max_side=8, max_pixels=100)
    rules.write_text(reading.to_json())
    module = MeanBrightness(rules)
    for version in ("9", "10"):
        tf.saved_model.save(
            module, str(folder / version), signatures={"serving_default": module.predict_examples}
        )
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    Image.new("RGB", (4, 4), "white").save(folder / "a white one.png")
    Image.new("CMYK", (4, 4), (0, 0, 0, 255)).save(folder / "deep" / "black.jpg")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    (folder / "notes.txt").write_text("no image either")
    return folder


def test_folders_are_searched_in_order_and_other_files_passed_over(images: Path):
    names = [str(path.relative_to(images)) for path in find_images([images])]
    assert names == ["a white one.png", "broken.jpg", "deep/black.jpg"]


def test_a_path_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(PredictError, match=r"nowhere\.jpg"):
        find_images([tmp_path / "nowhere.jpg"])


def test_the_newest_version_is_the_highest_number(registry: Path):
    assert newest_model(registry).name == "10"
    assert newest_model(registry / "9").name == "9"


def test_each_image_gets_its_answer_and_a_broken_one_its_reason(registry: Path, images: Path):
    white, broken, black = predict(newest_model(registry), find_images([images]))
    assert (white.probability, white.is_positive) == (1.0, True)
    assert black.probability == pytest.approx(0.0, abs=0.02)
    assert black.is_positive is False
    assert broken.probability is None
    assert "not_an_image" in (broken.error or "") or "undecodable" in (broken.error or "")


def test_a_batch_of_nothing_but_broken_images_is_no_trouble(registry: Path, images: Path):
    (row,) = predict(newest_model(registry), [images / "broken.jpg"])
    assert row.error


def test_more_images_than_a_batch_keep_their_order(registry: Path, tmp_path: Path):
    for index in range(70):
        Image.new("RGB", (4, 4), (index, 0, 0)).save(tmp_path / f"{index:02d}.png")
    rows = list(predict(newest_model(registry), find_images([tmp_path])))
    values = [round((row.probability or 0) * 255) for row in rows]
    assert values == list(range(70))


def test_json_lines_leave_out_what_is_not_known(registry: Path, images: Path, capsys):
    unread = print_json(predict(newest_model(registry), find_images([images])))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert unread == 1
    assert set(lines[0]) == {"path", "probability", "is_positive"}
    assert set(lines[1]) == {"path", "error"}


def test_images_are_read_by_the_rules_in_the_models_assets(registry: Path, tmp_path: Path):
    # Only where it is scaled down to 8 pixels is the first pixel of the second image grey.
    Image.new("RGB", (11, 11)).save(tmp_path / "too many pixels.png")
    stripes = Image.new("L", (10, 10))
    stripes.paste(255, (1, 0, 10, 10))
    stripes.save(tmp_path / "too long.png")
    too_long, too_many = predict(newest_model(registry), find_images([tmp_path]))
    assert "too_large" in (too_many.error or "")
    assert 0.05 < (too_long.probability or 0.0) < 0.95


def test_a_model_from_before_the_rules_is_refused_with_what_to_do(tmp_path: Path):
    model = tf.Module()
    tf.saved_model.save(model, str(tmp_path / "old"))
    with pytest.raises(RulesError, match=r"reading_rules\.json.*train and push it again"):
        predict(tmp_path / "old", [tmp_path / "a.png"])
