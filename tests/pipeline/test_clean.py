"""What `outnumbered clean` removes, and what it keeps for the newest runs."""

import io
import json
import os
from pathlib import Path

import pytest
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.orchestration.pipeline import Pipeline
from tfx.types import standard_artifacts
from typer.testing import CliRunner

from components import artifact_files, feature_records
from components.artifacts import Report
from pipeline import clean, local, metadata_store
from pipeline.clean_cli import readable
from pipeline.cli import app

LONG_AGO = 1e9
NOW = 2e9


@component
def extractor(
    key: Parameter[str], featured_examples: OutputArtifact[standard_artifacts.Examples]
) -> None:
    folder = Path(featured_examples.uri)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / feature_records.KEY_FILE).write_text(feature_records.key_text(key))
    artifact_files.list_all(str(folder))


@component
def reporter(
    fails: Parameter[int],
    featured: InputArtifact[standard_artifacts.Examples],
    report: OutputArtifact[Report],
) -> None:
    if fails:
        raise ValueError("boom")
    folder = Path(report.uri)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.html").write_text("x" * 1000)
    artifact_files.list_all(str(folder))


def launched(output: Path, key: str, *, name: str = "small", fails: bool = False) -> str:
    """Runs two components and returns what is shown to the user."""
    (output / "tfx").mkdir(parents=True, exist_ok=True)
    extracts = extractor(key=key)
    reports = reporter(fails=int(fails), featured=extracts.outputs["featured_examples"])
    screen = io.StringIO()
    dag = Pipeline(
        pipeline_name=name,
        pipeline_root=str(output / "tfx" / "artifacts"),
        components=[extracts, reports],
        enable_cache=True,
        metadata_connection_config=metadata_store.connection(output),
    )
    local._launch(dag, output, screen)
    return screen.getvalue()


def run(output: Path, key: str, *, name: str = "small") -> list[str]:
    """Runs two components and returns those that were not cached."""
    shown = launched(output, key, name=name)
    return [name for name in ("extractor", "reporter") if f"{name}: done" in shown]


def fails(output: Path, key: str) -> None:
    with pytest.raises(Exception, match="boom"):
        launched(output, key, fails=True)


def add_features(output: Path, *keys: str, changed: float = LONG_AGO) -> None:
    for key in keys:
        folder = output / "features" / key
        folder.mkdir(parents=True)
        (folder / "part.npy").write_bytes(bytes(100))
        for path in (folder / "part.npy", folder):
            os.utime(path, (changed, changed))


def cleaned(output: Path, *, remove_them: bool = True) -> list[str]:
    found = clean.clean(output, now=NOW, remove_them=remove_them)
    return [str(item.path.relative_to(output)) for item in found]


OF_THE_FIRST_RUN = [
    "tfx/artifacts/extractor/featured_examples/1",
    "tfx/artifacts/reporter/report/2",
]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """The output folder of two runs with features of their own."""
    folder = tmp_path / "runs"
    run(folder, "one")
    run(folder, "two")
    add_features(folder, "one", "two")
    return folder


def test_without_being_asked_to_nothing_is_removed(output):
    assert cleaned(output, remove_them=False) == ["features/one", *OF_THE_FIRST_RUN]
    assert cleaned(output, remove_them=False) == ["features/one", *OF_THE_FIRST_RUN]
    assert run(output, "one") == []


def test_an_earlier_run_is_removed_and_the_newest_one_is_still_cached(output):
    cleaned(output)
    assert not any((output / path).exists() for path in ["features/one", *OF_THE_FIRST_RUN])
    assert (output / "features/two/part.npy").is_file()
    assert run(output, "two") == []
    assert cleaned(output) == []


def test_an_earlier_run_that_is_repeated_makes_its_outputs_again(output):
    cleaned(output)
    assert "Changed or deleted" not in launched(output, "two")
    assert run(output, "one") == ["extractor", "reporter"]
    assert run(output, "one") == []


