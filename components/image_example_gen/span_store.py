"""Keeps the images of each span as they were read, so that later runs don't read them again.

A kept span is a folder with its shards, `outcome.json` with what was decided about its images, and
`files.json`, which is written last:

    <root>/<span>-<key>/

The key is a digest of what the span holds, see `keys`: names, classes, slices, sizes, modification
times, the store's checksums of objects, and of local files what `data.verify` adds; and of all that
decides how images are read. The path of the source is not in it, so a span that was moved is
recognized, and one in which an image was added, changed or removed is read again. A kept span is
checked by its list of files; a damaged one is removed and read again.

On disk, shards are hard links, which take no more space than the artifacts that have them too. The
folder can be deleted at any time.
"""

import contextlib
import functools
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx.dsl.io import fileio

from components import artifact_files, in_progress, object_store
from components.artifact_files import DamagedArtifactError, Described
from components.code_version import modules_version
from components.image_example_gen import files
from components.image_example_gen.contents import Verify
from components.image_example_gen.image_bytes import MISSING, UNREADABLE
from components.image_example_gen.shards import Outcome, Rules, Staging
from components.image_example_gen.sources import data_versions
from components.image_example_gen.span_listing import SpanImages
from components.image_example_gen.verdict import Refusal

OUTCOME_FILE = "outcome.json"

_HIDDEN = ".incoming-"
_WORKERS = 8
_KEY_DIGITS = 32
# What decides how an image is read and written, apart from the settings.
_READING = (
    "components.image_example_gen.image_bytes",
    "components.image_example_gen.shard_child",
    "components.image_example_gen.shard_children",
    "components.image_example_gen.shards",
    "components.tf_example",
    "components.tfrecords",
    *(
        f"components.images.{name}"
        for name in (
            "appearance",
            "child",
            "child_process",
            "isolated",
            "jpeg",
            "perceptual_hash",
            "pixels",
            "png",
            "reader",
            "rules",
            "signature",
        )
    ),
)
# Such a file may be back later.
_PASSING = frozenset({MISSING, UNREADABLE})

_LOGGER = logging.getLogger("outnumbered.image_example_gen")


@dataclass(frozen=True)
class KeptSpan:
    """A span that an earlier run has read.

    Attributes:
      folder: its folder in the store.
      shards: its shards, in order.
      outcomes: of each shard, with rows that count from 0 in the span.
    """

    folder: str
    shards: list[Described]
    outcomes: list[Outcome]


def keys(spans: Sequence[SpanImages], rules: Rules, verify: Verify) -> list[str]:
    """Returns the digest of what each span holds and of how it is read.

    Args:
      spans: with their listed images.
      rules: how they are read.
      verify: see `contents.Verify`.

    Returns:
      64 hex digits each.
    """
    reading = {"verify": verify, "rules": vars(rules), "code": _code_version()}
    versions = data_versions([span.records for span in spans], verify=verify)
    texts = (json.dumps({"content": each, **reading}, sort_keys=True) for each in versions)
    return [hashlib.sha256(text.encode()).hexdigest() for text in texts]


@functools.cache
def _code_version() -> str:
    return modules_version(*_READING, libraries=("numpy", "pillow"))


def may_be_kept(refusals: Iterable[Refusal]) -> bool:
    """Returns whether another run would decide the same about a span's images."""
    return not any(refusal.reason in _PASSING for refusal in refusals)


