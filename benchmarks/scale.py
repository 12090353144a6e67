"""Time, memory and disk of the whole pipeline without training, by the number of images.

    python -m benchmarks.scale --sizes 10000 100000 1000000 --folder /data/scale

Draws small JPEGs, 64 x 64 pixels of smooth noise, ten cats to a dog, and runs ImageExampleGen,
StatisticsGen, SchemaGen, ExampleValidator, ImbalanceSampler, FeatureExtractor and Evaluator, each
in a process of its own, which also decodes the images. Backbone and model have one layer, and
features are 8 numbers, so that all but the networks is measured. Small images make visible what
does not depend on the pixels; `benchmarks.ingest` measures photographs. What is done is kept in the
folder, so that the command goes on after an interruption; another folder, or `--again`, measures
anew. A million images need 12 GiB and about an hour.

The last line is one JSON object. `images_per_core_second` is the largest number of images divided
by the CPU time of all components. `memory_ratio` is the largest component's peak
memory at the largest size, divided by that at the smallest. `runs` has for each size and component
`read`, the images that it reads (FeatureExtractor those of train and val, Evaluator those of test,
the others all), `seconds`, `core_seconds` (user and system), `peak_mib`, `output_mib`, and
`scratch_mib`, which is what a component leaves besides its outputs.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.sampler import peak_mib

SIZES = (10_000, 100_000, 1_000_000)
_SIDE, _COARSE = 64, 16
_CATS_PER_DOG = 10
_IN_FOLDER = 1000
_FIGURES = "figures.jsonl"
# Of all images, by split.
_SPLITS = {"train": 0.5, "val": 0.1, "test": 0.1}
_SHARES = {"FeatureExtractor": _SPLITS["train"] + _SPLITS["val"], "Evaluator": _SPLITS["test"]}


def main() -> None:
    """Runs the benchmark, or with `--measure` one component."""
    arguments = _arguments()
    if arguments.measure:
        print(json.dumps(_measure(arguments.measure, arguments.folder)))
        return
    folder = arguments.folder or Path(tempfile.gettempdir(), "outnumbered-scale")
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.again:
        (folder / _FIGURES).unlink(missing_ok=True)
    runs = [_run(size, folder) for size in sorted(arguments.sizes)]
    print(json.dumps(figures(runs)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="IMAGES")
    parser.add_argument("--folder", type=Path, help="for images and outputs; default: temporary")
    parser.add_argument("--again", action="store_true", help="measure what was measured before")
    parser.add_argument("--measure", choices=COMPONENTS, help=argparse.SUPPRESS)
    return parser.parse_args()


def figures(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the benchmark's figures.

    Args:
      runs: `images` and `components` (measurements by name) of each size, the smallest first.
    """
    large = runs[-1]
    core_seconds = sum(each["core_seconds"] for each in large["components"].values())
    peaks = [max(each["peak_mib"] for each in run["components"].values()) for run in runs]
    return {
        "images_per_core_second": round(large["images"] / core_seconds, 1),
        "memory_ratio": round(peaks[-1] / peaks[0], 2),
        "runs": runs,
    }


def _run(size: int, root: Path) -> dict[str, Any]:
    """Measures the components that have not been measured with this number of images."""
    folder = root / str(size)
    kept = root / _FIGURES
    known = {}
    if kept.exists():
        lines = map(json.loads, kept.read_text(encoding="utf-8").splitlines())
        known = {line["component"]: line for line in lines if line["images"] == size}
    if len(known) < len(COMPONENTS):
        draw(folder / "images", size)
    for name in COMPONENTS:
        if name not in known:
            read = round(size * _SHARES.get(name, 1.0))
            found = _in_process(name, folder)
            known[name] = {"images": size, "component": name, "read": read, **found}
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(known[name]) + "\n")
        print(f"{size:>9,} images: {name:<16} {_text(known[name])}", flush=True)
    return {"images": size, "components": {name: known[name] for name in COMPONENTS}}


def _text(found: dict[str, Any]) -> str:
    per_image = 1e6 * found["core_seconds"] / found["read"]
    return (
        f"{found['seconds']:8.1f} s, {found['core_seconds']:8.1f} core s ({per_image:,.0f} us an "
        f"image read), peak {found['peak_mib']:,} MiB, {found['output_mib']:,.1f} MiB written, "
        f"{found['scratch_mib']:,.1f} MiB left besides"
    )


