import hashlib
import json
import logging
import os
import shutil

import pytest
from listed import assert_listed
from pictures_on_disk import encoded, picture, read_lines, write, write_pictures
from PIL import Image

from components import artifact_files, example_files, names, slice_columns
from components.image_example_gen import shards
from components.image_example_gen.sources import ImageRecord, SourceError, data_version, list_images
from components.image_example_gen.verdict import BadImagesError
from components.images import isolated
from components.images.perceptual_hash import as_hex
from components.images.reader import read_image


def by_uri(ingested) -> dict:
    return {example["uri"].decode(): example for example in ingested.examples}


def test_an_image_becomes_an_example_with_all_features(photos, ingest):
    run = ingest(photos)
    data = (photos / "dogs/0001.jpg").read_bytes()
    example = by_uri(run)["dogs/0001.jpg"]
    assert len(example.pop(names.PERCEPTUAL_HASH)) == 16
    assert example == {
        names.IMAGE: data,
        names.LABEL: 1,
        names.CLASS_NAME: b"dogs",
        names.URI: b"dogs/0001.jpg",
        names.IMAGE_ID: hashlib.sha256(data).hexdigest().encode(),
        names.WIDTH: 64,
        names.HEIGHT: 48,
        names.IMAGE_SIZE: 64 * 48,
        names.BRIGHTNESS: pytest.approx(read_image(data).brightness),
        names.SHARPNESS: pytest.approx(read_image(data).sharpness),
    }
    assert run.split_names == '["all"]'
    shards = example_files.split_shards(str(run.examples_uri), names.ALL)
    assert [str(path) for path in run.shards] == [shard.path for shard in shards]


def test_examples_are_sorted_by_uri_and_no_other_files_remain(photos, ingest):
    run = ingest(photos)
    uris = [example["uri"] for example in run.examples]
    assert uris == sorted(uris)
    assert len(uris) == 8
    own = ["files.json", "slice_columns.json", "spans.json"]
    assert sorted(os.listdir(run.examples_uri)) == ["Split-all", *own]
    assert run.summary["by_class"] == {"cats": 5, "dogs": 3}
    assert run.quarantine == []


def test_the_examples_list_their_files(photos, ingest):
    shutil.copy(photos / "dogs" / "0001.jpg", photos / "dogs" / "copy.jpg")  # is dropped
    run = ingest(photos, check_digests=True)
    assert_listed(run.examples_uri, check_digests=True)
    assert [
        shard.records for shard in example_files.split_shards(str(run.examples_uri), "all")
    ] == [8]


def test_all_classes_except_the_positive_one_are_negative(photos, ingest):
    write_pictures(photos / "birds", 2, first_seed=200)
    examples = ingest(photos, positive_class="birds").examples
    labels = {(example["class_name"], example["label"]) for example in examples}
    assert labels == {(b"birds", 1), (b"cats", 0), (b"dogs", 0)}


def test_slice_columns_of_a_manifest_become_features(photos, ingest):
    rows = [
        {"uri": "dogs/0000.jpg", "label": "dogs", "breed": "Dackel – ü", "age": 3},
        {"uri": "cats/0000.jpg", "label": "cats"},
    ]
    write(photos / "m.jsonl", "\n".join(map(json.dumps, rows)).encode())
    run = ingest(photos, manifest=str(photos / "m.jsonl"), slices=["breed", "age"])
    cat, dog = run.examples
    assert (cat["breed"], cat["age"]) == (b"", b"")
    assert (dog["breed"].decode(), dog["age"]) == ("Dackel – ü", b"3")


def test_the_examples_give_the_terciles_of_their_measures_and_the_values_of_columns(photos, ingest):
    shutil.copy(photos / "dogs" / "0001.jpg", photos / "dogs" / "copy.jpg")  # is not counted
    uris = [f"{path.parent.name}/{path.name}" for path in sorted(photos.glob("*/*.jpg"))]
    rows = [
        {"uri": uri, "label": uri[:4], "shelf": str(number % 3)} for number, uri in enumerate(uris)
    ]
    write(photos / "m.jsonl", "\n".join(map(json.dumps, rows)).encode())
    run = ingest(photos, manifest=str(photos / "m.jsonl"), slices=["shelf"])
    known = slice_columns.read(str(run.examples_uri))
    assert known["values"] == {"shelf": 3}
    assert known["bands"]["image_size"] is None
    assert len(run.examples) == 8
    for name in (names.BRIGHTNESS, names.SHARPNESS):
        values = sorted(example[name] for example in run.examples)
        assert known["bands"][name] == pytest.approx([values[2], values[5]])