class SpanStore:
    """The kept spans below a folder, on disk or in a bucket."""

    def __init__(self, root: str, *, check_digests: bool):
        """Uses a folder, which need not exist.

        Args:
          root: local folder, or one in a bucket.
          check_digests: whether the digests of kept shards are checked, in addition to their sizes.
        """
        self._root, self._check_digests = root, check_digests
        if files.is_remote(root):
            object_store.register()
        elif os.path.isdir(root):
            in_progress.remove_abandoned(Path(root).glob(f"{_HIDDEN}*"), _HIDDEN)

    def find(self, span: str, digest: str) -> KeptSpan | None:
        """Returns a kept span; None if it is not kept, or damaged.

        Args:
          span: its name.
          digest: see `keys`.
        """
        folder = self._folder(span, digest)
        # In a bucket, another run may be writing it; on disk it is complete once it is there.
        if not (artifact_files.has_list(folder) or _is_on_disk(folder)):
            return None
        try:
            entries = {entry.name: entry for entry in artifact_files.described(folder)}
            content = _checked_text(folder, entries.pop(OUTCOME_FILE, None))
        except (DamagedArtifactError, OSError) as error:
            self._remove(folder, error)
            return None
        outcomes = [Outcome.of(each) for each in json.loads(content)]
        return KeptSpan(folder, list(entries.values()), outcomes)

    def fetch(self, kept: KeptSpan, staging: Staging, first: int) -> bool:
        """Puts the shards of a kept span into the staging folder of a run.

        Args:
          kept: the span.
          staging: the folder.
          first: index of the span's first shard in it.

        Returns:
          Whether all are there; if one is damaged, the span is removed from the store.
        """

        numbers = range(first, first + len(kept.shards))
        try:
            for shard, entry in zip(numbers, kept.shards, strict=True):
                target = staging.examples(shard)
                _transfer(os.path.join(kept.folder, entry.name), target)
                artifact_files.check_file(target, entry, digests=self._check_digests)
        except (DamagedArtifactError, FileNotFoundError) as error:
            self._remove(kept.folder, error)
            for shard in numbers:
                staging.remove_examples(shard)
            return False
        return True

    def add(
        self, span: str, digest: str, outcomes: Sequence[Outcome], shards: Mapping[str, Described]
    ) -> None:
        """Keeps a span that was read; another run may keep the same at the same time.

        Args:
          span: its name.
          digest: see `keys`.
          outcomes: of its shards, with rows that count from 0 in the span.
          shards: paths of its shards, in order, with their entries.
        """
        folder = self._folder(span, digest)
        text = json.dumps([vars(outcome) for outcome in outcomes])
        with _being_written(folder) as new:
            entries = [
                entry._replace(name=f"examples-{number:05d}")
                for number, entry in enumerate(shards.values())
            ]
            targets = [os.path.join(new, entry.name) for entry in entries]
            in_parallel(_transfer, shards, targets)
            _write(os.path.join(new, OUTCOME_FILE), text)
            outcome = artifact_files.describe_content(OUTCOME_FILE, text.encode())
            artifact_files.write_list(new, [*entries, outcome], check_digests=True)

    def _folder(self, span: str, digest: str) -> str:
        return os.path.join(self._root, f"{span}-{digest[:_KEY_DIGITS]}")

    def _remove(self, folder: str, error: Exception) -> None:
        problem = getattr(error, "problem", "") or str(error)
        _LOGGER.warning("%s is damaged (%s), so its images are read again", folder, problem)
        fileio.rmtree(folder)


def _is_on_disk(folder: str) -> bool:
    return not files.is_remote(folder) and os.path.isdir(folder)


def _checked_text(folder: str, entry: Described | None) -> str:
    """Returns the content of `outcome.json` after a check of its digest."""
    if entry is None:
        raise artifact_files.damaged(folder, f"{OUTCOME_FILE} is not in its list of files")
    path = os.path.join(folder, OUTCOME_FILE)
    artifact_files.check_file(path, entry, digests=True)
    with fileio.open(path, "r") as file:
        return str(file.read())


@contextlib.contextmanager
def _being_written(folder: str) -> Any:
    """Yields the folder to write to; in a bucket this is the folder itself."""
    if files.is_remote(folder):
        yield folder
        return
    parent = Path(folder).parent
    parent.mkdir(parents=True, exist_ok=True)
    hidden = parent / f"{_HIDDEN}{in_progress.owned_name()}"
    hidden.mkdir()
    try:
        yield str(hidden)
        with contextlib.suppress(OSError):  # another run has kept the same span
            hidden.rename(folder)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _transfer(source: str, target: str) -> None:
    """Copies a file; on one disk, by a hard link."""
    if files.is_remote(source) and files.is_remote(target):
        fileio.copy(source, target, overwrite=True)
    elif files.is_remote(target):
        object_store.upload(source, target)
    elif files.is_remote(source):
        object_store.download(source, target)
    else:
        _link(source, target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def in_parallel(work: Callable[..., None], *arguments: Iterable[Any]) -> None:
    """Calls a function that waits for a disk or store, with each of the arguments, in threads."""
    with ThreadPoolExecutor(_WORKERS) as workers:
        for _ in workers.map(work, *arguments):
            pass


def _write(path: str, text: str) -> None:
    with fileio.open(path, "w") as file:
        file.write(text)