def _in_process(name: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.scale", "--measure", name, "--folder", str(folder)]
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=quiet, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _measure(name: str, folder: Path) -> dict[str, Any]:
    """Runs a component in this process; imports are not part of its time."""
    for path in (folder / name).glob("*"):  # of a run that was interrupted
        shutil.rmtree(path)
    work = COMPONENTS[name](folder)
    before, started = _core_seconds(), time.perf_counter()
    work()
    seconds, core_seconds = time.perf_counter() - started, _core_seconds() - before
    outputs = sorted((folder / name).iterdir())
    expected = [path for path in outputs if not path.name.startswith((".", "_"))]
    written = sum(map(_size, expected))
    return {
        "seconds": round(seconds, 2),
        "core_seconds": round(core_seconds, 2),
        "peak_mib": peak_mib(),
        "output_mib": round(written / 2**20, 2),
        "scratch_mib": round((_size(folder / name) - written) / 2**20, 2),
    }


def _core_seconds() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, kinds))


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def draw(folder: Path, count: int) -> None:
    """Writes JPEGs, each with pixels of its own; those that are there are kept.

    Args:
      folder: gets one folder per class.
      count: number of images.
    """
    starts = range(0, count, _IN_FOLDER)
    with ProcessPoolExecutor() as processes:
        for _ in processes.map(_draw, [folder] * len(starts), starts, [count] * len(starts)):
            pass


def _draw(folder: Path, start: int, count: int) -> None:
    """Writes the images of one folder of each class, which appears when it is complete."""
    complete = folder / "cats" / f"{start:09d}"
    if complete.exists():
        return
    hidden = complete.with_name(f".{complete.name}")
    dogs = folder / "dogs" / f"{start:09d}"
    for path in (hidden, dogs):
        path.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([0, start])
    for number in range(start, min(start + _IN_FOLDER, count)):
        coarse = Image.fromarray(rng.integers(0, 256, (_COARSE, _COARSE, 3), dtype=np.uint8))
        parent = hidden if number % (_CATS_PER_DOG + 1) else dogs
        coarse.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC).save(parent / f"{number:09d}.jpg")
    hidden.rename(complete)


def _artifact(kind: Any, folder: Path, component: str, name: str) -> Any:
    artifact = kind()
    artifact.uri = str(folder / component / name)
    return artifact


def _image_example_gen(folder: Path) -> Callable[[], None]:
    from tfx.types import standard_artifacts

    from components import artifacts, names
    from components.image_example_gen.component import ImageExampleGen

    component = ImageExampleGen(source=str(folder / "images"), positive_class="dogs")
    outputs = {
        names.EXAMPLES: standard_artifacts.Examples,
        names.QUARANTINE: artifacts.Quarantine,
    }
    return _work(component, folder, {}, outputs)


def _statistics_gen(folder: Path) -> Callable[[], None]:
    # TFX before TFDV: importing TFDV first fails in tfx_bsl.
    from tfx.types import standard_artifacts  # isort: skip
    import tensorflow_data_validation as tfdv

    from components import names
    from components.statistics_gen.component import StatisticsGen

    columns = [names.LABEL, names.CLASS_NAME, names.WIDTH, names.HEIGHT]
    component = StatisticsGen(
        examples=_channel(standard_artifacts.Examples),
        stats_options=tfdv.StatsOptions(feature_allowlist=columns),
    )
    inputs = {names.EXAMPLES: _examples(folder)}
    outputs = {names.STATISTICS: standard_artifacts.ExampleStatistics}
    return _work(component, folder, inputs, outputs)


def _schema_gen(folder: Path) -> Callable[[], None]:
    from tfx.types import standard_artifacts

    from components import names
    from components.schema_gen.component import SchemaGen

    component = SchemaGen(
        _channel(standard_artifacts.ExampleStatistics),
        registry=str(folder / "registry"),
        kept_schema="",
    )
    inputs = {names.STATISTICS: _statistics(folder)}
    return _work(component, folder, inputs, {names.SCHEMA: standard_artifacts.Schema})


def _example_validator(folder: Path) -> Callable[[], None]:
    from tfx.types import standard_artifacts

    from components import names
    from components.example_validator.component import ExampleValidator

    component = ExampleValidator(
        _channel(standard_artifacts.ExampleStatistics), _channel(standard_artifacts.Schema)
    )
    schema = _artifact(standard_artifacts.Schema, folder, "SchemaGen", names.SCHEMA)
    inputs = {names.STATISTICS: _statistics(folder), names.SCHEMA: schema}
    return _work(component, folder, inputs, {names.ANOMALIES: standard_artifacts.ExampleAnomalies})


def _imbalance_sampler(folder: Path) -> Callable[[], None]:
    from tfx.types import standard_artifacts

    from components import artifacts, names
    from components.imbalance_sampler.component import ImbalanceSampler

    ratio = {"cats": _CATS_PER_DOG, "dogs": 1}
    count = int(folder.name)
    component = ImbalanceSampler(
        examples=_channel(standard_artifacts.Examples),
        splits={
            split: {"total": round(count * share), "ratio": ratio}
            for split, share in _SPLITS.items()
        },
    )
    outputs = {
        names.DRAWN_EXAMPLES: standard_artifacts.Examples,
        names.SAMPLING: artifacts.Sampling,
    }
    return _work(component, folder, {names.EXAMPLES: _examples(folder)}, outputs)


