"""Jobs: one row per image, also after kills; and what is refused before TensorFlow is loaded."""

import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from brightness_model import save_brightness_model
from model_folders import recorded
from PIL import Image
from stores_on_localhost import amazon, google
from typer.testing import CliRunner

from components import artifact_files
from components.image_example_gen import image_bytes
from components.registry import open_registry
from components.stores import StoreError, store_of
from pipeline.batch import job
from pipeline.batch.job import Job
from pipeline.batch.listing import Request
from pipeline.batch.work import JobError, Work
from pipeline.cli import app
from pipeline.predict import predict

MANY = 600
KILLS = 10
# A process that has TensorFlow and Beam, from which jobs are forked in no time.
WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload(["pipeline.batch.scoring"])


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    for version in ("6", "7"):
        save_brightness_model(folder / version, has_score=version == "7")
        artifact_files.list_all(str(folder / version))
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(70):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(folder / f"{number:02d}.png")
    (folder / "30.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    return folder


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_SHARD_IMAGES", 16)


def run(
    images: object, model: object, output: object, notes: list[str] | None = None
) -> job.Summary:
    found = Job(Request((str(images),)), str(model), str(output))
    return job.run(found, (notes if notes is not None else []).append)


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_image_gets_the_row_that_predict_gives_and_a_bad_one_its_reason(
    registry: Path, photos: Path, tmp_path: Path
):
    summary = run(photos, registry, tmp_path / "out" / "rows.jsonl")
    rows = rows_of(tmp_path / "out" / "rows.jsonl")
    expected = list(predict(registry / "7", sorted(photos.iterdir())))
    names = ("probability", "score", "is_positive", "needs_review", "error")
    assert [[row[name] for name in names] for row in rows] == [
        [getattr(row, name) for name in names] for row in expected
    ]
    assert [row["path"] for row in rows] == [str(row.path) for row in expected]
    assert [row["uri"] for row in rows] == [row.path.name for row in expected]
    assert {row["model_version"] for row in rows} == {"7"}
    assert (summary.rows, summary.errors, summary.resumed) == (70, 1, 0)
    assert os.listdir(tmp_path / "out") == ["rows.jsonl"]


def test_an_image_that_is_gone_after_the_listing_is_a_row_with_its_reason(
    registry: Path, photos: Path, tmp_path: Path
):
    (tmp_path / "list.csv").write_text("uri\nphotos/01.png\nphotos/gone.png\n")
    found = Job(
        Request((), str(tmp_path / "list.csv")), str(registry / "6"), f"{tmp_path}/rows.parquet"
    )
    assert job.run(found, print).errors == 1
    first, gone = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert (first["uri"], first["model_version"], first["error"]) == ("photos/01.png", "6", None)
    assert (first["score"], first["needs_review"]) == (None, None), "version 6 has none"
    assert "missing" in gone["error"]


def test_what_is_not_a_file_is_a_row_with_its_reason(registry: Path, photos: Path, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "list.csv").write_text("uri\npipe.jpg\nphotos\nphotos/01.png\n")
    found = Job(Request((), f"{tmp_path}/list.csv"), str(registry), f"{tmp_path}/rows.jsonl")
    assert job.run(found, print).errors == 2
    errors = [row["error"] for row in rows_of(tmp_path / "rows.jsonl")]
    assert errors == [
        f"unreadable: it is not a file: {tmp_path}/pipe.jpg",
        f"unreadable: it is not a file: {tmp_path}/photos",
        None,
    ]


def break_shard(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The disk fails when an image is read."""
    read = image_bytes.files.read_bytes

    def failing(path: str) -> bytes:
        if path.endswith(name):
            raise OSError(5, "Input/output error")
        return read(path)

    monkeypatch.setattr(image_bytes.files, "read_bytes", failing)


@pytest.fixture
def interrupted(
    registry: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The output of a job that failed in its third shard."""
    with monkeypatch.context() as patch:
        break_shard(patch, "40.png")
        with pytest.raises(JobError, match=r"40\.png can't be read .*Input/output error"):
            run(photos, registry, tmp_path / "rows.jsonl")
    assert not (tmp_path / "rows.jsonl").exists()
    assert Work(f"{tmp_path}/rows.jsonl").done() >= {0, 1}
    return tmp_path / "rows.jsonl"


def test_a_disk_that_fails_is_an_error_and_the_next_job_resumes(
    registry, photos, interrupted: Path
):
    notes: list[str] = []
    done = len(Work(str(interrupted)).done())
    summary = run(photos, registry, interrupted, notes)
    assert notes == [f"resumes an interrupted job: {16 * done:,} of 70 images are done"]
    assert (summary.rows, summary.resumed) == (70, 16 * done)
    resumed = interrupted.read_bytes()
    run(photos, registry, interrupted)
    assert interrupted.read_bytes() == resumed


@pytest.mark.parametrize("change", ["images", "model"])
def test_a_job_with_other_images_or_another_model_starts_anew(
    registry: Path, photos: Path, interrupted: Path, change: str
):
    notes: list[str] = []
    if change == "images":
        Image.new("RGB", (4, 4), "white").save(photos / "00.png")
    model = registry / "6" if change == "model" else registry
    summary = run(photos, model, interrupted, notes)
    said = "the images have changed" if change == "images" else "the model is another one"
    assert [said in note for note in notes] == [True]
    assert (summary.rows, summary.resumed) == (70, 0)
    first, *_ = rows_of(interrupted)
    assert first["probability"] == (1.0 if change == "images" else 0.0)
    assert first["model_version"] == summary.model_version == ("6" if change == "model" else "7")


def test_damaged_rows_are_an_error_and_made_again(registry, photos, interrupted: Path):
    rows = Path(f"{interrupted}.parts", "rows-000000.jsonl")
    rows.write_bytes(rows.read_bytes()[:-100])
    with pytest.raises(JobError, match=r"shard 0 .*damaged.*run the same command again"):
        run(photos, registry, interrupted)
    assert run(photos, registry, interrupted).rows == 70
    assert [row["uri"] for row in rows_of(interrupted)] == sorted(os.listdir(photos))


@pytest.mark.parametrize(
    "damage", [lambda path: path.write_text("[1"), lambda path: path.write_text("7\n"), Path.unlink]
)
def test_a_damaged_list_of_images_is_an_error_and_made_again(
    registry, photos, interrupted: Path, damage
):
    work = Work(str(interrupted))
    left = min(set(range(5)) - work.done())
    damage(Path(f"{interrupted}.parts", f"images-{left:06d}.jsonl"))
    with pytest.raises(JobError, match=rf"list of images of shard {left} .*same command again"):
        run(photos, registry, interrupted)
    assert run(photos, registry, interrupted).rows == 70
    assert [row["uri"] for row in rows_of(interrupted)] == sorted(os.listdir(photos))


def test_a_list_that_has_lost_images_is_noticed_and_made_again(registry, photos, interrupted):
    left = min(set(range(5)) - Work(str(interrupted)).done())
    images = Path(f"{interrupted}.parts", f"images-{left:06d}.jsonl")
    images.write_text("".join(images.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(JobError, match=rf"shard {left} .*damaged.*run the same command again"):
        run(photos, registry, interrupted)
    assert run(photos, registry, interrupted).rows == 70


def test_a_full_disk_while_images_are_listed_is_an_error(registry, photos, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(job, "in_order", full)
    with pytest.raises(JobError, match="No space left on device"):
        run(photos, registry, tmp_path / "rows.csv")


def test_two_jobs_with_one_output_do_not_mix(registry: Path, photos: Path, tmp_path: Path):
    work = Work(f"{tmp_path}/rows.csv")
    with work.folder.locked(), pytest.raises(JobError, match="another job is writing into"):
        run(photos, registry, tmp_path / "rows.csv")
    assert run(photos, registry, tmp_path / "rows.csv").rows == 70


def test_what_a_killed_worker_of_another_machine_left_is_removed(
    registry: Path, photos: Path, tmp_path: Path
):
    parts = Path(tmp_path, "rows.csv.parts")
    parts.mkdir()
    Path(parts, f".other@12-{'0' * 32}-rows-000000.jsonl").touch()
    assert run(photos, registry, tmp_path / "rows.csv").rows == 70
    assert not parts.exists()


@pytest.mark.parametrize("name", ["mine.txt", "images-of-mine.jsonl"])
def test_a_folder_of_somebody_else_is_not_emptied(
    registry: Path, photos: Path, tmp_path: Path, name: str
):
    Path(tmp_path, "rows.csv.parts").mkdir()
    Path(tmp_path, "rows.csv.parts", name).write_text("kept")
    with pytest.raises(JobError, match=rf"not of a job; move it.*Received: {name}"):
        run(photos, registry, tmp_path / "rows.csv")
    assert Path(tmp_path, "rows.csv.parts", name).read_text() == "kept"


def job_process(images: str, model: str, output: str, temporary: str) -> None:
    """A job in a process of its own, for `WARM`."""
    job._SHARD_IMAGES = 16
    tempfile.tempdir = temporary
    job.run(Job(Request((images,)), model, output), print)


def start(*arguments: object) -> multiprocessing.process.BaseProcess:
    process = WARM.Process(target=job_process, args=[*map(str, arguments)])
    process.start()
    return process


def test_a_job_that_is_killed_ten_times_gives_the_rows_of_an_undisturbed_one(
    registry: Path, tmp_path: Path
):
    photos, temporary = tmp_path / "photos", tmp_path / "temporary"
    photos.mkdir()
    temporary.mkdir()
    for number in range(100):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(photos / f"{number:04d}.png")
    for number in range(100, MANY):
        shutil.copy(photos / f"{number % 100:04d}.png", photos / f"{number:04d}.png")
    (photos / "0333.png").write_bytes(b"not an image")
    start(photos / "0000.png", registry, tmp_path / "first.jsonl", temporary).join()
    started = time.monotonic()
    undisturbed = start(photos, registry, tmp_path / "undisturbed.jsonl", temporary)
    undisturbed.join()
    seconds = time.monotonic() - started
    output, rng, kills, resumed = tmp_path / "rows.jsonl", random.Random(0), 0, 0
    while kills < KILLS:
        process = start(photos, registry, output, temporary)
        if kills < KILLS - 1:
            process.join(rng.uniform(0, seconds))
        else:  # on a busy machine, all others may have come before the first image
            while process.is_alive() and not Work(str(output)).done():
                process.join(0.01)
        process.kill()
        process.join()
        kills += process.exitcode != 0
        resumed += bool(Work(str(output)).done())
    last = start(photos, registry, output, temporary)
    last.join()
    assert last.exitcode == 0
    assert resumed, "no kill came while images were scored"
    assert [row["uri"] for row in rows_of(output)] == [
        f"{number:04d}.png" for number in range(MANY)
    ]
    assert output.read_bytes() == (tmp_path / "undisturbed.jsonl").read_bytes()
    assert not os.listdir(temporary)
    assert not [name for name in os.listdir(tmp_path) if "parts" in name or "@" in name]


@pytest.mark.parametrize(("scheme", "store_server"), [("s3", amazon), ("gs", google)])
def test_images_rows_and_registry_may_be_in_a_bucket(
    registry: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, scheme, store_server
):
    bucket = f"{scheme}://scored-images"
    output, models = f"{bucket}/rows.jsonl", f"{bucket}/models"
    with store_server("scored-images") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        store = store_of(bucket)
        assert store is not None
        for path in photos.iterdir():
            store.write(f"{bucket}/photos/{path.name}", path.read_bytes())
        open_registry(models).push(registry / "7", recorded(blessed=True))
        with monkeypatch.context() as patch:
            fail_once(patch, f"{bucket}/photos/60.png")
            with pytest.raises(JobError, match=r"60\.png is unreachable"):
                run(f"{bucket}/photos", models, output)
        summary = run(f"{bucket}/photos", models, output)
        rows = [json.loads(line) for line in store.read(output).splitlines()]
        left = [each.path for each in store.below(f"{bucket}/rows")]
    assert summary.resumed
    assert summary.model_version == "1"
    assert [row["path"] for row in rows] == [
        f"{bucket}/photos/{name}" for name in sorted(os.listdir(photos))
    ]
    assert sum(row["error"] is not None for row in rows) == 1
    assert left == [output]


def fail_once(patch: pytest.MonkeyPatch, failing: str) -> None:
    read = image_bytes.files.read_bytes

    def unreachable(path: str) -> bytes:
        if path == failing:
            raise StoreError(f"{path} is unreachable")
        return read(path)

    patch.setattr(image_bytes.files, "read_bytes", unreachable)


def test_the_command_says_how_many_images_there_are_and_how_many_are_bad(
    registry: Path, photos: Path, tmp_path: Path
):
    command = ["predict", str(photos), "--model", str(registry), "--output", f"{tmp_path}/r.csv"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.stderr
    assert "70 images in" in result.stdout
    assert "1 that can't be read" in result.stdout
    as_json = CliRunner().invoke(app, [*command, "--json"])
    assert json.loads(as_json.stdout) == {
        "output": f"{tmp_path}/r.csv",
        "rows": 70,
        "errors": 1,
        "positives": 0,
        "needs_review": 0,
        "resumed": 0,
        "model_version": "7",
    }


def test_the_speed_and_the_time_left_are_shown(
    registry: Path, photos: Path, tmp_path: Path, caplog
):
    caplog.set_level("INFO", logger="outnumbered.predict")
    original = job.watched
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "watched", lambda *a, **k: original(*a, interval=0.01, **k))
        run(photos, registry, tmp_path / "rows.jsonl")
    assert any(" of 70 images, " in line and " a second, " in line for line in caplog.messages)


def test_an_engine_that_can_not_be_reached_is_named(registry: Path, photos: Path, tmp_path: Path):
    options = (
        *("--runner=PortableRunner", "--job_endpoint=localhost:1"),
        *("--environment_type=EXTERNAL", "--environment_config=localhost:50000"),
    )
    request, output = Request((str(photos),)), str(tmp_path / "rows.jsonl")
    with pytest.raises(JobError, match="--job_endpoint can't be reached from this machine"):
        job.run(Job(request, str(registry), output, options), print)


DATAFLOW = json.dumps(
    {
        "runner": "DataflowRunner",
        "options": [
            *("--project=my-project", "--region=europe-west4", "--temp_location=gs://bucket/temp"),
            "--sdk_container_image=registry.example/outnumbered:1-worker",
        ],
    }
)
WRONG = [
    (["--output", "rows.xlsx"], "--output must end in one of"),
    (["--manifest", "list.csv"], "--output is required"),
    (["gs://nowhere/a.jpg"], "--output is required"),
    (["ftp://host/a.jpg", "--output", "rows.csv"], "PATH must be a path on this machine or start"),
    (["--output", "ftp://host/rows.csv"], "ftp:// is not supported"),
    (["--output", "rows.csv", "--set", "trainer.epochs=5"], "trainer"),
    (["--output", "rows.csv", "--set", 'beam.options=["--runner=x"]'], "set beam.runner instead"),
    (
        ["--output", "gs://bucket/rows.csv", "--set", f"beam={DATAFLOW}"],
        "PATH must be in a bucket for DataflowRunner",
    ),
    (["--output", "photos/rows.csv", "--model", "nowhere"], "--model must be"),
    (["--output", "photos/1.png/rows.csv"], "--output must be a folder"),
    (["--manifest", "list.csv", "--output", "./list.csv"], "must be another file than what is"),
    (["list.csv", "--output", "link.csv"], "must be another file than what is read"),
]


def test_what_can_be_checked_is_checked_before_tensorflow_is_loaded(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.png").write_bytes(b"x")
    (tmp_path / "list.csv").write_text("uri\n1.png\n")
    (tmp_path / "link.csv").symlink_to("list.csv")
    script = (
        "import json, sys\n"
        "from typer.testing import CliRunner\n"
        "from pipeline.cli import app\n"
        "results = [CliRunner().invoke(app, ['predict', 'photos', *options])\n"
        "    for options in json.loads(sys.argv[1])]\n"
        "print(json.dumps([[result.exit_code, result.stderr] for result in results]))\n"
        "print('tensorflow' in sys.modules)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, json.dumps([options for options, _ in WRONG])],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=True,
    )
    results, loaded = ended.stdout.splitlines()
    for (code, shown), (options, expected) in zip(json.loads(results), WRONG, strict=True):
        assert code == 2, (options, shown)
        assert expected in shown
    assert loaded == "False"
    assert sorted(os.listdir(tmp_path)) == ["link.csv", "list.csv", "photos"]
    assert (tmp_path / "list.csv").read_text() == "uri\n1.png\n"
