"""Images for the sampler's tests: placed in memory by the pure rule, or written to disk."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from listed import list_files

from components.imbalance_sampler import ledger
from components.imbalance_sampler.assignment import assign, band_edges
from components.imbalance_sampler.census import Census
from components.imbalance_sampler.demand import resolve
from components.imbalance_sampler.index import Index
from components.imbalance_sampler.plan import HELD_BACK, REST, Plan
from components.imbalance_sampler.request import check_class_names, check_sides, parse_request
from components.imbalance_sampler.rows import (
    SCANNED,
    SORTED,
    UNPLACED,
    bucket_of,
    class_key,
    sort_bucket,
    tally,
)
from components.imbalance_sampler.scores import fingerprints, scores
from components.imbalance_sampler.units import form_units


@dataclass(frozen=True)
class Image:
    """An image as the sampler sees it.

    Images of the same `scene` have the same perceptual hash, those of different scenes have
    different hashes, and an image without a scene has none; `hash` sets a hash explicitly.
    """

    id: str
    class_name: str = "cats"
    label: int = 0
    scene: str = ""
    group: str = ""
    hash: int | None = None

    @property
    def perceptual_hash(self) -> int | None:
        if self.hash is not None or not self.scene:
            return self.hash
        return hash_of(self.scene)

    @property
    def hash_text(self) -> str:
        value = self.perceptual_hash
        return "" if value is None else f"{value:016x}"


def hash_of(scene: str) -> int:
    return int.from_bytes(hashlib.sha256(scene.encode()).digest()[:8], "big")


def make_images(class_name: str, count: int, label: int = 0) -> list[Image]:
    return [Image(f"{class_name}-{number}", class_name, label) for number in range(count)]


def cats_and_dogs(cats: int, dogs: int) -> list[Image]:
    return make_images("cats", cats) + make_images("dogs", dogs, label=1)


def census_of(images: Iterable[Image]) -> Census:
    counts: dict[tuple[str, int], int] = {}
    for image in images:
        key = (image.class_name, image.label)
        counts[key] = counts.get(key, 0) + 1
    return Census.of(counts)


@dataclass(frozen=True)
class Placed:
    """The result of a draw: ids by split, 'rest' and 'held_back', the plan and the ledger."""

    ids: dict[str, set[str]]
    plan: Plan
    ledger: ledger.Ledger


def place_in_memory(
    images: Sequence[Image],
    splits: Mapping[str, Any],
    *,
    random_state: int = 42,
    assignment: str = "exact",
    grouped: bool = False,
    bits: int = 3,
    max_distance: int = 4,
    before: ledger.Ledger = ledger.EMPTY,
) -> Placed:
    """Draws the splits in memory, with 2**bits buckets, as the executor does."""
    census = census_of(images)
    request = parse_request(splits, assignment=assignment)
    check_class_names(request, census.classes)
    check_sides(request, [census.classes[rank] for rank in census.side(1)])
    rows = _scanned(images, random_state, grouped)
    stable = assignment == "stable"
    units = form_units(
        rows,
        random_state=random_state,
        max_distance=max_distance,
        placed=before.rows if stable else None,
        edges=band_edges(request) if stable else None,
    )
    rows["unit"], rows["excluded"] = units.unit, units.excluded
    buckets = {
        int(bucket): sort_bucket(rows[bucket_of(rows["unit"], bits) == bucket], census.classes)
        for bucket in np.unique(bucket_of(rows["unit"], bits))
    }
    index = Index(
        bits=bits,
        classes=len(census.classes),
        tallies=[(number, *entry) for number, rows in buckets.items() for entry in tally(rows)],
        load=lambda bucket: buckets.get(bucket, np.empty(0, SORTED)),
    )
    plan = assign(request, resolve(request, census, index.usable()), index)
    names = dict(enumerate(plan.splits)) | {REST: "rest", HELD_BACK: "held_back"}
    ids: dict[str, set[str]] = {name: set() for name in names.values()}
    for bucket in buckets.values():
        for position, outcome in zip(bucket["position"], plan.outcomes(bucket), strict=True):
            ids[names[int(outcome)]].add(images[position].id)
    terms = ledger.Terms(random_state, "owner" if grouped else "", (), max_distance)
    return Placed(ids, plan, ledger.after_draw(before, terms, rows, units))


def _scanned(images: Sequence[Image], random_state: int, grouped: bool) -> np.ndarray:
    rows = np.zeros(len(images), SCANNED)
    identities = [image.id.encode() for image in images]
    rows["image"] = scores(random_state, identities)
    rows["id"] = fingerprints(identities)
    rows["hash"] = [image.perceptual_hash or 0 for image in images]
    rows["hashed"] = [image.perceptual_hash is not None for image in images]
    groups = scores(random_state, [image.group.encode() for image in images])
    has_group = np.array([bool(image.group) for image in images])
    rows["group"] = np.where(has_group & grouped, groups, UNPLACED)
    rows["class_key"] = [class_key(image.class_name) for image in images]
    rows["position"] = np.arange(len(images))
    return rows


def write_examples(folder: Path, shards: Sequence[Sequence[Image]]) -> None:
    """Writes the images as an Examples artifact with split `all`."""
    import tensorflow as tf

    from components.example_files import shard_name, split_dir

    target = Path(split_dir(str(folder), "all"))
    target.mkdir(parents=True)
    for number, images in enumerate(shards):
        with tf.io.TFRecordWriter(str(target / shard_name(number, len(shards)))) as writer:
            for image in images:
                writer.write(serialized(image))
    list_files(folder)


def serialized(image: Image) -> bytes:
    import tensorflow as tf

    texts = {
        "image": f"pixels of {image.id}",
        "class_name": image.class_name,
        "image_id": image.id,
        "perceptual_hash": image.hash_text,
        "owner": image.group,
    }
    example = tf.train.Example()
    for name, text in texts.items():
        example.features.feature[name].bytes_list.value.append(text.encode())
    example.features.feature["label"].int64_list.value.append(image.label)
    return example.SerializeToString(deterministic=True)


@dataclass(frozen=True)
class Drawn:
    """The executor's output."""

    folder: Path
    split_names: list[str]
    report: dict[str, Any]

    def records(self, split: str) -> list[list[bytes]]:
        """Returns the serialized examples by shard."""
        import tensorflow as tf

        from components.example_files import split_shards

        return [
            list(tf.data.TFRecordDataset(shard.path).as_numpy_iterator())
            for shard in split_shards(str(self.folder / "examples"), split)
        ]

    def ids(self, split: str) -> list[str]:
        """Returns the image ids in the order of the records."""
        import tensorflow as tf

        return [
            tf.train.Example.FromString(record)
            .features.feature["image_id"]
            .bytes_list.value[0]
            .decode()
            for shard in self.records(split)
            for record in shard
        ]

    def digests(self) -> dict[str, str]:
        """Returns the SHA-256 of every file by its path."""
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }


