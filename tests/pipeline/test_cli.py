"""Invalid input on the command line: exit code 2, and a message that says what to do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline import options
from pipeline.cli import app

SETTINGS = """
name: tiny
data: {{source: {source}, positive_class: dogs}}
sampler:
  splits:
    train: {{cats: 2, dogs: 1}}
    val: {{cats: 2, dogs: 1}}
    test: {{cats: 2, dogs: 1}}
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight cats and four dogs, in one folder per class."""
    folder = tmp_path / "photos"
    for class_name, count in (("cats", 8), ("dogs", 4)):
        (folder / class_name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (8, 8), (index, 0, 0)).save(folder / class_name / f"{index}.png")
    return folder


def run(photos: Path, *arguments: str):
    """Runs `outnumbered run` on the photographs, in this process."""
    settings = photos.parent / "tiny.yaml"
    settings.write_text(SETTINGS.format(source=photos))
    command = ["run", "--settings", str(settings), "--output", str(photos.parent / "runs")]
    return CliRunner().invoke(app, [*command, *arguments])


def refused(result, *parts: str) -> None:
    message = " ".join(result.stderr.split())
    assert result.exit_code == 2, message
    assert message.startswith("error: ")
    for part in parts:
        assert part in message


def test_a_folder_that_does_not_exist(photos):
    refused(run(photos, "--set", "data.source=nowhere"), "does not exist", "nowhere")


def test_an_empty_folder(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(run(photos, "--set", f"data.source={tmp_path / 'empty'}"), "empty")


def test_one_class_only(photos):
    for path in (photos / "cats").iterdir():
        path.unlink()
    (photos / "cats").rmdir()
    refused(run(photos), "dogs", "class")


def test_a_positive_class_that_does_not_exist_gets_the_nearest_name(photos):
    refused(run(photos, "--set", "data.positive_class=dosg"), "'dosg'", "did you mean 'dogs'")


def test_a_split_that_requests_more_images_than_exist(photos):
    refused(
        run(photos, "--set", "sampler.splits.train.dogs=30"),
        "split 'train' asks for 30 of class 'dogs', 2 are left after 'test' and 'val'",
    )


def test_a_split_without_positives(photos):
    refused(run(photos, "--set", "sampler.splits.val={cats: 2}"), "'val'", "dogs")


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("trainer.epoch=3", "trainer.epoch: no such setting (did you mean 'epochs'?)"),
        ("trainer.epochs=soon", "trainer.epochs"),
        ("sampler.splits.train.cats=-5", "-5"),
    ],
)
def test_settings_with_an_invalid_key_type_or_size(photos, override, part):
    refused(run(photos, "--set", override), part)


def manifest(photos: Path, text: str) -> tuple[str, str]:
    path = photos / "manifest.csv"
    path.write_text(text)
    return "--set", f"data.manifest={path}"


def test_a_weights_file_that_does_not_exist(photos):
    xception = ("--set", "trainer.model=xception", "--set", "trainer.weights=nowhere.weights.h5")
    refused(run(photos, *xception), "trainer.weights", "'nowhere.weights.h5'", "save_weights")


def test_a_manifest_without_a_label_column(photos):
    refused(run(photos, *manifest(photos, "uri,class\ncats/0.png,cats\n")), "label")


def test_a_manifest_with_an_unknown_label(photos):
    rows = "uri,label\ncats/0.png,cats\ndogs/0.png,dgos\ndogs/1.png,dogs\n"
    prevalence = ("--set", "population.prevalence={cats: 10, dogs: 1}")
    refused(run(photos, *manifest(photos, rows), *prevalence), "dgos", "did you mean 'dogs'")


def test_a_manifest_with_a_missing_file(photos):
    rows = "uri,label\ncats/0.png,cats\ndogs/nowhere.png,dogs\n"
    refused(run(photos, *manifest(photos, rows)), "dogs/nowhere.png")


def test_neither_preset_nor_settings():
    refused(CliRunner().invoke(app, ["run"]), "--preset", "--settings")


def test_json_has_the_error_on_standard_output(photos):
    result = run(photos, "--set", "data.source=nowhere", "--json")
    assert json.loads(result.stdout)["status"] == "failed"
    assert "nowhere" in json.loads(result.stdout)["error"]


def test_json_has_the_errors_of_settings(photos):
    result = run(photos, "--set", "trainer.epochs=soon", "--json")
    assert "trainer.epochs" in json.loads(result.stdout)["error"]


def test_a_refused_run_creates_nothing(photos):
    run(photos, "--set", "data.positive_class=dosg")
    assert not (photos.parent / "runs").exists()


def test_an_output_folder_that_cannot_be_created(photos):
    result = run(photos, "--output", "/proc/outnumbered")
    assert result.exit_code == 1
    assert "the output folder /proc/outnumbered can't be written to" in result.stderr


def test_settings_can_be_printed_and_used_again(photos, tmp_path):
    first = CliRunner().invoke(app, ["settings", "--preset", "cats_vs_dogs"])
    mine = tmp_path / "mine.yaml"
    mine.write_text(first.stdout)
    second = CliRunner().invoke(app, ["settings", "--settings", str(mine)])
    assert first.exit_code == second.exit_code == 0
    assert first.stdout == second.stdout


def test_prediction_without_a_model_says_what_to_give(photos, tmp_path):
    result = CliRunner().invoke(app, ["predict", str(photos), "--model", str(tmp_path)])
    refused(result, "--model must be the folder of a pushed model")


def test_prediction_of_images_that_do_not_exist(tmp_path):
    refused(CliRunner().invoke(app, ["predict", str(tmp_path / "no.jpg")]), "does not exist")


def test_a_message_does_not_show_a_long_value_in_full(photos):
    result = run(photos, "--set", "trainer.epochs=" + "x" * 1_000_000, "--json")
    refused(result, "trainer.epochs", "characters left out")
    assert len(result.stderr) < 5000
    assert len(result.stdout) < 5000


def test_a_message_does_not_list_thousands_of_errors(photos):
    keys = ", ".join(f"k{index}: 1" for index in range(5000))
    result = run(photos, "--set", f"trainer={{{keys}}}")
    refused(result, "characters left out")
    assert len(result.stderr) < 200_000


def test_a_message_of_many_lines_says_how_many_are_left_out():
    shown = options.shortened("line\n" * 150).split("\n")
    assert (len(shown), shown[-1]) == (101, "... 51 more lines")


# What each command refuses, with what its message must contain.
WRONG = [
    (["run", "--preset", "cats_vs_dogs", "--set", "data.source=nowhere"], "data.source"),
    (["retrain", "--preset", "cats_vs_dogs", "--set", "data.source=nowhere"], "data.source"),
    (["study", "--preset", "training", "--set", "data.source=nowhere"], "data.source"),
    (["study", "--preset", "training", "--set", "trainer.weights=no.h5"], "trainer.weights"),
    (["predict", "nowhere.jpg"], "PATH"),
    (["predict", "image.jpg", "--model", "nowhere"], "--model"),
]


def test_wrong_settings_are_told_before_tensorflow_is_loaded(tmp_path: Path):
    Image.new("RGB", (8, 8)).save(tmp_path / "image.jpg")
    script = (
        "import json, sys\n"
        "from typer.testing import CliRunner\n"
        "from pipeline.cli import app\n"
        "for command in json.loads(sys.argv[1]):\n"
        "    result = CliRunner().invoke(app, command)\n"
        "    loaded = sorted({'tensorflow', 'tfx', 'apache_beam'} & sys.modules.keys())\n"
        "    print(json.dumps([result.exit_code, result.stderr, loaded]))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, json.dumps([command for command, _ in WRONG])],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    for (command, part), line in zip(WRONG, ended.stdout.splitlines(), strict=True):
        code, message, loaded = json.loads(line)
        assert (code, loaded) == (2, []), command
        assert part in message
    assert ended.stderr == ""
