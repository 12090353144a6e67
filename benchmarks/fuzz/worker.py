"""Fuzzes one target in this process for a given time."""

import importlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from benchmarks.fuzz import images
from benchmarks.fuzz.bounds import bound_memory
from benchmarks.fuzz.crashes import Recorder
from benchmarks.fuzz.targets import TARGETS

IMAGE = "image"
_EXAMPLES = 200
_MAX_BYTES = 1 << 16


def fuzz(name: str, *, seconds: float, seed: int, output: Path) -> None:
    """Runs cases of a target, and keeps those that break it.

    Args:
      name: name of the target.
      seconds: time after the imports during which cases are started; there is at least one.
      seed: seed of the cases.
      output: the folder of the fuzzer's output.
    """
    recorder = Recorder(name, TARGETS[name], output)

    def finish() -> None:
        recorder.finish()
        count(output, name).write_text(str(recorder.cases), encoding="ascii")

    if name == IMAGE:
        _with_atheris(recorder, seconds, seed, finish)
    else:
        _with_hypothesis(recorder, seconds, seed)
        finish()


def count(output: Path, name: str) -> Path:
    """Returns the path of the file with the number of cases that were run."""
    return output / f".{name}.count"


def _with_hypothesis(recorder: Recorder, seconds: float, seed: int) -> None:
    import hypothesis

    from benchmarks.fuzz.texts import STRATEGIES

    options = hypothesis.settings(
        max_examples=_EXAMPLES,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )

    def one(data: bytes) -> None:
        if not recorder.cases or time.monotonic() < end:
            recorder.run(data)

    recorder.load()
    bound_memory()
    end = time.monotonic() + seconds
    while not recorder.cases or time.monotonic() < end:
        hypothesis.seed(seed)(options(hypothesis.given(STRATEGIES[recorder.name])(one)))()
        seed += 1


def _with_atheris(
    recorder: Recorder, seconds: float, seed: int, finish: Callable[[], None]
) -> None:
    import atheris

    with atheris.instrument_imports(include=["PIL", "components.images"]):
        for module in ("PIL.Image", "components.images.reader"):
            importlib.import_module(module)

    def one(data: bytes) -> None:
        if recorder.cases and time.monotonic() >= end:
            finish()
            os._exit(0)  # libFuzzer has no other way to end in time
        recorder.run(data)

    def mutated(data: bytes, max_size: int, seed: int) -> bytes:
        changed = atheris.Mutate(data, max_size)
        # Otherwise hardly any changed chunk would get beyond its checksum.
        return images.with_checksums(changed)[:max_size] if seed % 2 else changed

    corpus = recorder.output / "corpus"
    images.write_corpus(corpus)
    Image.init()
    bound_memory()
    options = [f"-max_len={_MAX_BYTES}", f"-seed={seed}", "-timeout=86400", "-rss_limit_mb=0"]
    options += ["-verbosity=0", "-close_fd_mask=2", f"-artifact_prefix={corpus.parent}/"]
    atheris.Setup(["fuzz", *options, str(corpus)], one, custom_mutator=mutated)
    end = time.monotonic() + seconds
    atheris.Fuzz()