def draw(
    source: Path,
    folder: Path,
    splits: Mapping[str, Any],
    *,
    beam_args: Sequence[str] = ("--runner=FnApiRunner",),
    **properties: Any,
) -> Drawn:
    """Runs the executor on the examples of a folder."""
    from tfx.types import artifact_utils, standard_artifacts

    from components.artifacts import Sampling
    from components.imbalance_sampler import executor

    examples, drawn = standard_artifacts.Examples(), standard_artifacts.Examples()
    sampling = Sampling()
    examples.uri = str(source)
    drawn.uri, sampling.uri = str(folder / "examples"), str(folder / "sampling")
    context = executor.Executor.Context(beam_pipeline_args=list(beam_args))
    executor.Executor(context).Do(
        {"examples": [examples]},
        {"drawn_examples": [drawn], "sampling": [sampling]},
        {
            "splits": json.dumps(splits),
            "random_state": 42,
            "assignment": "exact",
            "group_by": "",
            "max_distance": 4,
            "keep_rest": 0,
            "prevalence": "",
            "ledger": "",
            "ledger_version": "",
            **properties,
        },
    )
    report = json.loads((folder / "sampling" / "sampling.json").read_text())
    return Drawn(folder, artifact_utils.decode_split_names(drawn.split_names), report)