def _feature_extractor(folder: Path) -> Callable[[], None]:
    import keras
    from tfx.types import standard_artifacts

    from components import names
    from components.feature_extractor.backbone import Backbone
    from components.feature_extractor.component import FeatureExtractor

    keras.applications.Xception = _small_network
    backbone = Backbone(
        model="xception", weights="none", pooled=True, image_size=_SIDE, input_scale="-1..1"
    )
    component = FeatureExtractor(
        _channel(standard_artifacts.Examples),
        backbone=backbone,
        store=str(folder / "FeatureExtractor" / "store"),
        splits=[names.TRAIN, names.VAL],
    )
    outputs = {names.FEATURED_EXAMPLES: standard_artifacts.Examples}
    return _work(component, folder, {names.EXAMPLES: _drawn_examples(folder)}, outputs)


def _small_network(
    *, weights: None, include_top: bool, input_shape: tuple[int, int, int], pooling: str | None
) -> Any:
    """Takes the arguments of `keras.applications.Xception`."""
    import keras

    images = keras.Input(input_shape)
    found = keras.layers.Conv2D(8, 3, strides=4, activation="relu")(images)
    if pooling:
        found = keras.layers.GlobalAveragePooling2D()(found)
    return keras.Model(images, found)


def _evaluator(folder: Path) -> Callable[[], None]:
    # TFX before TFMA, see above.
    from tfx.types import standard_artifacts  # isort: skip

    from benchmarks.predict import save_model
    from components import artifact_files, artifacts, names
    from components.evaluator.component import Evaluator

    component = Evaluator(
        _channel(standard_artifacts.Examples),
        _channel(standard_artifacts.Model),
        _channel(artifacts.Sampling),
        slices=[],
        bands=names.BANDS,
        gates=["recall >= 0.1"],
    )
    model = _artifact(standard_artifacts.Model, folder, "model", names.MODEL)
    serving = Path(model.uri, "Format-Serving")
    if not serving.exists():
        save_model(serving)
        point = {"threshold": 0.5, "rule": "best_f1"}
        (serving / "assets" / "operating_point.json").write_text(json.dumps(point))
        artifact_files.list_all(model.uri)
    inputs = {
        names.EXAMPLES: _drawn_examples(folder),
        names.MODEL: model,
        names.SAMPLING: _artifact(artifacts.Sampling, folder, "ImbalanceSampler", names.SAMPLING),
    }
    outputs = {
        names.EVALUATION: standard_artifacts.ModelEvaluation,
        names.PREDICTIONS: artifacts.Predictions,
        names.BLESSING: standard_artifacts.ModelBlessing,
    }
    return _work(component, folder, inputs, outputs)


def _channel(kind: Any) -> Any:
    from tfx.types.channel_utils import as_channel

    return as_channel([kind()])


def _examples(folder: Path) -> Any:
    from tfx.types import artifact_utils, standard_artifacts

    from components import names

    found = _artifact(standard_artifacts.Examples, folder, "ImageExampleGen", names.EXAMPLES)
    found.split_names = artifact_utils.encode_split_names([names.ALL])
    return found


def _drawn_examples(folder: Path) -> Any:
    from tfx.types import artifact_utils, standard_artifacts

    from components import names

    kind = standard_artifacts.Examples
    found = _artifact(kind, folder, "ImbalanceSampler", names.DRAWN_EXAMPLES)
    found.split_names = artifact_utils.encode_split_names(list(_SPLITS))
    return found


def _statistics(folder: Path) -> Any:
    from tfx.types import artifact_utils, standard_artifacts

    from components import names

    kind = standard_artifacts.ExampleStatistics
    found = _artifact(kind, folder, "StatisticsGen", names.STATISTICS)
    found.split_names = artifact_utils.encode_split_names([names.ALL])
    return found


def _work(
    component: Any, folder: Path, inputs: dict[str, Any], kinds: dict[str, Any]
) -> Callable[[], None]:
    """Returns what runs the executor of a component."""
    name = type(component).__name__
    executor_class = component.executor_spec.executor_class
    options = ["--runner=FnApiRunner", "--sdk_container_image=unused"]
    is_beam = hasattr(executor_class, "_make_beam_pipeline")
    context = executor_class.Context(beam_pipeline_args=options) if is_beam else None
    outputs = {key: [_artifact(kind, folder, name, key)] for key, kind in kinds.items()}
    (folder / name).mkdir(parents=True, exist_ok=True)
    given = {key: [artifact] for key, artifact in inputs.items()}
    properties = dict(component.spec.exec_properties)
    return lambda: executor_class(context).Do(given, outputs, properties)


COMPONENTS: dict[str, Callable[[Path], Callable[[], None]]] = {
    "ImageExampleGen": _image_example_gen,
    "StatisticsGen": _statistics_gen,
    "SchemaGen": _schema_gen,
    "ExampleValidator": _example_validator,
    "ImbalanceSampler": _imbalance_sampler,
    "FeatureExtractor": _feature_extractor,
    "Evaluator": _evaluator,
}


if __name__ == "__main__":
    main()
