import json
import random
import re
import shutil

import apache_beam as beam
import pytest
import tensorflow as tf
from damage import flip_a_bit
from listed import assert_listed, list_files
from sampler_images import (
    Image,
    cats_and_dogs,
    draw,
    make_images,
    place_in_memory,
    serialized,
    write_examples,
)
from tfx.types import standard_artifacts
from tfx.types.channel import Channel

from components import slice_columns
from components.artifact_files import DamagedArtifactError
from components.example_files import shard_name, split_shards
from components.imbalance_sampler.assignment import assign
from components.imbalance_sampler.census import Census
from components.imbalance_sampler.component import ImbalanceSampler
from components.imbalance_sampler.demand import resolve
from components.imbalance_sampler.index import Index
from components.imbalance_sampler.placement import place, read_outcomes
from components.imbalance_sampler.request import SamplingError, parse_request
from components.imbalance_sampler.shuffle import load_bucket, saved_buckets
from components.imbalance_sampler.survey import (
    bucket_bits,
    read_survey,
    survey,
    write_buckets,
)
from components.imbalance_sampler.units import form_units

SPLITS = {
    "train": {"cats": 50, "dogs": 5},
    "val": {"cats": 20, "dogs": 2},
    "test": {"cats": 20, "dogs": 2},
}
NAMES = ("test", "val", "train")


def in_shards(images, count):
    """Distributes the images to shards in turn."""
    return [images[number::count] for number in range(count)]


@pytest.fixture(scope="module")
def images():
    return cats_and_dogs(200, 20)


