"""`outnumbered predict`: which images, which model, and the output for each."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import tensorflow as tf
from brightness_model import save_brightness_model
from damage import DAMAGES, empty, halve
from PIL import Image

from components import artifact_files
from components.image_example_gen.sources import list_images
from components.images.rules import RulesError
from components.registry import RegistryError, open_registry
from pipeline.predict import (
    PredictError,
    find_images,
    predict,
    print_json,
    print_table,
)
from pipeline.served_model import served_model


def served(model: Path) -> Path:
    return served_model(str(model), Path("nowhere"))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    for version, has_score in (("9", False), ("10", True)):
        save_brightness_model(folder / version, has_score=has_score)
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


def test_a_path_that_does_not_exist_is_named(tmp_path: Path):
    with pytest.raises(PredictError, match=r"nowhere\.jpg"):
        find_images([tmp_path / "nowhere.jpg"])


def test_the_version_to_which_the_registry_points_is_used(registry: Path, tmp_path: Path):
    shutil.copytree(registry, tmp_path / "copy")
    open_registry(tmp_path / "copy").rollback()
    assert served(tmp_path / "copy").name == "9"


def test_a_folder_that_is_neither_model_nor_registry_is_named(tmp_path: Path):
    message = f"--model must be the folder of a pushed model, or a registry .*: {tmp_path}"
    with pytest.raises(RegistryError, match=message):
        served(tmp_path)


def test_in_a_registry_of_an_earlier_release_the_highest_number_serves(registry: Path):
    assert served(registry).name == "10"
    assert served(registry / "9").name == "9"


@pytest.fixture
def listed_registry(registry: Path, tmp_path: Path) -> Path:
    """A registry whose versions have the list of their files, as those that are pushed."""
    shutil.copytree(registry, tmp_path / "listed")
    for version in ("9", "10"):
        artifact_files.list_all(str(tmp_path / "listed" / version))
    return tmp_path / "listed"


@pytest.mark.parametrize("damage", [*DAMAGES, Path.unlink])
@pytest.mark.parametrize("name", ["saved_model.pb", "assets/reading_rules.json", "fingerprint.pb"])
def test_a_damaged_model_is_named_and_no_older_one_used(listed_registry, images, name, damage):
    damage(listed_registry / "10" / name)
    message = f"^{listed_registry}/10 is damaged: {name} .*Roll back to another .*, or repeat"
    with pytest.raises(RegistryError, match=message):
        predict(served(listed_registry), find_images([images]))
    assert len(list(predict(served(listed_registry / "9"), find_images([images])))) == 3


@pytest.mark.parametrize("damage", [empty, halve])
def test_a_damaged_model_of_a_release_without_lists_is_named(registry, tmp_path, images, damage):
    shutil.copytree(registry / "9", tmp_path / "model")
    damage(tmp_path / "model" / "saved_model.pb")
    with pytest.raises(PredictError, match=f"^{tmp_path}/model is damaged: .*repeat the run"):
        predict(tmp_path / "model", find_images([images]))


def test_each_image_gets_its_prediction_and_a_broken_one_its_reason(registry: Path, images: Path):
    white, broken, black = predict(served(registry), find_images([images]))
    assert (white.probability, white.is_positive) == (1.0, True)
    assert black.probability == pytest.approx(0.0, abs=0.02)
    assert black.is_positive is False
    assert broken.probability is None
    assert "not_an_image" in (broken.error or "") or "undecodable" in (broken.error or "")


def test_a_batch_may_have_only_broken_images(registry: Path, images: Path):
    (row,) = predict(served(registry), [images / "broken.jpg"])
    assert row.error


def test_more_images_than_a_batch_keep_their_order(registry: Path, tmp_path: Path):
    for index in range(70):
        Image.new("RGB", (4, 4), (index, 0, 0)).save(tmp_path / f"{index:02d}.png")
    rows = list(predict(served(registry), find_images([tmp_path])))
    values = [round((row.probability or 0) * 255) for row in rows]
    assert values == list(range(70))


def test_json_lines_omit_unknown_values(registry: Path, images: Path, capsys):
    unread = print_json(predict(served(registry), find_images([images])))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert unread == 1
    assert set(lines[0]) == {"path", "probability", "score", "is_positive", "needs_review"}
    assert (lines[0]["probability"], lines[0]["score"]) == (1, 0.5)
    assert set(lines[1]) == {"path", "error"}


def test_a_model_of_an_earlier_version_has_no_score(registry: Path, images: Path, capsys):
    print_json(predict(registry / "9", [images / "a white one.png"]))
    assert json.loads(capsys.readouterr().out).keys() == {"path", "probability", "is_positive"}


def test_an_image_to_be_reviewed_is_marked(registry: Path, tmp_path: Path, capsys):
    for name, grey in (("black", 0), ("grey", 128), ("white", 255)):
        Image.new("L", (4, 4), grey).save(tmp_path / f"{name}.png")
    images = find_images([tmp_path])
    rows = list(predict(served(registry), images))
    assert [row.needs_review for row in rows] == [False, True, False]
    print_table(rows)
    assert capsys.readouterr().out.count("yes, to be reviewed") == 1
    rows = list(predict(registry / "9", images))
    assert [row.needs_review for row in rows] == [None, None, None]


def test_images_are_read_by_the_rules_in_the_models_assets(registry: Path, tmp_path: Path):
    # The first pixel of the second image is grey only if it is scaled down to 8 pixels.
    Image.new("RGB", (11, 11)).save(tmp_path / "too many pixels.png")
    stripes = Image.new("L", (10, 10))
    stripes.paste(255, (1, 0, 10, 10))
    stripes.save(tmp_path / "too long.png")
    (tmp_path / "too many bytes.png").write_bytes((tmp_path / "too long.png").read_bytes())
    os.truncate(tmp_path / "too many bytes.png", 2**21)
    found = find_images([tmp_path])
    too_long, too_many_bytes, too_many_pixels = predict(served(registry), found)
    assert "Received: 2,097,152 bytes" in (too_many_bytes.error or "")
    assert "Received: 11 x 11 pixels" in (too_many_pixels.error or "")
    assert 0.05 < (too_long.probability or 0.0) < 0.95


def test_a_model_from_before_the_rules_is_refused_with_what_to_do(tmp_path: Path):
    model = tf.Module()
    tf.saved_model.save(model, str(tmp_path / "old"))
    with pytest.raises(RulesError, match=r"reading_rules\.json.*train and push it again"):
        predict(tmp_path / "old", [tmp_path / "a.png"])


JPEG = b"\xff\xd8\xff\xe0 starts like a JPEG"
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0"

KEPT = {
    "a.jfif": JPEG,
    "b.jpe": JPEG,
    "c.avif": b"",
    "d.heic": HEIC,
    "e": JPEG,
    "f.dat": HEIC,
    "g.jpg": b"text",
    "dir.jpg/h.TIF": b"",
    "linked/i.jpg": JPEG,
}
PASSED_OVER = {
    "README.txt": b"of the photographs",
    "manifest.csv": b"uri,label\n",
    "empty": b"",
    "._a.jpg": JPEG,
    "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg": JPEG,
    "a.xmp": b"<x:xmpmeta/>",
    "Thumbs.db": b"\xd0\xcf",
}


def test_a_folder_is_searched_by_content_and_suffix_with_the_walk_of_the_ingestion(tmp_path: Path):
    folder = tmp_path / "images"
    for name, data in (KEPT | PASSED_OVER).items():
        path = (tmp_path if name.startswith("linked") else folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "linked").symlink_to(tmp_path / "linked")
    (folder / "round").symlink_to(folder)
    (folder / "gone").symlink_to(tmp_path / "nowhere")
    passed_over: Counter[str] = Counter()
    found = find_images([folder], passed_over)
    assert {str(path.relative_to(folder)) for path in found} == {*KEPT, "gone"}
    assert passed_over == {
        "files that are not images": 3,
        "hidden files": 1,
        "@eaDir/": 1,
        "*.xmp": 1,
        "Thumbs.db": 1,
    }


def test_ingestion_and_prediction_pass_over_the_same(tmp_path: Path):
    for name in ("cats/a.jpg", "cats/b", "cats/deep/._c.jpg", "cats/@eaDir/d.jpg", "cats/e.aae"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(JPEG)
    (tmp_path / "dogs").symlink_to(tmp_path / "cats")
    listed = [record.path for record in list_images(str(tmp_path))]
    assert [str(path) for path in find_images([tmp_path])] == listed


def test_a_given_file_is_always_read(tmp_path: Path):
    for name in ("._a.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert find_images([tmp_path / "._a.jpg", tmp_path / "notes.txt"]) == [
        tmp_path / "._a.jpg",
        tmp_path / "notes.txt",
    ]


def test_the_error_about_a_folder_without_images_lists_what_was_passed_over(tmp_path: Path):
    (tmp_path / "README.txt").write_text("nothing here")
    with pytest.raises(PredictError, match=r"passed over: files that are not images \(1\)"):
        find_images([tmp_path])


SIGNATURES = ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO"]


@pytest.mark.parametrize("kind", SIGNATURES)
def test_each_format_is_recognized_by_its_first_bytes(tmp_path: Path, kind: str):
    Image.new("RGB", (20, 20), "red").save(tmp_path / "image", kind)
    assert find_images([tmp_path]) == [tmp_path / "image"]


def test_the_command_prints_what_it_passes_over_and_nothing_of_libraries(
    registry: Path, images: Path
):
    program = (sys.executable, "-c", "from pipeline.cli import main; main()")
    options = ("--model", str(registry), "--json")
    result = subprocess.run(
        [*program, "predict", str(images), *options], capture_output=True, text=True, check=False
    )
    assert result.stderr == "passed over: files that are not images (1)\n"
    assert len(result.stdout.splitlines()) == 3


def test_a_name_is_printed_unchanged(registry: Path, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(tmp_path)
    names = ["dog [final].jpg", "[bold]b.jpg", "[red]x.jpg", "a\nb.jpg", "\x1b[2Jc.jpg"]
    for name in names:
        Image.new("RGB", (4, 4), "white").save(name)
    Image.new("RGB", (4, 4), "white").save(os.fsdecode(b"caf\xe9.jpg"))
    print_table(predict(served(registry), [Path(path) for path in os.listdir()]))
    shown = capsys.readouterr().out
    for name in (*names[:3], r"a\nb.jpg", r"\x1b[2Jc.jpg", r"caf\udce9.jpg"):
        assert f" {name} " in shown
