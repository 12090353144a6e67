"""Paths in settings and options are expanded, or refused before an image is read."""

from pathlib import Path

import pytest
from stores_on_localhost import amazon
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.kubeflow.errors import UsageError
from pipeline.kubeflow.package import Package
from pipeline.kubeflow.settings import Kubeflow
from pipeline.settings import SettingsError, load, preset_path
from pipeline.study.settings import load_study


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "key", ["data.source", "data.manifest", "trainer.weights", "pusher.registry"]
)
def test_each_path_in_the_settings_is_expanded_and_checked(key, home):
    preset = preset_path("cats_vs_dogs")
    section, name = key.split(".")
    expanded = getattr(getattr(load(preset, [f"{key}=~/it"]), section), name)
    assert expanded == f"{home}/it"
    with pytest.raises(SettingsError, match=rf"{key}: must be .*ftp:// is not supported") as found:
        load(preset, [f"{key}=ftp://host/it"])
    assert "'ftp://host/it'" in str(found.value)


def test_the_paths_of_a_study_are_expanded_and_checked(home):
    study = load_study("training", None, ["feature_store=~/features"])
    assert study.feature_store == f"{home}/features"
    with pytest.raises(SettingsError, match=r"feature_store: must be .*gs:// is not supported"):
        load_study("training", None, ["feature_store=gs://bucket/features"])


def test_the_paths_of_the_kubeflow_client_are_expanded(home):
    section = Kubeflow(
        image="i:1", pipeline_root="s3://b/r", ca_file="~/ca", auth={"token_path": "~/token"}
    )
    assert (section.ca_file, section.auth.token_path) == (f"{home}/ca", f"{home}/token")


@pytest.mark.parametrize("root", ["s3://bucket/exp[1]", "gs://bucket/run?", "minio://bucket/*"])
def test_a_pipeline_root_with_pattern_characters_is_refused(root):
    with pytest.raises(ValueError, match=r"must not contain .*pattern"):
        Kubeflow(image="i:1", pipeline_root=root)


def test_runtime_parameters_that_are_paths_are_checked():
    package = Package(Path("p.yaml"), "p", {"source": "STRING", "pipeline_root": "STRING"}, "0")
    assert package.arguments(["source=gs://b/photos"]) == {"source": "gs://b/photos"}
    with pytest.raises(UsageError, match=r"--param source: .*https:// .*Received: 'https:"):
        package.arguments(["source=https://example.com"])
    with pytest.raises(UsageError, match=r"--param pipeline_root: must not contain \[ or \]"):
        package.arguments(["pipeline_root=s3://b/exp[1]"])


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 2, result.output
    return " ".join(result.stderr.split())


PHOTOS = ("--set", "data.source=nowhere/at/all")
RUN = ("run", "--preset", "cats_vs_dogs", *PHOTOS)
STUDY = ("study", "--preset", "training", *PHOTOS)


@pytest.mark.parametrize("command", [RUN, STUDY])
@pytest.mark.parametrize("name", ["exp[1]", "exp*", "exp?"])
def test_an_output_with_pattern_characters_is_refused_before_images_are_listed(
    command, name, tmp_path
):
    message = refused(*command, "--output", tmp_path / name / "below")
    assert "--output must not contain" in message
    assert f"{name}/below'" in message
    assert list(tmp_path.iterdir()) == []


def test_pattern_characters_in_a_parent_folder_are_refused(tmp_path, monkeypatch):
    (tmp_path / "exp[1]").mkdir()
    monkeypatch.chdir(tmp_path / "exp[1]")
    assert "--output must not contain [ or ]" in refused(*RUN, "--output", "runs")


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("run", "--settings", "gs://bucket/mine.yaml"), "--settings"),
        (("study", "--settings", "gs://bucket/mine.yaml"), "--settings"),
        (("settings", "--settings", "gs://bucket/mine.yaml"), "--settings"),
        (("data", "make-sample", "gs://bucket/sample"), "FOLDER"),
        (("kubeflow", "compile", "--settings", "gs://bucket/mine.yaml"), "--settings"),
    ],
)
def test_an_unsupported_scheme_in_a_path_option_is_refused(arguments, option):
    message = refused(*arguments)
    assert f"{option} must be a path on this machine" in message
    assert ":// is not supported here; mount the bucket" in message
    assert "Received: '" in message


@pytest.mark.parametrize("command", [RUN, STUDY, ("retrain", *RUN[1:])])
@pytest.mark.parametrize("output", ["gs://bucket/runs", "s3://bucket/runs"])
def test_an_output_in_a_bucket_is_refused_with_what_may_be_in_one(command, output):
    message = refused(*command, "--output", output)
    assert "--output must be a path on this machine" in message
    assert "pusher.registry may be in a bucket" in message
    assert f"Received: '{output}'" in message


def test_a_registry_in_a_bucket_that_does_not_exist_is_refused_before_images_are_listed(
    monkeypatch,
):
    with amazon("other") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        message = refused(*RUN, "--set", "pusher.registry=s3://nowhere/models")
    assert "can't read registry s3://nowhere/models: " in message
    assert "NoSuchBucket" in message


def test_a_ledger_in_a_bucket_that_does_not_exist_is_refused_before_images_are_listed(
    monkeypatch,
):
    with amazon("other") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        ledger = ("sampler.assignment=stable", "sampler.ledger=s3://lost/a.ledger")
        message = refused(*RUN, *(word for each in ledger for word in ("--set", each)))
    assert "sampler.ledger can't be used: s3://lost/a.ledger can't be read" in message
    assert "NoSuchBucket" in message


def test_a_registry_that_is_a_file_is_refused_before_images_are_listed(tmp_path):
    (tmp_path / "file").touch()
    message = refused(*RUN, "--set", f"pusher.registry={tmp_path}/file/models")
    assert f"pusher.registry must be a folder: {tmp_path}/file is not one" in message


def test_a_feature_store_that_is_a_file_is_refused_before_images_are_listed(tmp_path):
    (tmp_path / "file").touch()
    message = refused(*STUDY, "--set", f"feature_store={tmp_path}/file")
    assert "feature_store must be a folder" in message


def test_a_tilde_in_an_option_is_expanded(home):
    (home / "photo.jpg").touch()
    message = refused("predict", "~/photo.jpg", "--model", "~/models")
    assert f"Received: {home}/models" in message
