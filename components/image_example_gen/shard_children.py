"""Ingests whole shards in child processes, so that all cores decode at the same time.

A child process (`shard_child`) gets the number of a shard, and reads and writes all of its files:
an image passes through no other process. What no child process can do is done in this one, in the
same way: shards with images in a bucket, and those whose child process died, such as from an image
that crashes its decoder. Of these each image is decoded in a child process with limits of its own
(`isolated`), so that the image at fault alone is refused.
"""

import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from components import file_io
from components.image_example_gen import files, shards
from components.image_example_gen.shards import Rules, Staging
from components.images import isolated
from components.images.child_process import ChildDiedError, Children, Message, command

# Read in one go: a pause after so many shards, in which nothing is read, does not matter.
_SHARDS_AT_ONCE = 16

_LOGGER = logging.getLogger("outnumbered.image_example_gen")

_children = Children(command("components.image_example_gen.shard_child"))


def start(workers: int) -> None:
    """Starts the child processes before they are needed, without waiting for them.

    Args:
      workers: their number; 1 for none.
    """
    if workers > 1:
        _children.start(workers)


def end() -> None:
    """Ends the child processes of this process, also those that decode single images."""
    _children.end()
    isolated.end_children()


def ingest(numbers: Sequence[int], staging: Staging, rules: Rules, workers: int = 1) -> None:
    """Reads the images of some shards; writes the examples, the entry and the outcome of each.

    Args:
      numbers: the shards' indices.
      staging: has their listings.
      rules: how images are read.
      workers: number of processes that read them; 1 for this one.

    Raises:
      StoreError: a file could not be read, for a reason that does not lie in the file.
    """
    left = list(numbers)
    if workers > 1 and file_io.is_local(staging.folder):
        left = _left_by_children(left, staging, rules, workers)
    for at in range(0, len(left), _SHARDS_AT_ONCE):
        shards.ingest(left[at : at + _SHARDS_AT_ONCE], staging, rules, workers=workers)


def _left_by_children(
    numbers: Sequence[int], staging: Staging, rules: Rules, workers: int
) -> list[int]:
    """Ingests shards in child processes, and returns those that are left to this one."""
    with ThreadPoolExecutor(workers, thread_name_prefix="shards") as threads:
        try:
            done = list(threads.map(lambda shard: _ingested(shard, staging, rules), numbers))
        except BaseException:  # such as Ctrl-C: the threads wait for the child processes
            _children.end()
            raise
    return [shard for shard, is_done in zip(numbers, done, strict=True) if not is_done]


def _ingested(shard: int, staging: Staging, rules: Rules) -> bool:
    """Returns whether a child process has ingested a shard."""
    _, records = staging.read_listing(shard)
    if any(files.is_remote(record.path) for record in records):
        return False
    asked = {"shard": shard, "folder": staging.folder, "rules": vars(rules)}
    try:
        return bool(json.loads(_children.ask(Message(json.dumps(asked).encode())).head))
    except ChildDiedError as error:
        _LOGGER.warning(
            "the process that read shard %d ended (exit code %d); its images are read one by one",
            shard,
            error.code,
        )
        return False