@pytest.fixture(scope="module")
def source(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    write_examples(folder, in_shards(images, 3))
    return folder


@pytest.fixture(scope="module")
def drawn(source, tmp_path_factory):
    return draw(source, tmp_path_factory.mktemp("drawn"), SPLITS, keep_rest=1)


def refused(message: str):
    return pytest.raises(SamplingError, match=re.escape(message))


def test_the_splits_contain_the_images_that_the_rule_assigns(images, drawn):
    placed = place_in_memory(images, SPLITS).ids
    for split in (*NAMES, "rest"):
        assert len(drawn.ids(split)) == len(placed[split])
        assert set(drawn.ids(split)) == placed[split]


def test_the_artifact_records_the_names_of_the_splits(drawn):
    assert drawn.split_names == ["test", "val", "train", "rest"]


def test_records_are_copied_unchanged_and_in_order(images, drawn):
    records = {serialized(image): number for number, image in enumerate(images)}
    for split in (*NAMES, "rest"):
        for shard in drawn.records(split):
            places = [records[record] for record in shard]
            assert places == sorted(places)


def test_only_the_splits_and_the_report_are_left(drawn):
    folders = {path.split("/data_tfrecord")[0] for path in drawn.digests()}
    expected = {f"examples/Split-{split}" for split in (*NAMES, "rest")}
    lists = {"examples/files.json", "sampling/files.json"}
    assert folders == expected | lists | {"sampling/sampling.json"}


def test_the_report_has_what_is_known_of_the_slice_columns(source, drawn, tmp_path):
    assert drawn.report["slice_columns"] is None  # examples of an older version
    copied = shutil.copytree(source, tmp_path / "source")
    known = {"bands": {"brightness": [90.5, 130.25]}, "values": {"breed": 12}}
    slice_columns.write(known, str(copied))
    list_files(copied)
    assert draw(copied, tmp_path, SPLITS).report["slice_columns"] == known


def test_the_report_gives_the_images_requested_available_and_used(drawn):
    report = drawn.report
    assert report["random_state"] == 42
    assert report["assignment"] == "exact"
    assert report["group_by"] == ""
    assert report["population"] == {"prevalence": pytest.approx(1 / 11), "source": "data"}
    assert report["classes"] == {
        "cats": {"label": 0, "available": 200, "rest": 110, "held_back": 0},
        "dogs": {"label": 1, "available": 20, "rest": 11, "held_back": 0},
    }
    assert report["splits"]["test"]["dogs"] == {"asked": 2, "available": 20, "used": 2}
    assert report["splits"]["train"]["dogs"] == {"asked": 5, "available": 16, "used": 5}
    assert report["class_weight"] == {"0": pytest.approx(0.55), "1": pytest.approx(5.5)}


def test_more_workers_write_the_same_bytes(source, drawn, tmp_path):
    workers = ("--direct_running_mode=multi_threading", "--direct_num_workers=2")
    again = draw(
        source, tmp_path, SPLITS, keep_rest=1, beam_args=("--runner=FnApiRunner", *workers)
    )
    assert again.digests() == drawn.digests()


def test_other_shards_in_another_order_give_the_same_splits(images, drawn, tmp_path):
    shuffled = random.Random(1).sample(images, len(images))
    # One shard is empty, as a reader may write it.
    write_examples(tmp_path / "in", [*in_shards(shuffled, 7), []])
    again = draw(tmp_path / "in", tmp_path / "out", SPLITS, keep_rest=1)
    for split in (*NAMES, "rest"):
        assert set(again.ids(split)) == set(drawn.ids(split))


def test_shards_without_an_image_of_a_split_leave_no_gap_in_its_file_numbers(images, tmp_path):
    write_examples(tmp_path / "in", in_shards(images, 12))
    few = draw(tmp_path / "in", tmp_path / "out", {"test": {"cats": 1, "dogs": 1}})
    files = sorted(path.name for path in (tmp_path / "out/examples/Split-test").iterdir())
    assert 1 <= len(files) <= 2
    assert files == [shard_name(number, len(files)) for number in range(len(files))]
    assert few.split_names == ["test"]


def test_a_rest_of_no_images_is_an_empty_split(source, tmp_path):
    everything = draw(source, tmp_path, {"train": {"cats": 200, "dogs": 20}}, keep_rest=1)
    assert everything.split_names == ["train", "rest"]
    assert everything.records("rest") == [[]]


def test_the_report_gives_the_classes_of_a_side(tmp_path):
    images = make_images("cats", 60) + make_images("birds", 30) + make_images("dogs", 9, label=1)
    write_examples(tmp_path / "in", [images])
    splits = {"test": {"negative": 40, "positive": 3}, "train": {"birds": 10, "dogs": 6}}
    weights = {"cats": 90, "birds": 9, "dogs": 1}
    report = draw(tmp_path / "in", tmp_path, splits, prevalence=json.dumps(weights)).report
    negative = report["splits"]["test"]["negative"]
    assert (negative["asked"], negative["available"], negative["used"]) == (40, 90, 40)
    assert sum(negative["by_class"].values()) == 40
    assert set(negative["by_class"]) == {"birds", "cats"}
    assert report["splits"]["test"]["dogs"] == {"asked": 3, "available": 9, "used": 3}
    assert report["population"] == {"prevalence": pytest.approx(0.01), "source": "settings"}


def test_groups_and_near_duplicates_are_read_from_the_examples(tmp_path):
    images = [
        Image(f"cats-{n}", scene=f"scene-{n // 2}", group=f"owner-{n // 5}") for n in range(100)
    ]
    images += make_images("dogs", 20, label=1)
    write_examples(tmp_path / "in", in_shards(images, 4))
    splits = {"test": {"cats": 11, "dogs": 2}, "train": {"cats": 21, "dogs": 5}}
    for group_by in ("", "owner"):
        folder = tmp_path / f"by-{group_by}"
        made = draw(tmp_path / "in", folder, splits, group_by=group_by, keep_rest=1)
        placed = place_in_memory(images, splits, grouped=bool(group_by)).ids
        for split in ("test", "train", "rest"):
            assert set(made.ids(split)) == placed[split]
        held_back = sum(entry["held_back"] for entry in made.report["classes"].values())
        assert held_back == len(placed["held_back"]) > 0


@pytest.mark.parametrize(
    ("splits", "properties", "message"),
    [
        (
            SPLITS | {"train": {"cats": 50, "dogs": 17}},
            {},
            "split 'train' asks for 17 of class 'dogs', 16 are left after 'test' and 'val'",
        ),
        (
            {"test": {"cats": 1, "dgos": 1}},
            {},
            "a class must be one of 'cats' and 'dogs'. Received: 'dgos' (did",
        ),
        (SPLITS, {"group_by": "ownr"}, "Received: 'ownr' (did you mean 'owner'?)"),
        (SPLITS, {"group_by": "label"}, "group_by must be a text column of the examples: "),
        (SPLITS, {"prevalence": '{"cats": 1}'}, "prevalence must have weights for 'dogs'"),
    ],
)
def test_an_impossible_request_is_refused_and_nothing_is_written(
    source, tmp_path, splits, properties, message
):
    with refused(message):
        draw(source, tmp_path, splits, **properties)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_examples_without_an_image_are_refused(tmp_path):
    write_examples(tmp_path / "in", [[], []])
    with refused("the examples contain no image"):
        draw(tmp_path / "in", tmp_path / "out", SPLITS)


def test_a_missing_shard_is_an_error_and_not_a_smaller_draw(images, tmp_path):
    write_examples(tmp_path / "in", in_shards(images, 3))
    (tmp_path / "in" / "Split-all" / shard_name(1, 3)).unlink()
    with pytest.raises(DamagedArtifactError, match="00001-of-00003 is missing"):
        draw(tmp_path / "in", tmp_path / "out", SPLITS)


def test_a_damaged_shard_is_an_error_that_names_it(images, tmp_path):
    write_examples(tmp_path / "in", in_shards(images, 3))
    damaged = tmp_path / "in" / "Split-all" / shard_name(1, 3)
    flip_a_bit(damaged)
    with pytest.raises(Exception, match=f"{damaged} is damaged: corrupted record"):
        draw(tmp_path / "in", tmp_path / "out", SPLITS)


def test_the_draw_lists_its_files(drawn):
    assert_listed(drawn.folder / "examples", check_digests=False)


def test_digests_are_checked_and_passed_on_if_the_input_says_so(images, tmp_path):
    write_examples(tmp_path / "in", in_shards(images, 3))
    list_files(tmp_path / "in", check_digests=True)
    draw(tmp_path / "in", tmp_path / "out", SPLITS)
    assert_listed(tmp_path / "out" / "examples", check_digests=True)

    changed = tmp_path / "in" / "Split-all" / shard_name(0, 3)
    records = [serialized(image) for image in reversed(in_shards(images, 3)[0])]
    with tf.io.TFRecordWriter(str(changed)) as writer:
        for record in records:
            writer.write(record)
    with pytest.raises(Exception, match=f"{changed} is damaged: must have the SHA-256"):
        draw(tmp_path / "in", tmp_path / "again", SPLITS)


def test_many_buckets_give_the_splits_of_one_and_contain_no_pixels(images, source, drawn, tmp_path):
    work, target = tmp_path / "work", tmp_path / "Split-test"
    work.mkdir()
    target.mkdir()
    shards = split_shards(str(source), "all")
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        survey(pipeline, shards, {str(work): 42}, group_by="")
    rows, class_counts = read_survey(str(work), len(shards))
    rows["unit"] = form_units(rows, random_state=42, max_distance=4).unit
    census = Census.of(class_counts)
    tallies = write_buckets(rows, census.classes, str(work), 4)
    assert saved_buckets(str(work)) == list(range(16))
    assert not [path for path in work.iterdir() if b"pixels" in path.read_bytes()]

    index = Index(bits=4, classes=2, tallies=tallies, load=lambda n: load_bucket(str(work), n))
    request = parse_request(SPLITS)
    plan = assign(request, resolve(request, census, index.usable()), index)
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        place(
            pipeline,
            [shard.path for shard in shards],
            str(work),
            plan=plan,
            uri=str(tmp_path),
            outputs={0: target.name},
        )
    assert sum(read_outcomes(str(work)).values()) == len(images)
    assert [path.read_bytes() for path in sorted(target.iterdir())] == [
        path.read_bytes() for path in sorted((drawn.folder / "examples/Split-test").iterdir())
    ]


@pytest.mark.parametrize(("size", "bits"), [(0, 0), (2**24, 0), (2**25, 1), (2**31, 7), (2**50, 8)])
def test_buckets_increase_in_number_before_they_increase_in_size(size, bits):
    assert bucket_bits(size) == bits


def test_the_component_refuses_bad_splits_before_anything_runs():
    examples = Channel(type=standard_artifacts.Examples)
    with refused("a size must be a whole number of images"):
        ImbalanceSampler(examples, splits={"train": {"cats": -1, "dogs": 1}})


def test_the_component_passes_its_settings_as_plain_values():
    component = ImbalanceSampler(
        Channel(type=standard_artifacts.Examples),
        splits=SPLITS,
        random_state=7,
        group_by="owner",
        keep_rest=True,
        prevalence={"cats": 10, "dogs": 1},
    )
    properties = component.exec_properties
    assert json.loads(properties.pop("splits")) == SPLITS
    assert json.loads(properties.pop("prevalence")) == {"cats": 10, "dogs": 1}
    assert properties == {
        "random_state": 7,
        "assignment": "exact",
        "group_by": "owner",
        "max_distance": 4,
        "keep_rest": 1,
        "ledger": "",
        "ledger_version": "",
        "pipeline_root": None,
        "draws": None,
        "written": None,
    }
    assert set(component.outputs) == {"drawn_examples", "sampling"}