def test_a_lost_file_of_the_slice_columns_is_not_taken_for_an_older_version(photos, ingest):
    run = ingest(photos)
    (run.examples_uri / slice_columns.FILE).unlink()
    with pytest.raises(artifact_files.DamagedArtifactError, match=slice_columns.FILE):
        slice_columns.read(str(run.examples_uri))


def test_max_side_scales_images_down(photos, ingest):
    example = ingest(photos, max_side=32).examples[0]
    assert (example["width"], example["height"]) == (32, 24)
    assert example["image_size"] == 64 * 48


def add_bad_images(photos) -> dict[str, str]:
    """Adds images with each kind of fault to a source; returns the reason of each."""
    jpeg = encoded(picture(50))
    write(photos / "cats/empty.jpg", b"")
    write(photos / "cats/text.jpg", b"this is no image")
    write(photos / "cats/truncated.jpg", jpeg[:-300])
    write(photos / "cats/both.jpg", jpeg)
    write(photos / "dogs/both too.jpg", jpeg)
    write(photos / "dogs/huge.png", encoded(Image.new("1", (3000, 3000)), "PNG"))
    (photos / "dogs/gone.jpg").symlink_to(photos / "nothing.jpg")
    (photos / "dogs/round.jpg").symlink_to(photos / "dogs/round.jpg")
    return {
        "cats/both.jpg": "label_conflict",
        "cats/empty.jpg": "empty",
        "cats/text.jpg": "not_an_image",
        "cats/truncated.jpg": "undecodable",
        "dogs/both too.jpg": "label_conflict",
        "dogs/gone.jpg": "missing",
        "dogs/huge.png": "too_large",
        "dogs/round.jpg": "unreadable",
    }


def test_bad_images_are_quarantined_with_a_reason_and_good_ones_are_kept(photos, ingest):
    reasons = add_bad_images(photos)
    write(photos / "dogs/a GIF by content.jpg", encoded(picture(60), "GIF"))
    write(photos / "dogs/größe 写真.JPG", encoded(picture(61)))
    write(photos / "dogs/Thumbs.db", b"not an image")
    run = ingest(photos, max_pixels=1_000_000)
    assert {row["uri"]: row["reason"] for row in run.quarantine} == reasons
    assert all(row["detail"] and row["class_name"] for row in run.quarantine)
    uris = set(by_uri(run))
    assert {"dogs/a GIF by content.jpg", "dogs/größe 写真.JPG"} < uris
    assert not uris & set(reasons)
    assert run.summary["by_class"] == {"cats": 5, "dogs": 5}
    assert run.summary["quarantined"] == 8
    assert run.summary["listed"] == 18


def test_a_file_larger_than_its_pixels_can_need_is_not_read(photos, ingest):
    with open(photos / "dogs/sparse.jpg", "wb") as file:
        file.truncate(1 << 40)
    (row,) = ingest(photos).quarantine
    assert (row["uri"], row["reason"]) == ("dogs/sparse.jpg", "too_large")


def test_a_file_that_is_deleted_after_the_listing_is_missing(tmp_path):
    staging = shards.Staging(str(tmp_path))
    record = ImageRecord("cats/1.jpg", str(tmp_path / "1.jpg"), "cats", (), 10, 0)
    staging.write_listing(0, 7, [record])
    rules = shards.Rules(positive_class="dogs", max_side=0, max_pixels=1000)
    shards.ingest([0], staging, rules)
    (refusal,) = staging.read_outcome(0).refusals
    assert (refusal.row, refusal.reason) == (7, "missing")


def test_equal_images_are_kept_once(photos, ingest):
    shutil.copy(photos / "dogs/0002.jpg", photos / "dogs/copy.jpg")
    shutil.copy(photos / "dogs/0002.jpg", photos / "dogs/0000 copy.jpg")
    run = ingest(photos)
    dogs = [uri for uri in by_uri(run) if uri.startswith("dogs")]
    assert dogs == ["dogs/0000 copy.jpg", "dogs/0000.jpg", "dogs/0001.jpg"]
    assert (run.summary["duplicates"], run.summary["quarantined"]) == (2, 0)


