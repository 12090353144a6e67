"""FeatureExtractor's executor: computes missing features, then writes the splits with them."""

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import apache_beam as beam
import numpy as np
import tensorflow as tf
from tfx.components.util import examples_utils
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import Artifact, artifact_utils

from components import artifact_files, example_files, feature_records, names, tfrecords
from components.artifact_files import Described, Shard
from components.bundle_file import bundle_file
from components.checked_artifacts import checked
from components.feature_extractor.backbone import Backbone, Wanted
from components.feature_extractor.keys import Keys
from components.feature_extractor.store import FeatureStore, MeanReader
from components.in_progress import owned_name
from components.progress import Counter, watched

if TYPE_CHECKING:
    import keras
    from apache_beam.ml.inference.base import PredictionResult

MODEL_NAME = "model_name"
"""As in the Trainer, of which `model` is an output."""
WEIGHTS = "weights"
WEIGHTS_VERSION = "weights_version"
POOLED = "pooled"
IMAGE_SIZE = "image_size"
INPUT_SCALE = "input_scale"
VIEWS = "views"
STORE = "store"
SPLITS = "splits"
KEEPS_VIEWS = "keeps_views"

_LOGGER = logging.getLogger("outnumbered.feature_extractor")
_BATCH = 32
# Small enough to lose little if a run is interrupted, large enough for a small number of files.
_PART_IMAGES = 256
_SCRATCH = ".writing"
_WEIGHTS_FILE = "body.weights.h5"