def test_what_a_run_that_did_not_finish_resumes_from_is_kept(output):
    fails(output, "three")
    (output / "tfx/checkpoints/abc").mkdir(parents=True)
    assert cleaned(output) == ["features/one", *OF_THE_FIRST_RUN]
    assert run(output, "three") == ["reporter"]
    # Now that the newest run has finished, no training is resumed.
    assert "tfx/checkpoints/abc" in cleaned(output)


def test_the_newest_run_of_each_pipeline_is_kept(output):
    run(output, "three", name="study")
    assert cleaned(output) == ["features/one", *OF_THE_FIRST_RUN]
    assert run(output, "two") == run(output, "three", name="study") == []


def test_outputs_that_a_cached_run_uses_are_kept(output):
    run(output, "one")  # the newest, from the cache
    assert "tfx/artifacts/extractor/featured_examples/1" not in cleaned(output)
    assert run(output, "one") == []


def test_features_that_have_just_grown_are_kept(output):
    add_features(output, "three", changed=NOW - 3600)
    add_features(output, "four", changed=NOW - 48 * 3600)
    found = cleaned(output)
    assert "features/four" in found
    assert "features/three" not in found


def test_a_folder_that_was_moved_is_cleaned_where_it_is(output, tmp_path):
    copy = tmp_path / "elsewhere"
    output.rename(copy)
    run(output, "one")
    assert cleaned(copy) == ["features/one", *OF_THE_FIRST_RUN]
    assert (output / OF_THE_FIRST_RUN[0]).exists()


def test_outputs_that_no_metadata_store_lists_are_removed(output):
    (output / "tfx/artifacts.old-20261128").mkdir()
    (output / "tfx/artifacts/reporter/report/99").mkdir()
    assert set(cleaned(output)) - {"features/one", *OF_THE_FIRST_RUN} == {
        "tfx/artifacts.old-20261128",
        "tfx/artifacts/reporter/report/99",
    }


def test_a_folder_that_a_run_is_using_is_not_touched(output):
    with local.locked(output, "lock"), pytest.raises(local.RunError, match="another run is using"):
        cleaned(output)
    assert (output / "features/one").is_dir()


def command(*arguments: object):
    return CliRunner().invoke(app, ["clean", *map(str, arguments)])


def test_the_command_shows_what_it_would_remove_and_how_much(output):
    shown = command("--output", output)
    assert shown.exit_code == 0
    assert "outputs of earlier runs: 1" in shown.stdout
    assert str(output / OF_THE_FIRST_RUN[0]) in shown.stdout
    assert "To be removed with --yes:" in shown.stdout
    removed = json.loads(command("--output", output, "--yes", "--json").stdout)
    assert (removed["status"], removed["removed"]) == ("done", True)
    assert removed["bytes"] == sum(item["bytes"] for item in removed["items"]) > 1100
    assert command("--output", output).stdout == "Nothing to remove\n"


def test_a_file_with_several_links_counts_once_and_only_if_none_remains(output):
    root = output / "tfx" / "artifacts" / "extractor" / "featured_examples"
    for folder, name in (("98", "a"), ("99", "b"), ("99", "c")):
        (root / folder).mkdir(exist_ok=True)
        (root / folder / name).write_bytes(b"x" * 1000)
    os.link(root / "98" / "a", root / "99" / "a")
    os.link(root / "99" / "c", output / "elsewhere")
    found = {item.path.name: item.size for item in clean.clean(output, now=NOW, remove_them=False)}
    assert (found["98"], found["99"]) == (0, 2000)


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: None])
def test_a_folder_without_runs_is_refused(tmp_path, make):
    make(tmp_path / "photos")
    refused = command("--output", tmp_path / "photos")
    assert refused.exit_code == 2
    assert "--output must be the output folder of runs" in " ".join(refused.stderr.split())


def test_sizes_have_three_digits():
    sizes = {0: "0 bytes", 999: "999 bytes", 1000: "1 kB", 83_803_576: "83.8 MB", 5e15: "5e+03 TB"}
    assert {size: readable(size) for size in sizes} == sizes