@pytest.fixture
def many(tmp_path):
    """A source of three shards, including duplicates, near-duplicates and bad images."""
    source = tmp_path / "many"
    write_pictures(source / "cats", 200, first_seed=1000)
    write_pictures(source / "dogs", 100, first_seed=2000)
    shutil.copy(source / "cats/0000.jpg", source / "cats/0199 copy.jpg")
    write(source / "dogs/near.jpg", encoded(picture(1001), quality=10))
    write(source / "dogs/truncated.jpg", encoded(picture(1))[:-100])
    return source


def test_every_image_has_its_own_hash_even_if_another_resembles_it(many, ingest):
    pair = ("cats/0001.jpg", "dogs/near.jpg")
    expected = {uri: read_image((many / uri).read_bytes()).perceptual_hash for uri in pair}
    assert len(set(expected.values())) == 2
    run = ingest(many)
    hashes = {uri: example["perceptual_hash"].decode() for uri, example in by_uri(run).items()}
    assert len(run.shards) == 3
    assert {uri: hashes[uri] for uri in pair} == {uri: as_hex(expected[uri]) for uri in pair}


def test_the_output_does_not_depend_on_the_workers_and_the_order_of_the_manifest(many, ingest):
    rows = [f"{path.relative_to(many)},{path.parent.name}" for path in sorted(many.glob("*/*"))]
    write(many / "forward.csv", "\n".join(["uri,label", *rows]).encode())
    write(many / "backward.csv", "\n".join(["uri,label", *reversed(rows)]).encode())
    one = ingest(many, manifest="forward.csv", name="one")
    two = ingest(many, manifest="backward.csv", name="two", workers=2)
    assert one.contents == two.contents
    assert (one.summary, one.quarantine) == (two.summary, two.quarantine)


def test_the_output_does_not_depend_on_the_processes_that_decode(many, ingest, monkeypatch):
    one = ingest(many, name="one")
    write(many / "cats/0000.gif", encoded(picture(3).quantize(64), "GIF"))
    # Decoding in this process is an error now.
    monkeypatch.setattr(isolated, "_SMALL_BYTES", None)
    two = ingest(many, name="two", image_workers=2)
    (many / "cats/0000.gif").unlink()
    three = ingest(many, name="three", image_workers=2)
    assert one.contents == three.contents != two.contents
    assert (one.summary, one.quarantine) == (three.summary, three.quarantine)
    assert two.summary["accepted"] == one.summary["accepted"] + 1


@pytest.mark.parametrize(("workers", "pipelines"), [(1, 0), (2, 1)])
def test_images_are_read_in_a_pipeline_if_it_has_several_workers(
    photos, ingest, monkeypatch, workers, pipelines
):
    from components.image_example_gen.executor import Executor

    made, make = [], Executor._make_beam_pipeline
    monkeypatch.setattr(
        Executor, "_make_beam_pipeline", lambda self: made.append(self) or make(self)
    )
    assert ingest(photos, workers=workers).summary["accepted"] == 8
    assert len(made) == pipelines


def test_a_shard_that_loses_all_its_images_leaves_no_gap(tmp_path, ingest):
    write_pictures(tmp_path / "s/cats", 2, first_seed=0)
    for number in range(300):
        write(tmp_path / f"s/dogs/{number:03d}.jpg", b"")
    write_pictures(tmp_path / "s/zebras", 2, first_seed=10)
    write(tmp_path / "s/dogs/good.jpg", encoded(picture(20)))
    run = ingest(tmp_path / "s")
    assert [path.name for path in run.shards] == [
        example_files.shard_name(0, 2),
        example_files.shard_name(1, 2),
    ]
    assert list(by_uri(run)) == [
        "cats/0000.jpg",
        "cats/0001.jpg",
        "dogs/good.jpg",
        "zebras/0000.jpg",
        "zebras/0001.jpg",
    ]


def test_too_many_bad_images_stop_the_run_and_their_list_is_kept(photos, ingest, tmp_path):
    reasons = add_bad_images(photos)
    with pytest.raises(BadImagesError, match=r"8 of 16 images were refused.*2 label_conflict") as e:
        ingest(photos, max_bad_fraction=0.4, max_pixels=1_000_000)
    path = tmp_path / "out/quarantine/refused-1/quarantine.jsonl"
    assert str(path) in str(e.value)
    assert {row["uri"]: row["reason"] for row in read_lines(path)} == reasons
    assert os.listdir(tmp_path / "out/examples/1") == []