class Executor(BaseBeamExecutor):
    """Executes FeatureExtractor."""

    @checked
    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the splits of `examples` with features instead of images.

        Args:
          input_dict: `examples`.
          output_dict: `featured_examples`.
          exec_properties: see `component.FeatureExtractor`.

        Raises:
          FileNotFoundError: the weights or a split do not exist.
          ValueError: the weights do not fit the backbone.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        source = artifact_utils.get_single_instance(input_dict[names.EXAMPLES])
        target = artifact_utils.get_single_instance(output_dict[names.FEATURED_EXAMPLES])
        splits = json.loads(exec_properties[SPLITS]) or artifact_utils.decode_split_names(
            source.split_names
        )
        shards = {split: example_files.split_shards(source.uri, split) for split in splits}
        backbone = _backbone(exec_properties)
        root = exec_properties[STORE] or os.path.join(target.uri, ".features")
        each = [shard for listed in shards.values() for shard in listed]
        images = Keys(_image_keys(each))
        network = backbone.build()
        views = backbone.each_view
        stores = [FeatureStore(Path(root) / of_view.key(network)) for of_view in views]
        self._extract(each, images, backbone, network, stores)
        check_digests = artifact_files.checks_digests(source.uri)
        key = stores[0].folder.name if len(stores) == 1 else backbone.key(network)
        rewrite = _Rewrite(
            [store.folder for store in stores],
            target.uri,
            keeps_views=bool(exec_properties[KEEPS_VIEWS]),
        )
        self._rewrite(shards, target.uri, rewrite, key=key, check_digests=check_digests)
        if not exec_properties[STORE]:
            fileio.rmtree(root)
        target.split_names = artifact_utils.encode_split_names(splits)
        examples_utils.set_payload_format(target, example_gen_pb2.FORMAT_TF_EXAMPLE)

    def _extract(
        self,
        shards: Sequence[Shard],
        images: Keys,
        backbone: Backbone,
        network: "keras.Model",
        stores: Sequence[FeatureStore],
    ) -> None:
        missing = 0
        for name, store in zip(backbone.views, stores, strict=True):
            store.discard_damaged(images)
            of_view = images.without(store.image_ids())
            found = len(images) - of_view
            _LOGGER.info("features of %s images exist (%s), %s to compute", found, name, of_view)
            missing += of_view
        if missing:
            with _saved(network, stores[0].folder) as weights:
                self._infer(shards, backbone, stores, weights, missing=missing)

    def _infer(
        self,
        shards: Sequence[Shard],
        backbone: Backbone,
        stores: Sequence[FeatureStore],
        weights: Path,
        *,
        missing: int,
    ) -> None:
        # Imported here, since they take seconds, which would delay the start of a pod.
        from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
        from apache_beam.ml.inference.tensorflow_inference import ModelType, TFModelHandlerNumpy

        from components.feature_extractor.inference import FeatureModel, infer

        handler = TFModelHandlerNumpy(
            str(weights),
            model_type=ModelType.SAVED_WEIGHTS,
            create_model_fn=partial(FeatureModel, backbone),
            # Declared for arrays, but called with the unchanged elements, here bytes.
            inference_fn=infer,  # type: ignore[arg-type]
            min_batch_size=_BATCH,
            max_batch_size=_BATCH,
        )
        folders = [store.folder for store in stores]
        counter = Counter()

        def stored() -> int:
            return sum(store.count() for store in stores)

        before = stored()

        def done() -> int:
            # Workers in other processes are only seen by the parts that they have stored.
            return counter.done or stored() - before

        what = "images" if len(stores) == 1 else "views of images"
        with (
            watched(done, total=missing, logger=_LOGGER.name, what=what),
            self._make_beam_pipeline() as pipeline,
        ):
            _ = (
                pipeline
                | "Shards" >> beam.Create([shard.path for shard in shards])
                | "Spread" >> beam.Reshuffle()
                | "Read" >> beam.FlatMap(_images)
                | "Missing" >> beam.ParDo(_Missing(folders))
                | "Infer" >> RunInference(KeyedModelHandler(handler))
                | "Store" >> beam.ParDo(_Store(folders, counter))
            )

    def _rewrite(
        self,
        shards: Mapping[str, Sequence[Shard]],
        uri: str,
        rewrite: "_Rewrite",
        *,
        key: str,
        check_digests: bool,
    ) -> None:
        fileio.makedirs(scratch := os.path.join(uri, _SCRATCH))
        tasks = []
        for split, listed in shards.items():
            fileio.makedirs(example_files.split_dir(uri, split))
            folder = example_files.split_dir("", split)
            tasks += [(each, os.path.join(folder, os.path.basename(each.path))) for each in listed]
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Shards" >> beam.Create(tasks)
                | "Spread" >> beam.Reshuffle()
                | "Rewrite" >> beam.ParDo(rewrite)
                | "ListFiles" >> beam.combiners.ToList()
                | "WriteList" >> beam.Map(_write_list, uri, key, check_digests)
            )
        if fileio.exists(scratch):  # a bucket has no empty folders
            fileio.rmtree(scratch)


@contextlib.contextmanager
def _saved(network: "keras.Model", folder: Path) -> Iterator[Path]:
    """Yields a file of the network's weights for the workers, which is removed at the end.

    Each run that shares the store has a file of its own, as its workers read it at any time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f".{owned_name()}-{_WEIGHTS_FILE}"
    try:
        network.save_weights(weights)
        yield weights
    finally:
        weights.unlink(missing_ok=True)


def _backbone(exec_properties: Mapping[str, Any]) -> Backbone:
    return Backbone(
        model=exec_properties[MODEL_NAME],
        weights=exec_properties[WEIGHTS],
        pooled=bool(exec_properties[POOLED]),
        image_size=int(exec_properties[IMAGE_SIZE]),
        input_scale=exec_properties[INPUT_SCALE],
        views=tuple(json.loads(exec_properties[VIEWS])),
    )


def _image_keys(shards: Iterable[Shard]) -> Iterator[str]:
    for shard in shards:
        for record in tfrecords.checked_records(shard):
            yield _key(_image(record))


def _key(image: bytes) -> str:
    """Returns the key of an image's features in the store.

    Not its `image_id`, which identifies the source file: the stored image, and so its features,
    also depends on settings such as `data.max_side`.
    """
    return hashlib.sha256(image).hexdigest()


def _images(file: str) -> Iterator[tuple[str, bytes]]:
    for record in tfrecords.records(file):
        image = _image(record)
        yield _key(image), image


def _image(record: bytes) -> bytes:
    features = tf.train.Example.FromString(record).features.feature
    image: bytes = features[names.IMAGE].bytes_list.value[0]
    return image


class _Missing(beam.DoFn):
    """Yields the images with those views whose features are not in the view's store."""

    def __init__(self, folders: Sequence[Path]):
        self._folders = folders

    def setup(self) -> None:
        self._known = [FeatureStore(folder).image_ids() for folder in self._folders]

    def process(self, element: tuple[str, bytes]) -> Iterator[tuple[str, Wanted]]:
        key, image = element
        views = tuple(view for view, known in enumerate(self._known) if key not in known)
        if views:
            yield key, Wanted(image, views)


