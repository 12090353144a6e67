"""Beam's in-process runner with faults: each bundle fails before it counts."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

from apache_beam.internal import pickler
from apache_beam.portability import common_urns, python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.worker.bundle_processor import BundleProcessor
from tfx.dsl.io import fileio

from components import file_io

_PARDO = common_urns.primitives.PAR_DO.urn
_process = BundleProcessor.process_bundle


class BundleFailedError(Exception):
    """The worker that had a bundle is lost."""


class FaultyRunner(FnApiRunner):
    """Tries each bundle four times.

    1. The worker is killed when it gives the bundle's first file its name; the hidden file stays.
    2. The worker fails once the bundle's work is done. A new one takes its place.
    3. The worker succeeds, and its outputs are lost on the way.
    4. This one counts.

    Attributes:
      failed: names of the transforms and of the DoFns whose bundles failed after their work.
      killed: names of the files that were never given.
    """

    failed: ClassVar[set[str]] = set()
    killed: ClassVar[list[str]] = []

    # Beam's hook for the repetitions of `--direct_runner_bundle_repeat`.
    def _run_bundle_multiple_times_for_testing(
        self,
        context: Any,
        manager: Any,
        inputs: Any,
        outputs: Any,
        timers: Any,
        expected_timers: Any,
    ) -> None:
        for fault in (_killed_while_writing, _failing_at_the_end, contextlib.nullcontext):
            context.state_servicer.checkpoint()
            try:
                with fault(), _expected():
                    manager.process_bundle(inputs, outputs, timers, expected_timers, dry_run=True)
            finally:
                context.state_servicer.restore()
        transforms = manager.bundle_context_manager.process_bundle_descriptor.transforms.values()
        self.failed.update(name for transform in transforms for name in _names(transform))


@contextlib.contextmanager
def _expected() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Beam raises another one, with the name of the step
        if BundleFailedError.__name__ not in repr(error):
            raise


def _failing_at_the_end() -> contextlib.AbstractContextManager[Any]:
    def process(processor: BundleProcessor, *arguments: Any) -> None:
        _process(processor, *arguments)
        raise BundleFailedError

    return mock.patch.object(BundleProcessor, "process_bundle", process)


@contextlib.contextmanager
def _killed_while_writing() -> Iterator[None]:
    def killed(source: Any, target: Any, *args: Any, **kwargs: Any) -> None:
        FaultyRunner.killed.append(Path(str(target)).name)
        raise BundleFailedError

    def nothing(*args: Any, **kwargs: Any) -> None:
        """Replaces what a worker that was killed can't do."""

    with (
        mock.patch.object(fileio, "rename", killed),
        mock.patch.object(fileio, "remove", nothing),
        mock.patch.object(file_io, "rename", killed),
        mock.patch.object(file_io, "remove", nothing),
        mock.patch.object(Path, "replace", killed),
        mock.patch.object(Path, "unlink", nothing),
    ):
        yield


def _names(transform: Any) -> Iterator[str]:
    yield from transform.unique_name.split("/")
    if transform.spec.urn == _PARDO:
        payload = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload)
        if payload.do_fn.urn == python_urns.PICKLED_DOFN_INFO:
            yield type(pickler.loads(payload.do_fn.payload)[0]).__name__