def test_a_class_with_only_bad_images_stops_the_run(photos, ingest):
    for path in (photos / "dogs").iterdir():
        path.write_bytes(b"")
    with pytest.raises(BadImagesError, match="no image of class 'dogs' is left"):
        ingest(photos)


def test_a_source_that_cannot_be_listed_stops_the_run(photos, ingest):
    with pytest.raises(SourceError, match="did you mean 'dogs'"):
        ingest(photos, positive_class="dgos")


def test_the_counts_are_logged(photos, ingest, caplog):
    with caplog.at_level(logging.INFO, logger="outnumbered.image_example_gen"):
        ingest(photos)
    assert "8 images: 8 accepted, 0 duplicates, 0 quarantined" in caplog.messages


def test_leftovers_of_a_storage_system_are_not_images_and_are_counted(photos, ingest, caplog):
    for class_name in ("cats", "dogs"):
        for path in sorted((photos / class_name).iterdir()):
            preview = photos / class_name / "@eaDir" / path.name / "SYNOPHOTO_THUMB_M.jpg"
            preview.parent.mkdir(parents=True)
            shutil.copyfile(path, preview)
    (photos / "README.txt").write_text("not one of them")
    with caplog.at_level(logging.INFO, logger="outnumbered.image_example_gen"):
        run = ingest(photos)
    assert (run.summary["listed"], len(run.examples)) == (8, 8)
    assert run.summary["passed_over"] == {"@eaDir/": 2, "files beside the class folders": 1}
    assert caplog.messages[-1].endswith(
        "; passed over: @eaDir/ (2), files beside the class folders (1)"
    )


@pytest.fixture
def run_pipeline(tmp_path):
    """Runs the component and StatisticsGen on TFX's own runner, with a metadata store."""

    def run(source, **settings) -> None:
        import tfx.components  # noqa: F401 - before TensorFlow Data Validation
        from tensorflow_data_validation import StatsOptions
        from tfx.components.statistics_gen.component import StatisticsGen
        from tfx.orchestration import metadata
        from tfx.orchestration.local.local_dag_runner import LocalDagRunner
        from tfx.orchestration.pipeline import Pipeline

        from components.image_example_gen.component import ImageExampleGen

        version = data_version(list_images(str(source)))
        gen = ImageExampleGen(
            source=str(source), positive_class="dogs", data_version=version, **settings
        )
        options = StatsOptions(feature_allowlist=["label", "class_name"])
        statistics = StatisticsGen(examples=gen.outputs["examples"], stats_options=options)
        store = metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))
        pipeline = Pipeline(
            pipeline_name="ingest",
            pipeline_root=str(tmp_path / "root"),
            components=[gen, statistics],
            enable_cache=True,
            metadata_connection_config=store,
            beam_pipeline_args=["--runner=FnApiRunner", "--sdk_container_image=unused"],
        )
        LocalDagRunner().run(pipeline)

    return run


def test_tfx_reads_the_examples_and_reads_the_source_again_only_if_it_changed(
    photos, run_pipeline, tmp_path
):
    from tensorflow_data_validation import load_stats_binary

    run_pipeline(photos)
    run_pipeline(photos)
    outputs = tmp_path / "root/ImageExampleGen/examples"
    assert len(os.listdir(outputs)) == 1
    write(photos / "dogs/new.jpg", encoded(picture(70)))
    run_pipeline(photos)
    assert len(os.listdir(outputs)) == 2
    statistics = max(
        (tmp_path / "root").glob("StatisticsGen/statistics/*/Split-all/FeatureStats.pb")
    )
    assert load_stats_binary(str(statistics)).datasets[0].num_examples == 9


def test_the_list_of_refused_images_is_kept_after_a_failed_run(photos, run_pipeline, tmp_path):
    write(photos / "dogs/empty.jpg", b"")
    with pytest.raises(BadImagesError, match="1 of 9 images were refused"):
        run_pipeline(photos, max_bad_fraction=0.1)
    (path,) = (tmp_path / "root").glob("ImageExampleGen/quarantine/refused-*/quarantine.jsonl")
    assert [row["uri"] for row in read_lines(path)] == ["dogs/empty.jpg"]
