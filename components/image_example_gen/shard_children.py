"""Ingests whole shards in child processes, so that all cores decode at the same time.

A child process (`shard_child`) gets the number of a shard, and reads and writes all of its files:
an image passes through no other process. Images in a bucket are read by this process, in threads,
and sent to it, so that a child process, which decodes files that nobody has looked at, has no keys
of a store. What it can't do is done in this one, in the same way: shards whose child process died,
such as from an image that crashes its decoder. Of these each image is decoded in a child process
with limits of its own (`isolated`), so that the image at fault alone is refused.
"""

import contextlib
import json
import logging
import queue
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from itertools import chain, islice

from components import file_io
from components.image_example_gen import files, shards
from components.image_example_gen.image_table import ImageRecord
from components.image_example_gen.prefetch import Read, streams
from components.image_example_gen.shards import Rules, Staging
from components.images import isolated
from components.images.child_process import ChildDiedError, Children, Message, command
from components.images.reader import RefusedImageError

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
    remote = {shard for shard in numbers if _is_remote(staging, shard)}
    local = [shard for shard in numbers if shard not in remote]
    with ThreadPoolExecutor(workers, thread_name_prefix="shards") as threads:
        try:
            done = [*threads.map(lambda shard: _ingested(shard, staging, rules), local)]
            left = [shard for shard, is_done in zip(local, done, strict=True) if not is_done]
            return sorted(left + _left_of_remote(sorted(remote), staging, rules, workers, threads))
        except BaseException:  # such as Ctrl-C: the threads wait for the child processes
            _children.end()
            raise


def _is_remote(staging: Staging, shard: int) -> bool:
    return any(files.is_remote(record.path) for record in staging.read_listing(shard)[1])


def _left_of_remote(
    numbers: Sequence[int], staging: Staging, rules: Rules, workers: int, threads: Executor
) -> list[int]:
    """Ingests shards with images in a bucket, and returns those that no child process could."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for shard in numbers:
        waiting.put(shard)
    sent = [_Sent(waiting, staging, rules) for _ in range(min(workers, len(numbers)))]
    with streams([each.records() for each in sent], rules.max_pixels) as contents:
        running = [
            threads.submit(each.ingest, read) for each, read in zip(sent, contents, strict=True)
        ]
        for each in as_completed(running):  # the first error ends the others
            each.result()
    return [shard for each in sent for shard in each.left]


class _Sent:
    """Shards of images that this process reads and a child process ingests, one after the other.

    Attributes:
      left: the shards whose child process could not ingest them.
    """

    def __init__(self, waiting: "queue.SimpleQueue[int]", staging: Staging, rules: Rules):
        self.left: list[int] = []
        self._waiting = waiting
        self._staging, self._rules = staging, rules
        self._begun: deque[tuple[int, int]] = deque()

    def records(self) -> Iterator[ImageRecord]:
        """Yields the images of the shards, each of which is taken when its first image is due."""
        with contextlib.suppress(queue.Empty):
            while True:
                shard = self._waiting.get_nowait()
                _, records = self._staging.read_listing(shard)
                self._begun.append((shard, len(records)))
                yield from records

    def ingest(self, contents: Iterator[Read]) -> None:
        """Sends the contents of `records`, until there are none."""
        for first in contents:
            shard, images = self._begun.popleft()
            of_shard = chain((first,), islice(contents, images - 1))
            if not _ingested(shard, self._staging, self._rules, images, map(_sent, of_shard)):
                self.left.append(shard)
                deque(of_shard, maxlen=0)  # the next content is that of the next shard


def _sent(read: Read) -> Message:
    """Returns the content of an image, or why it is refused, for `shard_child`."""
    try:
        return Message(b"", read())
    except RefusedImageError as error:
        return Message(json.dumps([error.reason, error.detail]).encode())


def _ingested(
    shard: int,
    staging: Staging,
    rules: Rules,
    sent: int = 0,
    contents: Iterable[Message] = (),
) -> bool:
    """Returns whether a child process has ingested a shard.

    Args:
      shard: its index.
      staging: has its listing.
      rules: how images are read.
      sent: number of its images, if their contents are sent; else the child process reads them.
      contents: what is sent.
    """
    asked = {"shard": shard, "folder": staging.folder, "rules": vars(rules), "sent": sent}
    try:
        answer = _children.ask(Message(json.dumps(asked).encode()), contents)
    except ChildDiedError as error:
        _LOGGER.warning(
            "the process that read shard %d ended (exit code %d); its images are read one by one",
            shard,
            error.code,
        )
        return False
    return bool(json.loads(answer.head))