class _Store(beam.DoFn):
    """Adds features to the stores of their views, in parts."""

    def __init__(self, folders: Sequence[Path], counter: Counter):
        self._folders = folders
        self._counter = counter

    def setup(self) -> None:
        self._stores = [FeatureStore(folder) for folder in self._folders]

    def start_bundle(self) -> None:
        self._pending: list[list[tuple[str, np.ndarray]]] = [[] for _ in self._folders]

    def process(self, element: tuple[str, "PredictionResult"]) -> None:
        image_id, result = element
        by_view = cast("dict[int, np.ndarray]", result.inference)
        for view, features in by_view.items():
            self._pending[view].append((image_id, features))
            if len(self._pending[view]) == _PART_IMAGES:
                self._add(view)
        self._counter.advance(len(by_view))

    def finish_bundle(self) -> None:
        for view in range(len(self._stores)):
            self._add(view)

    def _add(self, view: int) -> None:
        if pending := self._pending[view]:
            image_ids, features = zip(*pending, strict=True)
            self._stores[view].add(image_ids, np.stack(features))
        self._pending[view] = []


class _Rewrite(beam.DoFn):
    """Copies a shard, with each image replaced by its features; yields its entry.

    The features are the mean of those in the stores, one per view.
    """

    def __init__(self, folders: Sequence[Path], uri: str, *, keeps_views: bool):
        self._folders = folders
        self._uri = uri
        self._keeps_views = keeps_views

    def setup(self) -> None:
        self._reader = MeanReader([FeatureStore(folder).reader() for folder in self._folders])

    def process(self, element: tuple[Shard, str]) -> Iterator[Described]:
        source, name = element
        target = os.path.join(self._uri, name)
        scratch = os.path.join(self._uri, _SCRATCH)
        with bundle_file(target, scratch) as hidden, tf.io.TFRecordWriter(hidden) as writer:
            for record in tfrecords.records(source.path):
                writer.write(self._with_features(record))
        yield artifact_files.describe(self._uri, name, source.records)

    def _with_features(self, record: bytes) -> bytes:
        example = tf.train.Example.FromString(record)
        key = _key(example.features.feature[names.IMAGE].bytes_list.value[0])
        views = self._reader.each(key) if self._keeps_views else None
        feature_records.add(example, self._reader[key], views=views)
        # Deterministic, since trainings and caches are identified by the bytes.
        return example.SerializeToString(deterministic=True)


def _write_list(entries: Iterable[Described], uri: str, key: str, check_digests: bool) -> None:
    text = feature_records.key_text(key)
    of_key = artifact_files.describe_content(feature_records.KEY_FILE, text.encode())
    _write_text(uri, feature_records.KEY_FILE, text)
    listed = artifact_files.list_text([*entries, of_key], check_digests=check_digests)
    _write_text(uri, artifact_files.LIST_FILE, listed)


def _write_text(uri: str, name: str, text: str) -> None:
    scratch = os.path.join(uri, _SCRATCH)
    with bundle_file(os.path.join(uri, name), scratch) as hidden, fileio.open(hidden, "w") as file:
        file.write(text)
