"""The targets of the fuzzer: functions of bytes that raise if the promise is broken.

The promise is the same for each target: the input is used, or refused with the error that its
reader documents and a message of bounded length; no other error is raised.
"""

import contextlib
import functools
import io
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

MAX_PIXELS = 1 << 20
MAX_MESSAGE = 20_000
"""Number of characters of an error message."""
_MAX_DETAIL = 500
_MAX_SIDES = (0, 16)
# Their images would be requested over the network.
_REMOTE = ("s3", "gs", "hdfs")


class BrokenPromiseError(AssertionError):
    """A target neither used its input nor refused it as documented."""


class Target(NamedTuple):
    """A target of the fuzzer.

    Attributes:
      check: raises if the promise is broken for these bytes.
      suffix: suffix of the file of a case.
    """

    check: Callable[[bytes], None]
    suffix: str


def image(data: bytes) -> None:
    """Checks the image reader: the result decodes to its stated size, or has a reason."""
    from components.images import reader

    try:
        found = reader.read_image(
            data, max_pixels=MAX_PIXELS, max_side=_MAX_SIDES[zlib.crc32(data) % 2]
        )
    except reader.RefusedImageError as error:
        if isinstance(error.__cause__, MemoryError):
            raise BrokenPromiseError(f"the image takes too much memory: {error}") from error
        _expect(str(error.reason).isidentifier(), f"a reason of one word, not {error.reason!r}")
        _expect(len(str(error)) <= _MAX_DETAIL, f"a short message, not {len(str(error))}")
        return
    with Image.open(io.BytesIO(found.data), formats=("JPEG", "PNG")) as stored:
        stored.load()
        _expect(stored.mode == "RGB", f"RGB, not {stored.mode}")
        _expect(stored.size == (found.width, found.height), f"the size {stored.size}")
    _expect(0 < found.width * found.height <= MAX_PIXELS, "at most max_pixels")
    _expect(0 <= found.perceptual_hash < 1 << 64, "a hash of 64 bits")


def settings(data: bytes) -> None:
    """Checks a settings file, of a pipeline or a study."""
    from pipeline.settings import SettingsError
    from pipeline.study.settings import load_any

    with _refused(SettingsError):
        load_any(None, _written("settings.yaml", data), [])


def override(data: bytes) -> None:
    """Checks the options `--set`, one per line."""
    from pipeline.settings import SettingsError
    from pipeline.study.settings import load_any

    text = data.decode("utf-8", "surrogateescape")
    with _refused(SettingsError):
        load_any(None, _written("settings.yaml", _MINIMAL), text.split("\n"))


def kubeflow(data: bytes) -> None:
    """Checks the section `kubeflow` of a settings file."""
    section = b"".join(b"  " + line for line in data.splitlines(keepends=True))
    settings(_MINIMAL + b"kubeflow:\n" + section)


def gate(data: bytes) -> None:
    """Checks the text of a gate."""
    from components.evaluator import gates, judgement

    with _refused(gates.GateError):
        found = gates.parse(data.decode("utf-8", "surrogateescape"))
        for value in (None, float("nan"), 0.0, 0.5, 1.0, 1e9):
            result = judgement.verdict([found], _figures(found.metric, value))
            _expect(len(result.reason) <= MAX_MESSAGE, "a short reason")


def _figures(metric: str, value: float | None) -> dict[str, Any]:
    """Returns an evaluation with one metric, in the whole split and in a slice."""
    balance = {metric: value, "prevalence": 0.1, "intervals": {metric: [0.4, 0.6]}}
    counts = {"tp": 5, "fn": 5, "tn": 90, "fp": 10}
    both = {**balance, **counts, "at_prevalence": balance}
    return {**both, "metrics": both, "examples": 110, "slices": [{**both, "slice": {"a": "b"}}]}


def csv_manifest(data: bytes) -> None:
    """Checks a manifest in CSV."""
    _manifest("manifest.csv", data)


def json_manifest(data: bytes) -> None:
    """Checks a manifest in JSON lines."""
    _manifest("manifest.jsonl", data)


TARGETS = {
    "image": Target(image, ".image"),
    "settings": Target(settings, ".yaml"),
    "override": Target(override, ".txt"),
    "kubeflow": Target(kubeflow, ".yaml"),
    "gate": Target(gate, ".txt"),
    "csv_manifest": Target(csv_manifest, ".csv"),
    "json_manifest": Target(json_manifest, ".jsonl"),
}

_MINIMAL = b"""\
name: fuzzed
data: {source: photos, positive_class: dogs, slices: [breed]}
sampler:
  splits:
    train: {cats: 10, dogs: 1}
    val: {cats: 10, dogs: 1}
    test: {cats: 10, dogs: 1}
"""


def _manifest(name: str, data: bytes) -> None:
    from components.image_example_gen import files, manifest, sources

    path = str(_written(name, data))
    with _refused(manifest.SourceError):
        rows = manifest.read_rows(path)
        for row in rows:
            _expect(bool(row.uri and row.label), "a path and a label in each row")
            _expect(row.label == row.label.strip(), "a label without spaces at its ends")
        if any(files.scheme(row.uri) in _REMOTE for row in rows):
            return
        records = sources.list_images(str(_photos()), manifest=path)
        _expect(len(records) <= len(rows), "no more images than rows")


@contextlib.contextmanager
def _refused(kind: type[Exception]) -> Iterator[None]:
    """Accepts an error of the documented class whose message is not empty and not too long."""
    try:
        yield
    except kind as error:
        message = str(error)
        _expect(0 < len(message) <= MAX_MESSAGE, f"a short message, not {len(message)}")


def _expect(kept: bool, promise: str) -> None:
    if not kept:
        raise BrokenPromiseError(f"expected {promise}")


@functools.cache
def _folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="outnumbered-fuzz-")


def _written(name: str, data: bytes) -> Path:
    path = Path(_folder().name, name)
    path.write_bytes(data)
    return path


@functools.cache
def _photos() -> Path:
    """Files that a manifest may name; their content is not read."""
    photos = Path(_folder().name, "photos")
    for name in ("a.jpg", "b.jpg", "cats/c.jpg", "dogs/é.jpg"):
        path = photos / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return photos
