"""The staging folder of an ingestion, and the removal of what killed ingestions left.

On disk, a running ingestion holds a lock in its staging folder, which the operating system
releases however the process ends. An object store has no locks: an ingestion that has written
nothing there for a day is considered dead.
"""

import contextlib
import fcntl
import logging
import os
import time
import uuid
from collections.abc import Iterator

from tfx.dsl.io import fileio

from components.beam_io import files_below
from components.image_example_gen import files

STAGING = ".staging"
_LOCK = "lock"
_SILENT_SECONDS = 24 * 60 * 60

_LOGGER = logging.getLogger("outnumbered.image_example_gen")


@contextlib.contextmanager
def staging_folder(output: str) -> Iterator[str]:
    """Creates the staging folder of an ingestion, and removes it when the block ends.

    Args:
      output: the folder in which it is created.

    Yields:
      The staging folder. While the block runs, other processes' `remove_abandoned` keeps it.
    """
    folder = os.path.join(output, STAGING)
    fileio.makedirs(folder)
    try:
        with contextlib.nullcontext() if files.is_remote(folder) else _held(folder):
            yield folder
    finally:
        if fileio.isdir(folder):
            fileio.rmtree(folder)


@contextlib.contextmanager
def _held(folder: str) -> Iterator[None]:
    # Renamed after it is locked, so that no other process finds it unlocked.
    new = os.path.join(folder, f"{_LOCK}.{uuid.uuid4().hex}")
    with open(new, "w", encoding="utf-8") as file:
        with contextlib.suppress(OSError):  # without locks, nothing is removed as abandoned
            fcntl.flock(file, fcntl.LOCK_EX)
        os.rename(new, os.path.join(folder, _LOCK))
        yield


def remove_abandoned(outputs: str) -> None:
    """Removes the outputs of ingestions that were killed.

    An output with a staging folder is incomplete, since an ingestion removes it at its end. The
    outputs of running ingestions are kept.

    Args:
      outputs: folder with one output folder per ingestion.
    """
    remote = files.is_remote(outputs)
    for output in _remote_outputs(outputs) if remote else _local_outputs(outputs):
        _LOGGER.info("removing the incomplete output of a killed ingestion: %s", output)
        try:
            fileio.rmtree(output)
        except OSError as error:  # such as another user's; this ingestion does not depend on it
            _LOGGER.warning("can't remove %s: %s", output, error)


def _local_outputs(outputs: str) -> Iterator[str]:
    if not os.path.isdir(outputs):
        return
    for output in sorted(os.scandir(outputs), key=lambda entry: entry.name):
        # OSError: no lock file exists, a running ingestion holds it, or locks are not supported.
        with (
            contextlib.suppress(OSError),
            open(os.path.join(output.path, STAGING, _LOCK), "r+", encoding="utf-8") as file,
        ):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield output.path


def _remote_outputs(outputs: str) -> Iterator[str]:
    newest: dict[str, float] = {}
    prefix = outputs.rstrip("/") + "/"
    for found in files_below(prefix):
        name, _, rest = found.path.removeprefix(prefix).partition("/")
        if rest.startswith(f"{STAGING}/"):
            newest[name] = max(newest.get(name, 0.0), found.last_updated_in_seconds)
    for name, changed in sorted(newest.items()):
        if time.time() - changed > _SILENT_SECONDS:
            yield prefix + name
